"""The options of the plain losses: each, all pairs, and triples, against their definition."""

import itertools
import random
from typing import Any, cast

import definitions
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbce
from jbce import verify

INF, NAN = np.inf, np.nan
KEY = jax.random.key(0)
LOGITS = 3 * jax.random.normal(KEY, (12, 5))
INDEX = jax.random.randint(KEY, (12,), 0, 5)
DENSE = jax.nn.softmax(2 * jax.random.normal(jax.random.key(1), (12, 5)))
HARD = jax.random.bernoulli(KEY, 0.5, (12, 5)).astype(jnp.int32)
PER_EXAMPLE = np.linspace(0.5, 2, 12, dtype="f4")
PER_CLASS = np.array([0.5, 2.0, 0.0, 1.0, 3.0], "f4")
PRIORS = np.log(np.array([0.1, 0.2, 0.3, 0.25, 0.15], "f4"))
KEPT = np.arange(12) % 3 != 1
CLASSES = np.arange(60).reshape(12, 5) % 4 != 3  # of every row one or two do not exist

# What is given to the loss. The definition takes the same, as arrays that broadcast, but for
# `where` and `ignore`, which are what it leaves out.
OF_LOGITS = {
    "temperature": [2.5, PER_EXAMPLE],
    "soft_cap": [4.0, PER_EXAMPLE * 5],
    "logit_adjustment": [PRIORS],
}
OF_CLASSES = OF_LOGITS | {
    "label_smoothing": [0.1, PER_EXAMPLE / 3],
    "class_weights": [PER_CLASS],
    "z_loss": [0.01, PER_EXAMPLE / 50],
    "where": [KEPT, CLASSES],
}
PER_LOGIT = np.linspace(0.5, 2, 60, dtype="f4").reshape(12, 5)
BINARY = {
    "temperature": [2.5, PER_LOGIT],
    "soft_cap": [4.0, PER_LOGIT * 5],
    "logit_adjustment": [PRIORS, PER_LOGIT, 0.5],
    "label_smoothing": [0.1, PER_LOGIT / 3],
    "pos_weight": [3.0, PER_LOGIT, PER_CLASS],
    "where": [KEPT[:, None] & np.ones((12, 5), bool)],
    "ignore": [7],
}
LOSSES = {
    "binary": (jbce.sigmoid_binary_cross_entropy, HARD, BINARY),
    "binary, soft": (
        jbce.sigmoid_binary_cross_entropy,
        DENSE,
        {name: values for name, values in BINARY.items() if name != "ignore"},
    ),
    "integer": (
        jbce.softmax_cross_entropy_with_integer_labels,
        INDEX,
        OF_CLASSES | {"ignore": [-100]},
    ),
    "dense": (jbce.softmax_cross_entropy, DENSE, OF_CLASSES),
    "poly": (jbce.poly_loss_cross_entropy, DENSE, OF_CLASSES),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def _combinations(options):
    """Nothing, each option with each of its values, all pairs, and 20 triples and more."""
    choices = [(name, value) for name, values in options.items() for value in values]
    yield {}
    for count in (1, 2):
        for chosen in itertools.combinations(choices, count):
            if len({name for name, _ in chosen}) == count:
                yield dict(chosen)
    draw = random.Random(0)
    for _ in range(20):
        names = draw.sample(list(options), min(draw.randint(3, 7), len(options)))
        yield {name: draw.choice(options[name]) for name in names}


def _exact(name, logits, labels, options):
    """Losses and gradient by the definition, and where the loss is to be infinite."""
    wide: dict[str, Any] = {
        key: np.asarray(value, np.float64)[:, None]
        if np.shape(value) == (12,)
        else np.asarray(value, np.float64)
        for key, value in options.items()
        if key not in ("where", "ignore")
    }
    where, x = options.get("where"), np.float64(logits)
    if name.startswith("binary"):
        loss, gradient = definitions.binary_with_options(x, labels, **wide)
        kept = np.ones((12, 5), bool) if where is None else where
    else:
        q = np.float64(labels)
        if name == "integer":
            q = definitions.one_hot(labels, 5)
        kept = np.ones(12, bool) if where is None or where.ndim == 2 else where
        if where is not None and where.ndim == 2:
            x, q = np.where(where, x, -INF), np.where(where, q, 0)
        epsilon = 2.0 if name == "poly" else 0.0
        loss, gradient = definitions.with_options(x, q, epsilon=epsilon, **wide)
    if "ignore" in options:
        kept = kept & (np.arange(kept.size).reshape(kept.shape) % 4 != 2)
    wide_kept = kept if kept.ndim == 2 else kept[:, None]
    return np.where(kept, loss, 0), np.where(wide_kept, gradient, 0), kept


def _labels(name, labels, options):
    if name == "integer" and "where" in options and options["where"].ndim == 2:
        # Here the labels are on classes that exist; on others the loss is infinite.
        labels = jnp.argmax(jnp.where(options["where"], LOGITS, -INF), -1).astype(labels.dtype)
    exact_labels = labels
    if "ignore" in options:
        ignored = jnp.arange(labels.size).reshape(labels.shape) % 4 == 2
        labels = jnp.where(ignored, options["ignore"], labels)
    return labels, exact_labels


@each_loss
def test_all_pairs_and_triples_are_the_definition(name):
    loss, labels, options = LOSSES[name]
    count = 0
    for chosen in _combinations(options):
        given, meant = _labels(name, labels, chosen)
        exact, slope, kept = _exact(name, LOGITS, meant, chosen)
        wide = kept if kept.ndim == 2 else kept[:, None]
        spoiled = jnp.where(wide, LOGITS, NAN)
        arguments = {k: jnp.asarray(v) if np.ndim(v) else v for k, v in chosen.items()}

        def summed(x, given=given, arguments=arguments):
            losses = loss(x, given, **arguments)
            return jnp.sum(losses), losses

        gradient, losses = jax.grad(summed, has_aux=True)(spoiled)
        about = f"{name} with {chosen}"
        np.testing.assert_allclose(losses, exact, rtol=1e-5, atol=1e-6, err_msg=about)
        np.testing.assert_allclose(gradient, slope, rtol=2e-5, atol=2e-6, err_msg=about)
        count += 1
    assert count > 40


@each_loss
@pytest.mark.jax_defaults
@pytest.mark.thorough
def test_derivatives_in_every_option_are_proved(name):
    loss, labels, options = LOSSES[name]
    labels = labels[:3]
    traced = {
        key: jnp.asarray(value[:3] if np.shape(value)[:1] == (12,) else value)
        for key, values in options.items()
        if key not in ("where", "ignore")
        for value in values[-1:]
    }

    for weights in {"class_weights", "pos_weight"} & set(traced):  # of which 0 is the end
        traced[weights] = jnp.maximum(traced[weights], 0.25)

    def cost(x, parameters):
        return jbce.mean(loss(x, labels, **parameters))

    report = verify.check_gradients(cost, LOGITS[:3], traced, argnums=(0, 1))
    assert report.verdict == "right", str(report)
    smooth = {k: v for k, v in traced.items() if k in ("label_smoothing", "z_loss", "pos_weight")}
    report = verify.check_gradients(cost, LOGITS[:3], smooth, argnums=(0, 1), order=2)
    assert report.verdict == "right", str(report)


@each_loss
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, "float64"], ids=str)
def test_every_dtype_with_all_options(name, dtype):
    loss, labels, options = LOSSES[name]
    chosen = {key: values[0] for key, values in options.items()}
    given, meant = _labels(name, labels, chosen)
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(np.asarray(LOGITS), dtype)
        arguments = {k: jnp.asarray(v) if np.ndim(v) else v for k, v in chosen.items()}
        exact, slope, _ = _exact(name, x, meant, chosen)
        losses = loss(x, given, **arguments)
        gradient = jax.grad(lambda x: jnp.sum(loss(x, given, **arguments)))(x)
    assert losses.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
    assert gradient.dtype == x.dtype
    # options that came in float32 are the definition's too
    accuracy = 1e-13 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(losses, exact, rtol=accuracy, atol=accuracy)
    ulp = float(jnp.finfo(x.dtype).eps)
    np.testing.assert_allclose(np.float64(gradient), slope, rtol=max(ulp, 1e-13), atol=20 * ulp)


