"""Edges of options and parameters: ends of ranges, examples that do not count, bad input."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbce
from jbce import logdomain

INF, NAN = np.inf, np.nan
X = jnp.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]])
Y = jnp.array([0, 1])
integer = jbce.softmax_cross_entropy_with_integer_labels
WIDE = jnp.array([-87.0, -60.0, -45.0, -20.0, 0.0, 20.0, 45.0, 60.0, 80.0, 87.0])


POWERS = {
    "focal": lambda x, y, g: jbce.sigmoid_focal_loss(x, y, gamma=g),
    "asymmetric": lambda x, y, g: jbce.asymmetric_loss(x, y, g, g, 0.0),
    "asymmetric, margin": lambda x, y, g: jbce.asymmetric_loss(x, y, g, g, 0.05),
    "softmax focal": lambda x, y, g: jbce.softmax_focal_loss_with_integer_labels(
        jnp.stack([x, 0 * x]), (y > 0.5).astype(jnp.int32), g
    ),
}


@pytest.mark.parametrize("name", POWERS)
def test_a_power_of_a_tiny_doubt_has_second_derivatives(name):
    grid = jnp.meshgrid(WIDE, jnp.array([0.0, 1.0, 0.3]), jnp.array([0.0, 0.5, 1.0, 2.0]))
    hessian = jax.jit(jax.vmap(jax.hessian(POWERS[name], argnums=(0, 2))))
    found = hessian(*(axis.ravel() for axis in grid))
    assert all(bool(jnp.isfinite(part).all()) for part in jax.tree.leaves(found))


def test_the_logarithm_of_a_mixture_is_smooth_where_both_sides_are_equal():
    second = jax.grad(jax.grad(lambda x: logdomain.sigmoid_binary_cross_entropy(x, 0.5)))
    np.testing.assert_allclose(second(0.0), 0.25 / np.log(2), rtol=1e-5)


def test_the_derivative_in_a_weight_is_the_loss_also_at_0():
    plain = integer(X, Y)
    for loss in (integer, jbce.softmax_focal_loss_with_integer_labels):
        cost = loss(X, Y)
        for weights in (jnp.zeros(3), jnp.ones(3)):
            slope = jax.grad(lambda w, f=loss: f(X, Y, class_weights=w).sum())(weights)
            np.testing.assert_allclose(slope, np.append(cost, 0), rtol=1e-6)
    weights = jax.grad(lambda w: logdomain.mean(jnp.array([1.0, 2.0]), weights=w))(
        jnp.array([0.0, 1.0])
    )
    np.testing.assert_allclose(weights, [np.exp(-1) - 1, 0], rtol=1e-5, atol=1e-7)
    impossible = X.at[0, 0].set(-INF)
    slope = jax.grad(lambda w: integer(impossible, Y, class_weights=w).sum())(
        jnp.array([0.0, 1.0, 1.0])
    )
    np.testing.assert_allclose(slope, np.array(plain).dot([[0, 0, 0], [0, 1, 0]]), rtol=1e-6)


@pytest.mark.parametrize(
    "cost",
    [
        lambda x, v: integer(x, Y, class_weights=v * jnp.ones(3)),
        lambda x, v: jbce.softmax_focal_loss_with_integer_labels(x, Y, v),
        lambda x, v: jbce.symmetric_cross_entropy_with_integer_labels(x, Y, v),
        lambda x, v: jbce.generalized_cross_entropy_with_integer_labels(x, Y, v),
        lambda x, v: integer(x, Y, temperature=v, soft_cap=30.0 * v),
    ],
)
@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_bad_example_that_does_not_count_has_no_part_in_parameters(cost, bad):
    x = X.at[0, 1].set(bad)
    slope = jax.grad(lambda v: jbce.mean(cost(x, v), where=jnp.array([False, True])))(0.7)
    wanted = jax.grad(lambda v: jbce.mean(cost(X, v), where=jnp.array([False, True])))(0.7)
    np.testing.assert_allclose(slope, wanted, rtol=1e-6)


def test_generalized_cross_entropy_is_smooth_in_q_down_to_0():
    exact = -np.sum(np.float64(integer(X, Y)) ** 2) / 2
    loss = jbce.generalized_cross_entropy_with_integer_labels
    for q in (0.0, 1e-8, 1e-6, 1e-4):
        slope = jax.grad(lambda q: loss(X, Y, q).sum())(q)
        np.testing.assert_allclose(slope, exact, rtol=1e-3 if q == 1e-4 else 1e-5)


@pytest.mark.parametrize("gamma", [0.0, 4.0])
def test_the_asymmetric_loss_is_smooth_in_its_margin_down_to_0(gamma):
    slope = jax.grad(lambda m: jbce.asymmetric_loss(jnp.float32(0.5), jnp.int32(0), gamma, 0.0, m))
    np.testing.assert_allclose(slope(0.0), slope(1e-5), rtol=1e-3)
    assert slope(0.0) < -0.5


def test_the_focal_loss_is_smooth_in_labels_at_their_ends():
    slope = jax.grad(lambda y: jbce.sigmoid_focal_loss(jnp.full(4, 0.3), y, 0.25).sum())(
        jnp.array([0.0, 1e-6, 1.0, 1 - 1e-6])
    )
    np.testing.assert_allclose(slope[::2], slope[1::2], rtol=1e-4)


def test_balanced_softmax_with_a_class_that_never_was():
    loss = jbce.balanced_softmax_loss_with_integer_labels
    slope = jax.grad(lambda c: loss(X, Y, c).sum())(jnp.array([3.0, 2.0, 0.0]))
    assert bool(jnp.isfinite(slope).all()) and slope[2] == 0
    with jax.enable_x64(True):
        counts = jnp.array([3, 7, 11])
        x = jnp.asarray(np.asarray(X), jnp.float64)
        plain = integer(x, Y, logit_adjustment=jnp.log(counts.astype(jnp.float64)))
        np.testing.assert_allclose(loss(x, Y, counts), plain, rtol=1e-15)


def test_a_masked_example_is_0_whatever_its_options():
    where = jnp.array([True, False])
    dense = jax.nn.one_hot(Y, 3)
    for options in (
        {"temperature": jnp.array([1.0, 0.0])},
        {"label_smoothing": jnp.array([0.1, NAN])},
    ):
        for loss, labels in ((jbce.softmax_cross_entropy, dense), (integer, Y)):
            losses = jax.jit(lambda o, f=loss, y=labels: f(X, y, where=where, **o))(options)
            assert losses[1] == 0 and np.isfinite(losses[0])


def test_what_is_ignored_is_that_label_and_nothing_else():
    binary = jbce.sigmoid_binary_cross_entropy
    found = binary(jnp.array([1.0, 2.0]), jnp.array([NAN, 1.0]), ignore=NAN)
    assert found[0] == 0 and found[1] > 0
    found = binary(jnp.array([1.0, 2.0]), jnp.array([True, False]), ignore=7)
    assert bool((found > 0).all())
    for labels in (jnp.array([0, 255], jnp.uint8), jnp.array([0, -1], jnp.int8)):
        assert bool((integer(X, labels, ignore=-100)[:1] > 0).all())
    assert integer(X, jnp.array([0, -1], jnp.int8), ignore=-1)[1] == 0


def test_soft_caps_of_all_sizes():
    x = jnp.array([INF, -INF, 1e30, -1e30])
    found = jbce.sigmoid_binary_cross_entropy(x, jnp.array([0, 1, 0, 1]), soft_cap=30.0)
    np.testing.assert_allclose(found, 30, rtol=1e-6)
    for cap in (INF, 1e38, 1e8):
        np.testing.assert_allclose(integer(X, Y, soft_cap=cap), integer(X, Y), rtol=1e-6)
        slope = jax.grad(lambda x, c: integer(x, Y, soft_cap=c).sum(), argnums=(0, 1))(X, cap)
        assert all(bool(jnp.isfinite(part).all()) for part in slope)


def test_target_logits_at_infinity_have_no_nan():
    targets = jnp.array([[INF, 0.0, 1.0]])
    for x in (targets, X[:1]):
        slopes = jax.grad(
            lambda a, b: jbce.softmax_cross_entropy_with_target_logits(a, b).sum(), argnums=(0, 1)
        )(x, targets)
        assert all(bool(jnp.isfinite(slope).all()) for slope in slopes)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: jax.grad(lambda t: integer(X, Y, temperature=t).sum())(-1.0),
            ValueError,
            r"`temperature` must be above 0, but -1 came",
        ),
        (
            lambda: jax.jit(lambda x: integer(x, Y, label_smoothing=2.0))(X),
            ValueError,
            r"`label_smoothing` must be from 0 to 1, but 2 came",
        ),
        (
            lambda: jax.jit(lambda x: integer(x, Y, class_weights=np.array([-1.0, 1, 1])))(X),
            ValueError,
            r"`class_weights` must be ≥ 0, but -1 came",
        ),
        (
            lambda: jbce.softmax_focal_loss_with_integer_labels(
                X, Y, **cast("Any", {"z_loss": 0.1})
            ),
            TypeError,
            r"focal_loss_with_integer_labels\(\) got an unexpected option 'z_loss'; it takes",
        ),
        (
            lambda: logdomain.sigmoid_focal_loss(X, X, **cast("Any", {"pos_weight": 2.0})),
            TypeError,
            r"logdomain\.sigmoid_focal_loss\(\) got an unexpected option 'pos_weight'",
        ),
        (
            lambda: jbce.softmax_focal_loss_with_integer_labels(X, Y, jnp.ones((2, 1))),
            ValueError,
            r"`gamma` must be one number or have the shape of the losses, \(2,\)",
        ),
        (
            lambda: jbce.generalized_cross_entropy_with_integer_labels(X, Y, 2.0),
            ValueError,
            r"`q` must be from 0 to 1, but 2 came",
        ),
        (
            lambda: jbce.symmetric_cross_entropy_with_integer_labels(X, Y, cast("Any", [1.0, 2.0])),
            TypeError,
            r"`alpha` must be an array or a number, but a list came",
        ),
        (
            lambda: jbce.balanced_softmax_loss_with_integer_labels(X, Y, jnp.ones(4)),
            ValueError,
            r"`class_counts` must have one number for each class, \(3,\), but float32\[4\] came",
        ),
        (
            lambda: jbce.smooth_labels(jnp.eye(2), np.float32(2)),
            ValueError,
            r"`alpha` must be from 0 to 1, but 2 came",
        ),
        (
            lambda: jbce.smooth_labels(jnp.float32(1), 0.1),
            ValueError,
            r"`labels` must have a class axis, but float32\[\] came",
        ),
        (
            lambda: integer(X, Y, axis=cast("Any", "a")),
            TypeError,
            r"`axis` must be an integer or several, but 'a' came",
        ),
        (
            lambda: integer(X, Y, ignore=0.5),
            TypeError,
            r"`ignore` must be an integer for `labels` int32\[2\], but float32\[\] came",
        ),
        (
            lambda: jbce.distillation_loss(X, X, cast("Any", None)),
            TypeError,
            r"`temperature` must be an array or a number, but a NoneType came",
        ),
        (
            lambda: jbce.categorical_cross_entropy(jax.nn.softmax(X), Y, epsilon=0.7),
            ValueError,
            r"`epsilon` must be from 0 to 0\.5, but 0\.7 came",
        ),
        (
            lambda: jbce.categorical_cross_entropy(jax.nn.softmax(X), X, ignore=1),
            ValueError,
            r"`ignore` is for class indices",
        ),
    ],
)
def test_bad_parameters_are_named_and_shown(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_probabilities_with_epsilon_where_and_ignore(dtype):
    probs = jnp.array([[0.25, 0.75], [1.0, 0.0], [NAN, 0.5]], dtype)
    labels = jnp.array([0, 1, -100])
    found = jbce.categorical_cross_entropy(probs, labels, ignore=-100, epsilon=1e-7)
    np.testing.assert_allclose(found, [np.log(4), -np.log(np.float32(1e-7)), 0], rtol=1e-6)
    dense = jax.nn.one_hot(labels, 2)
    where = jnp.array([True, True, False])
    again = jbce.categorical_cross_entropy(probs, dense, where=where, epsilon=1e-7)
    np.testing.assert_allclose(again, found, rtol=1e-6)
    slope = jax.grad(
        lambda p: jbce.categorical_cross_entropy(p, labels, ignore=-100, epsilon=1e-7).sum()
    )(probs)
    np.testing.assert_array_equal(slope.astype(jnp.float32), [[-4, 0], [0, 0], [0, 0]])
    binary = jbce.binary_cross_entropy(probs[:, 0], labels, ignore=-100, epsilon=1e-7)
    assert binary[2] == 0 and np.isfinite(binary[0])
