"""Properties of losses × a table of losses."""

import functools
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import chex
import definitions
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

import jbce
from experiments import _categorical
from jbce.losses import _integer


class Loss(NamedTuple):
    """A loss, how to draw its labels, and its definition with derivatives of order 1 and 2."""

    function: Callable[..., Any]
    draw_labels: Callable[[Any, tuple[int, ...]], Any]  # (key, logits' shape) to labels
    definition: Callable[..., Any]
    class_axes: int  # how many axes of the logits are classes


def _hard(key, shape):
    return jax.random.bernoulli(key, 0.5, shape).astype(jnp.int32)


def _soft(key, shape):
    return jax.random.uniform(key, shape)


def _index(key, shape):
    return jax.random.randint(key, shape[:-1], 0, shape[-1])


def _distribution(key, shape):
    return jax.nn.softmax(3 * jax.random.normal(key, shape))


def _of_index(x, labels):
    return definitions.categorical(x, definitions.one_hot(labels, np.shape(x)[-1]))


LOSSES = {
    "binary, hard labels": Loss(jbce.sigmoid_binary_cross_entropy, _hard, definitions.binary, 0),
    "binary, soft labels": Loss(jbce.sigmoid_binary_cross_entropy, _soft, definitions.binary, 0),
    "integer labels": Loss(jbce.softmax_cross_entropy_with_integer_labels, _index, _of_index, 1),
    "dense labels": Loss(jbce.softmax_cross_entropy, _distribution, definitions.categorical, 1),
}
SHAPES = [(7, 5), (3, 1), (2, 3, 4)]
BITS_16 = [jnp.bfloat16, jnp.float16]

each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw(loss, key, shape, dtype=jnp.float32, scale=4.0):
    """Logits, and labels; floating point ones are float64 for float64 logits, else float32."""
    for_logits, for_labels = jax.random.split(key)
    logits = (scale * jax.random.normal(for_logits, shape)).astype(dtype)
    labels = loss.draw_labels(for_labels, shape)
    if jnp.issubdtype(labels.dtype, jnp.floating) and dtype == jnp.float64:
        labels = labels.astype(dtype)
    return logits, labels


def gradients(loss, logits, labels):
    """The gradient of the sum in reverse mode, and entry by entry in forward mode."""

    def summed(x):
        return jnp.sum(loss.function(x, labels))

    return jax.jit(lambda x: (jax.grad(summed)(x), jax.jacfwd(summed)(x)))(logits)


# ---- value and derivatives -----------------------------------------------------------------------


@each_loss
@each_shape
@pytest.mark.ulps
def test_value_and_both_gradients_are_the_definition(loss, shape, key):
    logits, labels = draw(loss, key, shape)
    value, gradient, _ = loss.definition(logits, labels)
    losses = loss.function(logits, labels)
    assert losses.shape == shape[: len(shape) - loss.class_axes]
    assert definitions.ulps(losses, value).max() <= 4
    reverse, forward = gradients(loss, logits, labels)
    # Of a soft label the gradient is a difference: counted in ulps of a probability of 1.
    scale = np.spacing(np.float32(1))
    for found in (reverse, forward):
        relative = definitions.ulps(found, gradient)
        assert np.all((relative <= 6) | (np.abs(found - gradient) <= scale))


@each_loss
@each_shape
def test_hessian_is_the_definition(loss, shape, key):
    logits, labels = draw(loss, key, shape)
    _, _, second = loss.definition(logits, labels)

    def summed(x):
        return jnp.sum(loss.function(x, labels))

    @jax.jit
    def hessians(x):
        return jax.hessian(summed)(x), jax.jacrev(jax.grad(summed))(x)

    for hessian in hessians(logits):
        found = np.asarray(hessian).reshape(logits.size, logits.size)
        blocks = second.reshape(-1, 1, 1) if loss.class_axes == 0 else second
        size = blocks.shape[-1]
        blocks = blocks.reshape(-1, size, size)
        expected = np.zeros((len(blocks), size, len(blocks), size))
        expected[np.arange(len(blocks)), :, np.arange(len(blocks)), :] = blocks
        expected = expected.reshape(found.shape)
        largest = np.abs(expected).max(axis=1, keepdims=True)
        assert np.all(np.abs(found - expected) <= 4 * np.spacing(largest.astype(np.float32)))


@each_loss
def test_float64(loss, key):
    with jax.enable_x64(True):
        logits, labels = draw(loss, key, (7, 5), jnp.float64)
        value, gradient, _ = loss.definition(logits, labels)
        losses = loss.function(logits, labels)
        assert losses.dtype == jnp.float64
        np.testing.assert_allclose(losses, value, rtol=1e-14)
        for found in gradients(loss, logits, labels):
            np.testing.assert_allclose(found, gradient, rtol=1e-13, atol=1e-15)