@pytest.mark.parametrize("name", ["integer", "dense"])
def test_classes_that_do_not_exist_get_no_share(name):
    # pytorch #72056, optax: smoothing beside a −inf logit costs inf.
    loss = LOSSES[name][0]
    x = LOGITS.at[:, 3].set(-INF)
    y = jnp.zeros(12, jnp.int32) if name == "integer" else DENSE.at[:, 3].set(0)
    found = loss(x, y, label_smoothing=0.3, z_loss=0.1)
    kept = np.array([0, 1, 2, 4])
    removed = loss(
        x[:, kept], y if name == "integer" else y[:, kept], label_smoothing=0.3, z_loss=0.1
    )
    np.testing.assert_allclose(found, removed, rtol=1e-6)
    gradient = jax.grad(lambda x: loss(x, y, label_smoothing=0.3, z_loss=0.1).sum())(x)
    assert bool(jnp.isfinite(gradient).all()) and bool((gradient[:, 3] == 0).all())
    adjusted = loss(
        LOGITS, y, label_smoothing=0.3, z_loss=0.1, logit_adjustment=jnp.log(1.0 - jnp.eye(5)[3])
    )
    np.testing.assert_allclose(adjusted, removed, rtol=1e-6)


@pytest.mark.parametrize("name", ["binary", "integer", "dense", "poly"])
def test_edges_with_all_options(name):
    loss, labels, options = LOSSES[name]
    chosen = {
        key: jnp.asarray(values[0])
        for key, values in options.items()
        if key not in ("where", "ignore")
    }

    def both(x):
        losses = loss(x, labels, **chosen)
        return losses, jax.grad(lambda x: jnp.nansum(loss(x, labels, **chosen)))(x)

    losses, gradient = both(LOGITS.at[2, 1].set(NAN))
    assert bool(jnp.isnan(losses[2]).any()) and bool(jnp.isfinite(gradient).all())
    assert int(jnp.isnan(losses).sum()) == 1 and bool((gradient[2, 1] == 0).all())
    for value in (1e30, -1e30, 3e38):
        _, gradient = both(LOGITS.at[2, 1].set(value))
        assert bool(jnp.isfinite(gradient).all()), value
    nothing = dict(chosen)
    if name != "binary":
        losses, gradient = both(jnp.full_like(LOGITS, -INF))
        assert bool((losses == 0).all()) and bool((gradient == 0).all())
        nothing = {k: v for k, v in nothing.items() if v.ndim == 0}
        rows = loss(jnp.zeros((0, 5)), labels[:0], **nothing)
        classes = loss(jnp.zeros((3, 0)), labels[:3] if name == "integer" else jnp.zeros((3, 0)))
        assert rows.shape == (0,) and bool((classes == 0).all())


