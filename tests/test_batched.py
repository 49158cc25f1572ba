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
from jbce.losses import _integer

SHAPE, DIRECTIONS = (1797, 10), 3

RANDOM = np.random.default_rng(1)
LABELS = RANDOM.integers(0, SHAPE[1], SHAPE[0], dtype=np.int32)
DENSE = RANDOM.dirichlet(np.ones(SHAPE[1]), SHAPE[0]).astype(np.float32)
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


# ---- large batches, which are summed by slices or by columns, and small ones, which are not ------

FEW = 8
LARGE_SHAPES = {
    "by slices": (256, 100),
    "by columns": (1024, 5),
    "by columns in two": (256, 20),
    "by a sample": (64, 8200),
}


def _special_rows(rows, classes):
    x = np.array(5 * jax.random.normal(jax.random.key(4), (rows, classes)))
    x[3] = np.nan
    x[5, 1] = np.nan
    x[7, 0] = np.nan
    x[9, -1] = np.nan
    x[11] = -np.inf
    x[13, 2:] = -np.inf
    x[17, 4] = np.inf
    x[19, 3:5] = np.inf
    x[23] = 3e38
    x[29, 1:] = -3e38
    x[31] = 0
    x[37, -2] = 80
    return jnp.asarray(x)


def _in_parts(function, *arrays):
    parts = [function(*(a[i : i + FEW] for a in arrays)) for i in range(0, len(arrays[0]), FEW)]
    return jax.tree.map(lambda *pieces: jnp.concatenate(pieces), *parts)


LARGE = {
    "integer": lambda x, y, q: INTEGER(x, y),
    "integer, options": lambda x, y, q: INTEGER(x, y, label_smoothing=0.1, z_loss=0.1),
    "dense": lambda x, y, q: jbce.softmax_cross_entropy(x, q),
    "poly": lambda x, y, q: jbce.poly_loss_cross_entropy(x, q),
    "log odds": lambda x, y, q: jbce.log_odds(x, y),
    "logsumexp": lambda x, y, q: numerics.logsumexp(x, -1),
    "softmax": lambda x, y, q: numerics.softmax(x),
    "log_softmax": lambda x, y, q: numerics.log_softmax(x),
    "one_minus_softmax": lambda x, y, q: numerics.one_minus_softmax(x),
    "entropy": lambda x, y, q: numerics.entropy(x),
}


@pytest.mark.parametrize("shape", LARGE_SHAPES.values(), ids=LARGE_SHAPES)
@pytest.mark.parametrize("name", LARGE)
def test_rows_of_a_large_batch_are_those_of_small_ones(name, shape, monkeypatch):
    monkeypatch.setattr(_integer, "_LARGE", 0)
    x, key = _special_rows(*shape), jax.random.key(5)
    rows, classes = shape
    y = jax.random.randint(key, (rows,), -1, classes + 1)  # some out of range
    q = jax.nn.softmax(jax.random.normal(key, x.shape))
    q = q.at[::3].set(jax.nn.one_hot(jnp.maximum(y, 0)[::3], classes))

    weights = jax.random.normal(key, jax.eval_shape(LARGE[name], x, y, q).shape)

    def both(x, y, q, weights):
        value, pull = jax.vjp(lambda x: LARGE[name](x, y, q), x)
        return value, pull(weights)[0]

    both, arrays = jax.jit(both), (x, y, q, weights)
    for large, small in zip(both(*arrays), _in_parts(both, *arrays), strict=True):
        np.testing.assert_allclose(large, small, rtol=3e-6, atol=5e-6)


@pytest.mark.parametrize("shape", LARGE_SHAPES.values(), ids=LARGE_SHAPES)
def test_classes_of_a_large_batch_may_lie_along_the_first_axis(shape, monkeypatch):
    monkeypatch.setattr(_integer, "_LARGE", 0)
    x, y = _special_rows(*shape), jax.random.randint(jax.random.key(5), shape[:1], 0, shape[1])
    first = jax.jit(lambda x: INTEGER(x, y, axis=0))(x.T)
    np.testing.assert_allclose(first, jax.jit(lambda x: INTEGER(x, y))(x), rtol=3e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("size", [2**14, 2**14 + 1, 30_011])
def test_means_of_many_losses(size, dtype, key):
    losses = jax.random.exponential(key, (size,)).astype(dtype)
    exact = np.mean(np.asarray(losses, np.float64))
    np.testing.assert_allclose(jax.jit(jbce.mean)(losses), exact, rtol=2**-23)  # two roundings
    with_infinity = losses.at[-1].set(np.inf)
    assert jax.jit(jbce.mean)(with_infinity) == np.inf
    assert np.isnan(jax.jit(jbce.mean)(with_infinity.at[3].set(np.nan)))
    signed = jax.jit(jbce.total)(with_infinity.at[3].set(-np.inf))
    assert np.isnan(signed)