@each_loss
@pytest.mark.parametrize("dtype", BITS_16)
def test_16_bit_logits_give_float32_losses_and_rounded_gradients(loss, dtype, key):
    # optax #1020: a loss in bfloat16 comes in steps of 0.03.
    logits, labels = draw(loss, key, (7, 5), dtype)
    value, gradient, _ = loss.definition(logits.astype(jnp.float32), labels)
    losses = loss.function(logits, labels)
    assert losses.dtype == jnp.float32
    assert definitions.ulps(losses, value).max() <= 4
    reverse, forward = gradients(loss, logits, labels)
    assert (reverse.dtype, forward.dtype) == (dtype, jnp.float32)
    for found, bound in ((reverse, 0.51), (forward, 6)):
        error = definitions.ulps(found, gradient)
        assert np.all((error <= bound) | (np.abs(np.float64(found) - gradient) <= 1e-7))


@each_loss
def test_jit_is_eager_and_vmap_is_a_loop(loss, key):
    logits, labels = draw(loss, key, (4, 3, 5))
    eager = loss.function(logits, labels)

    @jax.jit
    def mapped(x, y):
        whole = jax.vmap(loss.function)(x, y)
        inner = jax.vmap(loss.function, in_axes=(0, None))(x, y[0])
        moved = jax.vmap(loss.function, in_axes=(1, 1))(x, y)
        slopes = jax.vmap(jax.grad(lambda x, y: loss.function(x, y).sum()))(x, y)
        return whole, inner, moved, slopes

    def loop(labels):
        return np.stack([loss.function(x, y) for x, y in zip(logits, labels, strict=True)])

    chex.assert_trees_all_close_ulp(jax.jit(loss.function)(logits, labels), eager, maxulp=1)
    whole, inner, moved, slopes = jax.tree.map(np.asarray, mapped(logits, labels))
    chex.assert_trees_all_close_ulp(whole, loop(labels), maxulp=1)
    chex.assert_trees_all_close_ulp(inner, loop([labels[0]] * len(logits)), maxulp=1)
    chex.assert_trees_all_close_ulp(moved, np.swapaxes(eager, 0, 1), maxulp=1)
    wanted = jax.grad(lambda x: loss.function(x, labels).sum())(logits)
    chex.assert_trees_all_close_ulp(slopes, np.asarray(wanted), maxulp=1)


@each_loss
@pytest.mark.ulps
def test_a_product_that_leads_here_is_rounded_before_it_is_compared(loss, key):
    # Compiled together, x − max(x) is a fused multiply-add, and not 0 where x is the maximum.
    a, labels = draw(loss, key, (64, 7))
    b = jax.random.uniform(jax.random.key(1), a.shape)

    def both(a, b):
        is_soft = jnp.issubdtype(labels.dtype, jnp.floating)
        soft = 0.9 * labels * (1 + b * b) if is_soft else labels
        of_sum = jax.value_and_grad(lambda x: loss.function(x, soft).sum())
        return of_sum(a), of_sum(a * b)

    chex.assert_trees_all_close(jax.jit(both)(a, b), both(a, b), rtol=1e-5, atol=1e-5)


@each_loss
def test_second_derivative_survives_scan_and_remat(loss, key):
    # On jax 0.10 scan forgets the rules of custom_jvp functions at second order.
    logits, labels = draw(loss, key, (3, 5))

    def plain(x):
        return jnp.sum(loss.function(x, labels))

    def scanned(x):
        step = jax.checkpoint(lambda total, row: (total + loss.function(*row).sum(), None))
        return jax.lax.scan(step, jnp.float32(0), (x, labels))[0]

    found, wanted = (jax.jit(jax.hessian(summed))(logits) for summed in (scanned, plain))
    np.testing.assert_allclose(found, wanted, atol=1e-7)


@each_loss
def test_traced_once_for_many_arrays(loss, key):
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(loss.function, 1))
    for one in jax.random.split(key, 3):
        traced(*draw(loss, one, (7, 5)))


@each_loss
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_for_every_platform(loss, platform, key):
    logits, labels = draw(loss, key, (7, 5))

    def both(x, y):
        return jax.value_and_grad(lambda x: jnp.mean(loss.function(x, y)))(x)

    assert export.export(jax.jit(both), platforms=[platform])(logits, labels).platforms == (
        platform,
    )


# ---- confident examples --------------------------------------------------------------------------

