"""The worst arguments known stay as good as they are (`python -m experiments certify --write`)."""

import json
import pathlib

import definitions
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbce
from experiments import certify

CERTIFICATE = json.loads((pathlib.Path(__file__).parent / "certificate.json").read_text())
PUBLISHED_BOUND = 0.52  # ulps, on platforms with float64
HERE = f"{jax.default_backend()}, jax {jax.__version__}"
ENTRIES = [
    (platform, name, worst)
    for platform, entry in CERTIFICATE.items()
    for name, worst in entry["worst"].items()
]


@pytest.mark.parametrize(
    ("platform", "name", "worst"), ENTRIES, ids=[f"{p}: {n}" for p, n, _ in ENTRIES]
)
def test_worst_arguments_have_not_got_worse(platform, name, worst):
    label, order = name.removeprefix("label ").split(", ")

    def loss(x):
        return jbce.sigmoid_binary_cross_entropy(x, jnp.asarray(int(label)))

    orders = ["value", "gradient", "second derivative"]
    functions = [loss, jax.grad(loss), jax.grad(jax.grad(loss))]
    logit = jnp.float32(worst["logit"])
    exact = definitions.binary(logit, int(label))[orders.index(order)]
    ulps = definitions.ulps(functions[orders.index(order)](logit), exact)
    assert worst["ulps"] <= PUBLISHED_BOUND
    assert ulps <= (worst["ulps"] + 1e-4 if platform == HERE else PUBLISHED_BOUND)


@pytest.mark.parametrize("label", [0, 1])
def test_the_sweep_measures_what_it_says(label):
    """Its reference is the definition, and it sees a relative error of 1e-5."""
    logits = jnp.linspace(-80.0, 80.0, 1001)
    for exact, definition in zip(
        certify._exact(logits, label), definitions.binary(logits, label), strict=True
    ):
        with jax.enable_x64(True):
            np.testing.assert_allclose(exact, definition, rtol=1e-14)
            off = (exact * (1 + 1e-5)).astype(jnp.float32)
        ulps = certify._ulps(off, exact)
        assert np.all((ulps > 80) & (ulps < 170))
        np.testing.assert_allclose(ulps, definitions.ulps(off, definition), rtol=1e-3)