@pytest.mark.parametrize("name", ["integer", "dense"])
@pytest.mark.parametrize("axis", [0, (0, 2), (2, 0)], ids=str)
def test_options_know_their_axes(name, axis):
    loss, _, _ = LOSSES[name]
    axes = (axis,) if isinstance(axis, int) else axis
    x = jax.random.normal(KEY, (3, 4, 2))
    front = [a for a in range(3) if a not in axes]
    shape = tuple(x.shape[a] for a in axes)
    weights = np.arange(1, 1 + np.prod(shape), dtype="f4").reshape(shape)
    options = {"label_smoothing": 0.2, "z_loss": 0.1, "temperature": 2.0}
    last = x.transpose(*front, *axes).reshape(*[x.shape[a] for a in front], -1)
    labels = jax.random.randint(KEY, last.shape[:-1], 0, last.shape[-1])
    given, meant = labels, labels
    if name == "dense":
        given = jax.nn.softmax(x, axes)
        meant = given.transpose(*front, *axes).reshape(last.shape)
    found = loss(x, given, axis, class_weights=weights, logit_adjustment=weights, **options)
    flat = {"class_weights": weights.ravel(), "logit_adjustment": weights.ravel()}
    np.testing.assert_allclose(found, loss(last, meant, **flat, **options), rtol=1e-5)


@pytest.mark.parametrize("name", ["integer", "dense", "binary"])
def test_traced_options_out_of_range_are_nan(name):
    loss, labels, _ = LOSSES[name]
    for key, bad in (("label_smoothing", 1.5), ("temperature", -1.0), ("soft_cap", 0.0)):
        losses = jax.jit(lambda v, key=key: loss(LOGITS, labels, **{key: v}))(bad)
        assert bool(jnp.isnan(losses).all()), key


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"label_smoothing": 1.5}, r"`label_smoothing` must be from 0 to 1, but 1\.5 came"),
        ({"label_smoothing": -0.1}, r"`label_smoothing` must be from 0 to 1, but -0\.1 came"),
        ({"temperature": 0.0}, r"`temperature` must be above 0, but 0 came"),
        ({"soft_cap": -30.0}, r"`soft_cap` must be above 0, but -30 came"),
        ({"z_loss": -1e-4}, r"`z_loss` must be ≥ 0, but -0\.0001 came"),
        ({"z_loss": NAN}, r"`z_loss` must be ≥ 0, but nan came"),
        (
            {"class_weights": jnp.array([1.0, -2.0, 1.0, 1.0, 1.0])},
            r"`class_weights` must be ≥ 0, but -2 came",
        ),
        (
            {"class_weights": jnp.ones(4)},
            r"`class_weights` must have one number for each class, \(5,\), but float32\[4\] came",
        ),
        (
            {"logit_adjustment": jnp.ones((12, 5))},
            r"`logit_adjustment` must have one number for each class, \(5,\), but float32\[12,5\]",
        ),
        (
            {"temperature": jnp.ones(5)},
            r"`temperature` must be one number or have the shape of the losses, \(12,\), but "
            r"float32\[5\] came",
        ),
        ({"ignore": jnp.array([1, 2])}, r"`ignore` must be one number, but int32\[2\] came"),
    ],
)
def test_bad_options_are_named_and_shown(options, says):
    with pytest.raises(ValueError, match=says):
        jbce.softmax_cross_entropy_with_integer_labels(LOGITS, INDEX, **options)
    name = next(iter(options))
    if name != "ignore":
        with pytest.raises(ValueError, match=says):
            jbce.softmax_cross_entropy(LOGITS, DENSE, **options)


@pytest.mark.usefixtures("unchecked_signatures")
def test_bad_options_of_the_binary_loss():
    loss = jbce.sigmoid_binary_cross_entropy
    for options, says in (
        ({"pos_weight": -1.0}, r"`pos_weight` must be ≥ 0, but -1 came"),
        (
            {"pos_weight": jnp.ones(12)},
            r"`pos_weight` .* shape of `logits` \(12, 5\) or of their last axis \(5,\)",
        ),
        ({"label_smoothing": 2}, r"`label_smoothing` must be from 0 to 1, but 2 came"),
    ):
        with pytest.raises(ValueError, match=says):
            loss(LOGITS, HARD, **cast("Any", options))