MARGINS = np.arange(6.0, 87.0, 1.5, dtype=np.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("offset", [0.0, 64.0])
@pytest.mark.parametrize("name", ["integer labels", "dense labels"])
@pytest.mark.ulps
def test_no_collapse_for_confident_examples(name, dtype, offset):
    # Optax is exactly 0 from a margin of 17 in float32 and 6 in bfloat16, value and gradient.
    # (arXiv 2501.04697; Liger-Kernel #1268)
    loss = LOSSES[name]
    margins = (MARGINS // 0.5 * 0.5).astype(dtype)
    zeros = jnp.zeros_like(margins)
    logits = jnp.stack([margins, zeros, zeros], axis=-1) + jnp.asarray(offset, dtype)
    labels = jnp.zeros(len(margins), jnp.int32)
    if name == "dense labels":
        labels = jax.nn.one_hot(labels, 3)
    value, gradient, _ = loss.definition(logits.astype(jnp.float32), labels)
    assert definitions.ulps(loss.function(logits, labels), value).max() <= 4
    for found in gradients(loss, logits, labels):
        bound = 6 if found.dtype == jnp.float32 else 0.51
        assert definitions.ulps(found, gradient).max() <= bound
        rows = np.sum(np.float64(found), axis=-1)
        largest = np.abs(found.astype(jnp.float32)).max(axis=-1)
        assert np.all(np.abs(rows) <= 8 * largest * float(jnp.finfo(found.dtype).eps))


def test_two_classes_are_the_binary_loss(key):
    logits = 20 * jax.random.normal(key, (500,))
    two = jnp.stack([logits, jnp.zeros_like(logits)], axis=-1)
    for label in (0, 1):
        labels = jnp.full(500, label)
        binary = jbce.sigmoid_binary_cross_entropy(logits, 1 - labels)
        categorical = jbce.softmax_cross_entropy_with_integer_labels(two, labels)
        chex.assert_trees_all_close_ulp(categorical, binary, maxulp=3)


def test_loss_is_a_function_of_the_log_odds(key):
    logits, labels = draw(LOSSES["integer labels"], key, (50, 4))
    log_odds = jbce.log_odds(logits, labels)
    p, not_p = definitions.softmax_parts(logits)[2:]
    index = np.asarray(labels)[:, None]
    exact = np.log(np.take_along_axis(p, index, 1) / np.take_along_axis(not_p, index, 1))[:, 0]
    np.testing.assert_allclose(log_odds, exact, rtol=1e-6, atol=1e-6)
    # far beyond where probabilities differ from 0 and 1
    far = jnp.array([[1e4, 0.0, 0.0], [-1e4, 0.0, 0.0]])
    expected = np.array([1e4, -1e4]) - np.log(2)
    np.testing.assert_allclose(jbce.log_odds(far, jnp.array([0, 0])), expected, rtol=1e-7)
    gradient = jax.grad(lambda x: jbce.log_odds(x, labels).sum())(logits)
    others = np.where(np.arange(4) == index, 0, p)
    others /= others.sum(-1, keepdims=True)
    expected = np.where(np.arange(4) == index, 1, -others)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    forward = jax.jacfwd(lambda x: jbce.log_odds(x, labels).sum())(logits)
    np.testing.assert_allclose(forward, expected, rtol=1e-6)


def test_nearly_hard_labels_do_not_cancel():
    logits = jnp.array([20.0, 0.0, -3.0])
    for rest in (1e-3, 1e-8, 1e-20):
        labels = jnp.array([1 - rest, rest, 0.0], jnp.float32)
        _, gradient, _ = definitions.categorical(logits, labels)
        found = jax.grad(jbce.softmax_cross_entropy)(logits, labels)
        assert definitions.ulps(found, gradient).max() <= 6


@pytest.mark.parametrize("shape", [(6, 80), (6 * 60, 80), (1000, 7), (300, 20)])
def test_the_value_of_dense_labels_is_that_beside_the_gradient(shape, key):
    x, q = 5 * jax.random.normal(key, (2, *shape))  # labels of both signs, whose terms cancel

    def loss(x):
        return jbce.softmax_cross_entropy(x, q)

    alone, beside = jax.jit(loss)(x), jax.jit(lambda x: jax.vjp(loss, x)[0])(x)
    np.testing.assert_array_equal(alone, beside)


@pytest.mark.parametrize("shape", [(6, 80), (6 * 60, 80), (1000, 7), (300, 20)])
@pytest.mark.parametrize("num_tied", [2, 3, 80])
def test_dense_labels_may_share_the_largest_mass(num_tied, shape, key):
    num_tied = min(num_tied, shape[1])
    x = 5 * jax.random.normal(key, shape)  # summed at once, by slices, by columns, these in two
    q = jnp.zeros(x.shape).at[:, :num_tied].set(1 / num_tied)
    loss, pull = jax.vjp(lambda x: jbce.softmax_cross_entropy(x, q), x)
    exact_loss, exact_gradient, _ = definitions.categorical(x, q)
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-6)
    np.testing.assert_allclose(pull(jnp.ones_like(loss))[0], exact_gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", [LOSSES["binary, soft labels"], LOSSES["dense labels"]])
def test_differentiable_in_the_labels(loss, key):
    logits, labels = draw(loss, key, (7, 5))
    found = jax.grad(lambda q: loss.function(logits, q).sum())(labels)
    if loss.class_axes == 0:
        expected = -np.float64(logits)
    else:
        d, tail, _, _ = definitions.softmax_parts(logits)
        expected = np.log1p(tail) - d
    assert definitions.ulps(found, expected).max() <= 4

    def summed(x, q):
        return loss.function(x, q).sum()

    mixed = jax.jit(jax.jacfwd(jax.grad(summed, argnums=1), argnums=0))(logits, labels)
    other = jax.jit(jax.jacrev(jax.grad(summed), argnums=1))(logits, labels)
    np.testing.assert_allclose(mixed, np.transpose(other, (2, 3, 0, 1)), atol=1e-6)


@jax.jit
def _losses(x, labels):
    return jbce.softmax_cross_entropy_with_integer_labels(x, labels)


@jax.jit
def _losses_and_gradients(x, labels):
    losses, pull = jax.vjp(lambda x: _losses(x, labels), x)
    return losses, pull(jnp.ones_like(losses))[0]


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(_integer, "_LARGE", 0)


@pytest.mark.ulps
@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("below", [0, -12])
@pytest.mark.parametrize("label", [3, 8000], ids=["in the sample", "beyond it"])
@pytest.mark.parametrize("where", [slice(3, 4), slice(8000, 8001), slice(4000, None)], ids=str)
@pytest.mark.parametrize("far", [-3e38, -200, -60, -21, -19, 40, 79, 81, 88, 90, 500, 3e38])
def test_labels_and_others_may_be_far_from_the_sample_of_many_classes(far, where, label, below):
    x = np.array(2 * jax.random.normal(jax.random.key(0), (2, 8192)))
    x[:, label] += np.float32(below)
    x[:, where] += np.float32(far)
    labels = np.full(2, label)
    losses, gradients = _losses_and_gradients(x, labels)
    np.testing.assert_array_equal(_losses(x, labels), losses)
    exact_losses, exact_gradients = _categorical.exact(x, labels)
    assert np.all(definitions.ulps(losses, exact_losses)[exact_losses >= 1e-30] <= 3.5)
    large = np.abs(exact_gradients) >= 1e-30
    assert np.all(definitions.ulps(gradients, exact_gradients)[large] <= 6)
    assert np.all(np.abs(np.asarray(gradients)[~large]) <= 1e-29)


# ---- every 16-bit logit --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", BITS_16)
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("label_dtype", [jnp.int32, jnp.float32])
@pytest.mark.ulps
def test_binary_at_every_16_bit_logit(dtype, label, label_dtype):
    logits = jax.lax.bitcast_convert_type(jnp.arange(2**16, dtype=jnp.uint16), dtype)
    labels = jnp.full(logits.shape, label, label_dtype)
    with np.errstate(invalid="ignore"):
        exact_logits = np.float64(logits.astype(jnp.float32))
        loss, gradient, second = definitions.binary(exact_logits, labels)
    agree = exact_logits == (np.inf if label else -np.inf)
    loss = np.where(agree, 0, loss)
    gradient = np.where(np.isnan(exact_logits), 0, gradient)

    function = functools.partial(jbce.sigmoid_binary_cross_entropy, labels=labels)
    assert definitions.ulps(function(logits), loss).max() <= 4
    reverse = jax.grad(lambda x: function(x).sum())(logits)
    _, forward = jax.jvp(function, (logits,), (jnp.ones_like(logits),))
    assert definitions.ulps(forward, gradient).max() <= 4
    # correctly rounded: half an ulp of 16 bits, and the float32 error that can turn a tie
    assert definitions.ulps(reverse, gradient).max() <= 0.5001
    curvature = jax.grad(lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1].sum())(logits)
    second = np.where(np.isnan(exact_logits), 0, second)
    assert definitions.ulps(curvature, second).max() <= 0.5001


# ---- the edges -----------------------------------------------------------------------------------

INF, NAN = np.inf, np.nan


EVERY_DTYPE = pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.bfloat16, jnp.float16, "float64"], ids=str
)
BINARY_EDGES = [  # logit, label, loss, gradient
    (INF, 1, 0, 0),  # optax #431: NaN there
    (INF, 0, INF, 1),
    (-INF, 0, 0, 0),
    (-INF, 1, INF, -1),
    (NAN, 0, NAN, 0),
    (NAN, 1, NAN, 0),
    (0, 1, np.log(2), -0.5),
]


