"""Derivatives along many directions at once, at one point: what `vmap` under `jit` makes of rules.

On jax 0.10 XLA CPU makes wrong kernels of v − Σ x·v where x lacks the batch axis of v, from 4096
numbers on: Hessians by `vmap` were wrong by all their digits, whatever small examples said.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbce
from jbce import curvature, logdomain, numerics

SHAPE, DIRECTIONS = (1797, 10), 3

LABELS = jax.random.randint(jax.random.key(1), SHAPE[:1], 0, SHAPE[1])
DENSE = np.asarray(jax.nn.softmax(jax.random.normal(jax.random.key(2), SHAPE)))
OPTIONS = {"label_smoothing": 0.1, "z_loss": 0.1, "class_weights": np.linspace(0.5, 2, SHAPE[1])}
INTEGER = jbce.softmax_cross_entropy_with_integer_labels
FUNCTIONS = {
    "integer": lambda x: INTEGER(x, LABELS),
    "integer, options": lambda x: INTEGER(x, LABELS, **OPTIONS),
    "dense": lambda x: jbce.softmax_cross_entropy(x, DENSE),
    "dense, options": lambda x: jbce.softmax_cross_entropy(x, DENSE, **OPTIONS),
    "poly": lambda x: jbce.poly_loss_cross_entropy(x, DENSE),
    "binary": lambda x: jbce.sigmoid_binary_cross_entropy(x, DENSE),
    "focal": lambda x: jbce.softmax_focal_loss_with_integer_labels(x, LABELS),
    "log odds": lambda x: jbce.log_odds(x, LABELS),
    "log domain": lambda x: logdomain.softmax_cross_entropy_with_integer_labels(x, LABELS),
    "divergence": lambda x: jbce.softmax_kl_divergence(x, jnp.log(DENSE)),
    "target logits": lambda x: jbce.softmax_cross_entropy_with_target_logits(x, jnp.log(DENSE)),
    "logsumexp": numerics.logsumexp,
    "softmax": numerics.softmax,
    "log_softmax": numerics.log_softmax,
    "one_minus_softmax": numerics.one_minus_softmax,
    "entropy": numerics.entropy,
    "max_tail": lambda x: numerics.max_tail(x).logsumexp(),
}
PRODUCTS = {
    "hessian": curvature.softmax_hessian_product,
    "factor": curvature.softmax_hessian_factor_product,
    "factor, transposed": functools.partial(
        curvature.softmax_hessian_factor_product, transposed=True
    ),
}


def _same(product, key):
    """At once and one after the other."""
    vectors = jax.random.normal(key, (DIRECTIONS, *SHAPE))
    at_once = jax.jit(jax.vmap(product))(vectors)
    one_by_one = jax.jit(lambda v: jax.lax.map(product, v))(vectors)
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_directions_at_once(name, key):
    x = jax.random.normal(jax.random.key(0), SHAPE)
    weights = np.asarray(jax.random.normal(jax.random.key(3), FUNCTIONS[name](x).shape))

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(weights * FUNCTIONS[name](x)))(x)

    def both(v):
        return jax.jvp(FUNCTIONS[name], (x,), (v,))[1], jax.jvp(gradient, (x,), (v,))[1]

    _same(lambda v: jnp.concatenate([part.reshape(-1) for part in both(v)]), key)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_at_once(name, key):
    x = jax.random.normal(jax.random.key(0), SHAPE)
    _same(functools.partial(PRODUCTS[name], x), key)