@EVERY_DTYPE
@pytest.mark.parametrize("label_kind", ["hard", "soft"])
def test_binary_edges(dtype, label_kind):
    logits, labels, losses, slopes = np.array(BINARY_EDGES, np.float64).T
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(logits, dtype)
        y = jnp.asarray(labels, jnp.int32 if label_kind == "hard" else x.dtype)
        function = functools.partial(jbce.sigmoid_binary_cross_entropy, labels=y)

        @jax.jit
        def derivatives(x):
            reverse = jax.grad(lambda x: function(x).sum())(x)
            forward = jax.jvp(function, (x,), (jnp.ones_like(x),))[1]
            return function(x), reverse, forward, jax.hessian(lambda x: function(x).sum())(x)

        values, reverse, forward, second = derivatives(x)
        for found in (function(x), values):
            np.testing.assert_allclose(found, losses, rtol=1e-7)
        for found in (reverse, forward):
            np.testing.assert_array_equal(np.float64(found), slopes)
        np.testing.assert_array_equal(np.float64(second), np.diag([0] * 6 + [0.25]))


CATEGORICAL_EDGES: list[Any] = [  # logits, label, loss, gradient
    ([INF, 0, 1], 0, 0, [0, 0, 0]),
    ([INF, 0, 1], 1, INF, [1, -1, 0]),
    ([INF, INF, 1], 0, NAN, None),
    ([INF, INF, 1], 2, NAN, None),
    ([0, 0, -INF], 0, np.log(2), [-0.5, 0.5, 0]),  # optax #896
    ([0, 0, -INF], 2, INF, [0.5, 0.5, -1]),
    ([0, NAN, 0], 0, NAN, [0, 0, 0]),
    ([-INF, -INF, -INF], 1, 0, [0, 0, 0]),  # jax #6811
    ([0, 0, 0], 0, np.log(3), [-2 / 3, 1 / 3, 1 / 3]),
]


@EVERY_DTYPE
@pytest.mark.parametrize("kind", ["integer", "dense"])
def test_categorical_edges(dtype, kind):
    logits, labels, losses, slopes = zip(*CATEGORICAL_EDGES, strict=True)
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(np.array(logits), dtype)
        y = jnp.asarray(labels)
        dtype_of_loss = jnp.float64 if dtype == "float64" else jnp.float32
        function = jbce.softmax_cross_entropy_with_integer_labels
        if kind == "dense":
            function, y = jbce.softmax_cross_entropy, jax.nn.one_hot(y, 3, dtype=dtype_of_loss)

        def summed(x):
            return function(x, y).sum()

        @jax.jit
        def derivatives(x):
            return (
                function(x, y),
                jax.grad(summed)(x),
                jax.jacfwd(summed)(x),
                jax.hessian(summed)(x),
            )

        values, reverse, forward, hessian = derivatives(x)
        for found in (function(x, y), values):
            assert definitions.ulps(found, losses, dtype_of_loss).max() <= 2
        defined = [index for index, slope in enumerate(slopes) if slope is not None]
        for found in (reverse, forward):  # optax #1762: NaN in forward mode
            np.testing.assert_allclose(
                np.asarray(found, np.float64)[defined],
                np.array([slopes[index] for index in defined]),
                rtol=float(jnp.finfo(dtype).eps),
            )
        blocks = np.asarray(hessian, np.float64)[np.ix_(defined, range(3), defined)]
        chex.assert_tree_all_finite(blocks)


def test_a_nan_row_leaves_no_trace_in_mixed_second_derivatives():
    logits = jnp.array([[NAN, 0.0, 1.0], [1.0, 2.0, 3.0]])
    labels = jnp.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])

    def total(x, q):
        return jnp.sum(jbce.softmax_cross_entropy(x, q))

    forward = jax.jacfwd(jax.grad(total), argnums=1)(logits, labels)
    reverse = jax.jacrev(jax.grad(total, argnums=1), argnums=0)(logits, labels)
    for found in (forward, reverse):
        chex.assert_tree_all_finite(found)
        np.testing.assert_array_equal(found[0], 0)


def test_reductions_differentiate_in_the_weights():
    losses, weights = jnp.array([1.0, 2.0, 5.0]), jnp.array([1.0, 1.0, 0.0])
    average = jax.grad(lambda w: jbce.mean(losses, weights=w))(weights)
    np.testing.assert_allclose(average, (losses - 1.5) / 2)
    np.testing.assert_allclose(jax.grad(lambda w: jbce.total(losses, weights=w))(weights), losses)
    bad = jnp.array([1.0, 2.0, NAN])
    for reduce in (jbce.mean, jbce.total):
        assert np.isfinite(reduce(bad, weights=weights))
        assert np.isfinite(reduce(bad, where=weights > 0))
        chex.assert_tree_all_finite(jax.grad(lambda x, f=reduce: f(x, weights=weights))(bad))


@each_loss
@pytest.mark.parametrize("axis_first", [False, True])
@pytest.mark.ulps
def test_a_nan_logit_among_many_is_a_nan_loss(loss, axis_first, key):
    # XLA CPU drops NaNs from the maximum of 4096 numbers and more.
    logits, labels = draw(loss, key, (2000, 4))
    bad = logits.at[5, 3].set(NAN).at[7].set(NAN).at[9, 0].set(NAN).at[9, 1].set(INF)
    function = loss.function
    if axis_first and loss.class_axes:
        bad = bad.T
        labels = labels.T if labels.ndim == 2 else labels
        function = functools.partial(loss.function, axis=0)
    found = jax.jit(function)(bad, labels)
    expected = loss.function(logits, labels if not axis_first else draw(loss, key, (2000, 4))[1])
    rows = np.isnan(bad.T if axis_first and loss.class_axes else bad)
    undefined = rows if loss.class_axes == 0 else rows.any(-1)
    np.testing.assert_array_equal(np.isnan(found), undefined)
    elsewhere = ~undefined
    if loss.class_axes == 0:
        elsewhere &= (np.arange(2000) != 9)[:, None]
    chex.assert_trees_all_close_ulp(found[elsewhere], expected[elsewhere], maxulp=2)
    gradient = jax.jit(jax.grad(lambda x: function(x, labels).sum()))(bad)
    gradient = gradient.T if axis_first and loss.class_axes else gradient
    np.testing.assert_array_equal(gradient[undefined], 0)
    chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("label", [3, 7, -1, -100, 2**31 - 1])
def test_a_class_index_out_of_range_poisons_its_own_example(label):
    # optax: −1 wraps to the last class, 7 and −100 give NaN with a finite, wrong gradient.
    logits, labels = jnp.zeros((2, 3)), jnp.array([label, 0])
    for function in (jbce.softmax_cross_entropy_with_integer_labels, jbce.log_odds):
        losses = jax.jit(function)(logits, labels)
        assert np.isnan(losses[0]) and np.isfinite(losses[1])
        reverse = jax.jit(jax.grad(lambda x, f=function: f(x, labels).sum()))(logits)
        forward = jax.jit(jax.jacfwd(lambda x, f=function: f(x, labels)))(logits)
        for found in ((reverse[0], reverse[1]), (forward[0, 0], forward[1, 1])):
            assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32, jnp.uint32])
def test_integer_dtypes(dtype):
    for bad in (2, 127):
        labels = jnp.array([0, 1, bad], dtype)
        losses = jbce.sigmoid_binary_cross_entropy(jnp.zeros(3), labels)
        gradient = jax.grad(lambda x, y=labels: jbce.sigmoid_binary_cross_entropy(x, y).sum())(
            jnp.zeros(3)
        )
        np.testing.assert_array_equal(np.isnan(losses), [False, False, True])
        np.testing.assert_array_equal(gradient, [0.5, -0.5, NAN])
    boolean = jbce.sigmoid_binary_cross_entropy(jnp.zeros(2), jnp.array([True, False]))
    np.testing.assert_allclose(boolean, np.log(2), rtol=1e-7)
    wide = jbce.softmax_cross_entropy_with_integer_labels(jnp.zeros((2, 1000)), jnp.zeros(2, dtype))
    np.testing.assert_allclose(wide, np.log(1000), rtol=1e-6)


@each_loss
def test_what_where_leaves_out_leaves_no_trace(loss, key):
    # optax #1335; pytorch #11551: rows that are left out poison the gradient.
    logits, labels = draw(loss, key, (6, 5))
    where = jnp.array([True, False, True, True, False, True])
    if loss.class_axes == 0:
        where = jnp.broadcast_to(where[:, None], (6, 5))
    bad = jnp.where(where[..., None] if loss.class_axes else where, logits, NAN)
    losses = loss.function(bad, labels, where=where)
    expected = jnp.where(where, loss.function(logits, labels), 0)
    np.testing.assert_array_equal(losses, expected)

    def averaged(x):
        return jbce.mean(loss.function(x, labels, where=where), where=where)

    kept = np.asarray([0, 2, 3, 5])
    removed = jax.grad(lambda x: jbce.mean(loss.function(x, labels[kept])))
    removed = jax.jit(removed)(logits[kept])

    @jax.jit
    def derivatives(x):
        return jax.grad(averaged)(x), jax.jacfwd(averaged)(x), jax.hessian(averaged)(x)

    reverse, forward, hessian = derivatives(bad)
    for found in (reverse, forward):
        np.testing.assert_allclose(found[kept], removed, rtol=1e-6)
        np.testing.assert_array_equal(np.delete(found, kept, axis=0), 0)
    chex.assert_tree_all_finite(hessian)


@pytest.mark.parametrize("name", ["integer labels", "dense labels"])
def test_classes_left_out_are_deleted(name, key):
    loss = LOSSES[name]
    logits, labels = draw(loss, key, (6, 5))
    exists = jnp.array([True, True, False, True, False])
    where = jnp.broadcast_to(exists, (6, 5))
    kept = np.flatnonzero(exists)
    if name == "integer labels":
        labels = jnp.array([0, 1, 3, 3, 1, 2])  # the last is on a class that is left out
        reduced = jnp.array([0, 1, 2, 2, 1])
        expected = np.append(loss.function(logits[:5, kept], reduced), INF)
    else:
        expected = loss.function(logits[:, kept], labels[:, kept])
    bad = jnp.where(where, logits, NAN)
    np.testing.assert_allclose(loss.function(bad, labels, where=where), expected, rtol=1e-6)
    found = jax.grad(lambda x: loss.function(x, labels, where=where).sum())(bad)
    np.testing.assert_array_equal(found[:, ~exists], 0)
    chex.assert_tree_all_finite(found)
    nothing = jnp.zeros((6, 5), bool)
    np.testing.assert_array_equal(loss.function(bad, labels, where=nothing), np.zeros(6))
    found = jax.grad(lambda x: loss.function(x, labels, where=nothing).sum())(bad)
    np.testing.assert_array_equal(found, np.zeros((6, 5)))


@each_loss
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_nothing_costs_nothing(loss, shape):
    if loss.class_axes and len(shape) == 1:
        pytest.skip("a row of classes has at least one batch axis here")
    logits = jnp.zeros(shape)
    dense = jnp.issubdtype(loss.draw_labels(jax.random.key(0), (1, 1)).dtype, jnp.floating)
    labels = jnp.zeros(shape[: len(shape) - loss.class_axes * (not dense)], jnp.float32)
    if not dense:
        labels = labels.astype(jnp.int32)
    losses = loss.function(logits, labels)
    np.testing.assert_array_equal(losses, np.zeros(shape[: len(shape) - loss.class_axes]))
    assert jbce.mean(losses) == 0
    assert jax.grad(lambda x: jbce.mean(loss.function(x, labels)))(logits).shape == shape
    if dense:
        assert jax.grad(lambda q: loss.function(logits, q).sum())(labels).shape == labels.shape
    if loss.class_axes:
        empty = jnp.zeros((0, 2, 3))
        none = empty if dense else jnp.zeros(0, jnp.int32)
        assert loss.function(empty, none, axis=(1, 2)).shape == (0,)


# ---- axes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (2, 0), (1, 2), [0, 1]], ids=str)
def test_the_class_axis_can_be_anywhere(axis, key):
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    logits = 4 * jax.random.normal(key, (3, 4, 5))
    front = [a for a in range(3) if a not in [b % 3 for b in axes]]
    last = logits.transpose(*front, *[a % 3 for a in axes])
    last = last.reshape(*last.shape[: len(front)], -1)
    labels = jax.random.randint(key, last.shape[:-1], 0, last.shape[-1])
    dense = jax.nn.softmax(jax.random.normal(key, (3, 4, 5)), axis=axes)
    dense_last = dense.transpose(*front, *[a % 3 for a in axes]).reshape(last.shape)

    integer = jbce.softmax_cross_entropy_with_integer_labels

    def every(x, y, q, *axis):
        slopes = jax.grad(lambda x: integer(x, y, *axis).sum())(x)
        odds = jbce.log_odds(x, y, *axis)
        return integer(x, y, *axis), odds, jbce.softmax_cross_entropy(x, q, *axis), slopes

    moved = jax.jit(lambda *given: every(*given, axis))(logits, labels, dense)
    *plain, plain_slopes = jax.jit(every)(last, labels, dense_last)
    *found, slopes = moved
    for a, b, maxulp in zip(found, plain, (2, 2, 4), strict=True):
        chex.assert_trees_all_close_ulp(a, b, maxulp=maxulp)
    back = slopes.transpose(*front, *[a % 3 for a in axes]).reshape(last.shape)
    chex.assert_trees_all_close_ulp(back, plain_slopes, maxulp=3)


def test_vmap_over_the_axis_behind_the_class_axis(key):
    logits, labels = 4 * jax.random.normal(key, (3, 4, 5)), jnp.zeros((4, 5), jnp.int32)
    first = functools.partial(jbce.softmax_cross_entropy_with_integer_labels, axis=0)
    mapped = jax.vmap(first, in_axes=(2, 1))(logits, labels)
    chex.assert_trees_all_close_ulp(mapped, first(logits, labels).T, maxulp=2)


# ---- peers ---------------------------------------------------------------------------------------


@pytest.mark.jax_defaults
def test_equal_to_optax_where_optax_is_right(key):
    logits, labels = draw(LOSSES["integer labels"], key, (64, 5), scale=1.0)
    dense = jax.nn.softmax(jax.random.normal(key, (64, 5)))
    where = jax.random.bernoulli(key, 0.7, (64, 5)).at[:, 0].set(True)
    binary = jbce.sigmoid_binary_cross_entropy(logits, dense)
    np.testing.assert_allclose(binary, optax.sigmoid_binary_cross_entropy(logits, dense), rtol=2e-6)
    pairs = [
        (jbce.softmax_cross_entropy, optax.softmax_cross_entropy, dense),
        (
            jbce.softmax_cross_entropy_with_integer_labels,
            optax.softmax_cross_entropy_with_integer_labels,
            labels,
        ),
    ]
    for ours, theirs, y in pairs:
        np.testing.assert_allclose(ours(logits, y), theirs(logits, y), rtol=2e-6)
        np.testing.assert_allclose(ours(logits, y, -1), theirs(logits, y, -1), rtol=2e-6)
    inside = jnp.where(jnp.take_along_axis(where, labels[:, None], 1)[:, 0], labels, 0)
    np.testing.assert_allclose(
        jbce.softmax_cross_entropy_with_integer_labels(logits, inside, where=where),
        optax.softmax_cross_entropy_with_integer_labels(logits, inside, where=where),
        rtol=2e-6,
    )


def test_the_tests_of_optax_pass_with_our_losses():
    script = pathlib.Path(__file__).parent / "optax_losses.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n[1-9]\d+ tests of Optax's, of which these fail: \[\]", done.stdout)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: jbce.sigmoid_binary_cross_entropy(jnp.zeros(3), jnp.zeros((3, 1))),
            ValueError,
            r"`labels` .* `logits`.* float32\[3,1\] came with `logits` float32\[3\]",
        ),
        (
            lambda: jbce.sigmoid_binary_cross_entropy(jnp.zeros(3, int), jnp.zeros(3)),
            TypeError,
            r"`logits` must be floating point, but int32\[3\] came",
        ),
        (
            lambda: jbce.sigmoid_binary_cross_entropy(cast("Any", [0.0]), jnp.zeros(1)),
            TypeError,
            r"`logits` must be an array or a number, but a list came",
        ),
        (
            lambda: jbce.sigmoid_binary_cross_entropy(jnp.zeros(3), jnp.zeros(3, complex)),
            TypeError,
            r"`labels` must be boolean, integer or floating point, but complex64\[3\]",
        ),
        (
            lambda: jbce.sigmoid_binary_cross_entropy(
                jnp.zeros(3), jnp.zeros(3), where=jnp.ones(3)
            ),
            TypeError,
            r"`where` must be boolean, but float32\[3\] came",
        ),
        (
            lambda: jbce.softmax_cross_entropy(jnp.zeros((3, 4)), jnp.zeros((3,))),
            ValueError,
            r"`labels` .* float32\[3\] came with `logits` float32\[3,4\]",
        ),
        (
            lambda: jbce.softmax_cross_entropy_with_integer_labels(
                jnp.zeros((3, 4)), jnp.zeros((3, 4), int)
            ),
            ValueError,
            r"`labels` .*less its class axis, \(3,\), but int32\[3,4\] came.*dense labels",
        ),
        (
            lambda: jbce.softmax_cross_entropy_with_integer_labels(jnp.zeros((3, 4)), jnp.zeros(3)),
            TypeError,
            r"`labels` must be integers, but float32\[3\] came",
        ),
        (
            lambda: jbce.softmax_cross_entropy_with_integer_labels(
                jnp.zeros((3, 4)), jnp.zeros(3, int), axis=2
            ),
            ValueError,
            r"`axis` is 2, but `logits` has 2 axes",
        ),
        (
            lambda: jbce.softmax_cross_entropy_with_integer_labels(
                jnp.zeros((3, 4)), jnp.zeros(3, int), axis=(0, -2)
            ),
            ValueError,
            r"`axis` is \(0, -2\), which names an axis twice",
        ),
        (
            lambda: jbce.softmax_cross_entropy_with_integer_labels(
                jnp.zeros((3, 4)), jnp.zeros(3, int), where=jnp.ones(4, bool)
            ),
            ValueError,
            r"`where` .*batch \(3,\).*bool\[4\] came with `logits` float32\[3,4\]",
        ),
        (
            lambda: jbce.categorical_cross_entropy(jnp.zeros((3, 4)), jnp.zeros(2, int)),
            ValueError,
            r"`labels` .* `probs` less its class axis, \(3,\), but int32\[2\] came",
        ),
        (
            lambda: jbce.mean(jnp.zeros(3), weights=jnp.zeros(2)),
            ValueError,
            r"`weights` .*float32\[2\] came with `losses` float32\[3\]",
        ),
    ],
)
def test_bad_input_is_named_and_shown(call, error, says):
    with pytest.raises(error, match=says):
        call()
