"""One contract for every loss: properties × a table of losses with options, variants, logarithms.

The plain losses have it from tests/test_losses.py and, where it is proved, tests/test_verify.py.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbce
from jbce import logdomain, verify

INF, NAN = np.inf, np.nan
KEY = jax.random.key(0)
SHAPE = (6, 5)
LOGITS = 3 * jax.random.normal(KEY, SHAPE)
SOFT = jax.random.uniform(jax.random.key(1), SHAPE)
INDEX = jax.random.randint(KEY, SHAPE[:1], 0, SHAPE[1])
DENSE = jax.nn.softmax(2 * jax.random.normal(jax.random.key(2), SHAPE))
TARGETS = 2 * jax.random.normal(jax.random.key(3), SHAPE)
PER_CLASS = jnp.array([0.5, 2.0, 0.3, 1.0, 3.0])

BINARY: dict[str, Any] = {
    "label_smoothing": 0.1,
    "pos_weight": 3.0,
    "temperature": 2.0,
    "soft_cap": 20.0,
    "logit_adjustment": 0.3,
}
CLASSES: dict[str, Any] = {
    "label_smoothing": 0.1,
    "class_weights": PER_CLASS,
    "temperature": 2.0,
    "soft_cap": 20.0,
    "logit_adjustment": PER_CLASS,
}


class Case(NamedTuple):
    """A loss with labels, and the parameters and options that may be traced, with values."""

    function: Callable[..., Any]
    labels: Any
    traced: dict[str, Any] = {}  # noqa: RUF012
    nothing: float = 0.0  # the loss of an example that does not exist

    @property
    def loss(self) -> Callable[..., Any]:
        """The loss at the values of its parameters."""
        return functools.partial(self.function, **self.traced)

    @property
    def is_binary(self) -> bool:
        """Whether there is a loss for each logit."""
        return any(name in str(self.function) for name in ("sigmoid", "asymmetric"))


def _case(function, labels, nothing=0.0, **traced):
    return Case(function, labels, traced, nothing)


_log = functools.partial(_case, nothing=-INF)
CASES = {
    "binary, options": _case(jbce.sigmoid_binary_cross_entropy, SOFT, **BINARY),
    "binary focal": _case(jbce.sigmoid_focal_loss, SOFT, alpha=0.25, gamma=1.5),
    "asymmetric": _case(
        jbce.asymmetric_loss, SOFT, gamma_negative=3.0, gamma_positive=0.5, margin=0.05
    ),
    "integer, options": _case(
        jbce.softmax_cross_entropy_with_integer_labels, INDEX, z_loss=0.01, **CLASSES
    ),
    "softmax focal": _case(jbce.softmax_focal_loss_with_integer_labels, INDEX, gamma=1.5),
    "generalized": _case(jbce.generalized_cross_entropy_with_integer_labels, INDEX, q=0.7),
    "symmetric": _case(
        jbce.symmetric_cross_entropy_with_integer_labels, INDEX, alpha=0.5, beta=2.0
    ),
    "balanced": _case(
        jbce.balanced_softmax_loss_with_integer_labels, INDEX, class_counts=PER_CLASS
    ),
    "dense, options": _case(jbce.softmax_cross_entropy, DENSE, z_loss=0.01, **CLASSES),
    "poly": _case(jbce.poly_loss_cross_entropy, DENSE, epsilon=2.0),
    "target logits": _case(jbce.softmax_cross_entropy_with_target_logits, TARGETS),
    "KL": _case(jbce.softmax_kl_divergence, TARGETS),
    "Jensen-Shannon": _case(jbce.softmax_jensen_shannon_divergence, TARGETS),
    "distillation": _case(jbce.distillation_loss, TARGETS, temperature=2.0),
    "log binary": _log(logdomain.sigmoid_binary_cross_entropy, SOFT, **BINARY),
    "log binary focal": _log(logdomain.sigmoid_focal_loss, SOFT, alpha=0.25, gamma=1.5),
    "log integer": _log(logdomain.softmax_cross_entropy_with_integer_labels, INDEX, **CLASSES),
    "log softmax focal": _log(logdomain.softmax_focal_loss_with_integer_labels, INDEX, gamma=1.5),
    "log generalized": _log(logdomain.generalized_cross_entropy_with_integer_labels, INDEX, q=0.7),
    "log symmetric": _log(
        logdomain.symmetric_cross_entropy_with_integer_labels, INDEX, alpha=0.5, beta=2.0
    ),
    "log dense": _log(logdomain.softmax_cross_entropy, DENSE, **CLASSES),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def _batch(case):
    return SHAPE if case.is_binary else SHAPE[:1]


@each_case
def test_jit_is_eager_and_vmap_is_a_loop(case):
    def both(x, y):
        value, pull = jax.vjp(lambda x: case.loss(x, y), x)
        return value, pull(jnp.ones_like(value))[0]

    eager = both(LOGITS, case.labels)
    assert eager[0].shape == _batch(case) and eager[0].dtype == jnp.float32

    @jax.jit
    def others(x, y):
        folded = both(x.reshape(2, 3, 5), y.reshape(2, 3, *y.shape[1:]))
        folded = jax.tree.map(lambda a, b: a.reshape(b.shape), folded, eager)
        return both(x, y), jax.vmap(both)(x, y), folded

    for found in others(LOGITS, case.labels):
        chex.assert_trees_all_close(found, eager, rtol=2e-6, atol=2e-6)


@each_case
@pytest.mark.jax_defaults
@pytest.mark.thorough
def test_derivatives_are_proved(case):
    def total(x, traced):
        losses = case.function(x, case.labels[:3], **traced)
        return jnp.sum(losses * jnp.arange(1.0, 1 + losses.size).reshape(losses.shape))

    traced = {name: jnp.asarray(value) for name, value in case.traced.items()}
    report = verify.check_gradients(total, LOGITS[:3], traced, argnums=(0, 1))
    assert report.verdict == "right", str(report)
    report = verify.check_gradients(lambda x: total(x, traced), LOGITS[:3], order=2)
    assert report.verdict == "right", str(report)


@each_case
def test_one_trace_for_a_sweep_which_vmap_does_too(case):
    if not case.traced:
        return

    @chex.assert_max_traces(n=1)
    def losses(traced):
        return case.function(LOGITS, case.labels, **traced)

    def alone(value, name):
        return losses(case.traced | {name: value})

    values = {name: np.float32(value) for name, value in case.traced.items()}
    sweep = [values, *(values | {name: value / 2} for name, value in values.items())]
    compiled = jax.jit(losses)
    swept = np.stack([compiled(one) for one in sweep])
    chex.clear_trace_counter()
    for name, found in zip(values, swept[1:], strict=True):
        assert np.abs(found - swept[0]).max() > 0, name
        jax.eval_shape(functools.partial(alone, name=name), values[name])  # the others static
        chex.clear_trace_counter()
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *sweep)
    mapped = np.asarray(jax.jit(jax.vmap(losses))(stacked))
    chex.assert_trees_all_close(mapped, swept, rtol=1e-5, atol=1e-6)
    chex.clear_trace_counter()


@each_case
def test_what_where_leaves_out_is_as_if_removed(case):
    # optax #1335; pytorch #11551, #70348: rows that are left out poison value and gradient.
    kept = np.array([0, 2, 3, 5])
    where = jnp.zeros(SHAPE[:1], bool).at[kept].set(True)
    spoiled = jnp.where(where[:, None], LOGITS, NAN)
    if case.is_binary:
        where = jnp.broadcast_to(where[:, None], SHAPE)

    def averaged(x, where):
        losses = case.loss(x, case.labels, where=where)
        return jbce.mean(losses, where=where), losses

    def averaged_of_kept(x):
        losses = case.loss(x, case.labels[kept])
        return jbce.mean(losses), losses

    slope = jax.jit(jax.grad(averaged, has_aux=True))
    gradient, losses = slope(spoiled, where)
    wanted, removed = jax.jit(jax.grad(averaged_of_kept, has_aux=True))(LOGITS[kept])
    # A logarithm of nearly 1 has the error of the 1.
    np.testing.assert_allclose(losses[kept], removed, rtol=1e-6, atol=2e-7)
    np.testing.assert_array_equal(np.delete(losses, kept, axis=0), case.nothing)
    np.testing.assert_allclose(gradient[kept], wanted, rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(np.delete(gradient, kept, axis=0), 0)
    tangents = jnp.where(jnp.isnan(spoiled), 0, 1.0)
    forward = jax.jit(lambda x, t: jax.jvp(lambda x: averaged(x, where)[0], (x,), (t,))[1])
    assert np.isfinite(forward(spoiled, tangents))
    _, nothing = slope(spoiled, jnp.zeros_like(where))
    np.testing.assert_array_equal(nothing, case.nothing)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if not c.is_binary])
def test_classes_that_where_leaves_out_are_deleted(name):
    case = CASES[name]
    exists = jnp.array([True, True, False, True, True])
    kept = np.flatnonzero(exists)
    where = jnp.broadcast_to(exists, SHAPE)
    labels, reduced = case.labels, case.labels
    if labels.ndim == 1:
        labels = jnp.array([0, 1, 3, 4, 1, 3])
        reduced = jnp.array([0, 1, 2, 3, 1, 2])
    else:
        reduced = labels[:, kept]
    traced = {k: v[kept] if np.shape(v) == (5,) else v for k, v in case.traced.items()}
    losses = case.loss(jnp.where(where, LOGITS, NAN), labels, where=where)
    wanted = case.function(LOGITS[:, kept], reduced, **traced)
    np.testing.assert_allclose(losses, wanted, rtol=3e-6, atol=1e-6)
    gradient = jax.grad(lambda x: case.loss(jnp.where(where, x, NAN), labels, where=where).sum())(
        LOGITS
    )
    assert bool(jnp.isfinite(gradient).all())
    np.testing.assert_array_equal(gradient[:, 2], 0)


@each_case
def test_a_nan_is_a_nan_for_its_own_example_and_moves_nothing(case):
    x = LOGITS.at[2, 1].set(NAN)
    losses = case.loss(x, case.labels)
    wrong = np.isnan(losses)
    assert wrong.sum() == 1 and wrong[2].any()

    def kept(x):
        losses = case.loss(x, case.labels)
        return jbce.mean(losses, where=~jnp.isnan(jax.lax.stop_gradient(losses)))

    gradient = jax.grad(kept)(x)
    assert bool(jnp.isfinite(gradient).all()) and gradient[2, 1] == 0


@each_case
def test_extreme_logits_have_no_nan(case):
    rows = []
    for size in (90.0, 1e4, 1e30):
        x = LOGITS.at[0].set(jnp.array([size, 0, 0, 0, 0])).at[1].set(-size).at[2, 3].set(-size)
        rows.append(x.at[3].set(jnp.array([0, size, size, 0, 0])))
    labels = jnp.concatenate([case.labels] * 3)

    def summed(x):
        losses = case.loss(x, labels)
        return losses.sum(), losses

    gradient, losses = jax.jit(jax.grad(summed, has_aux=True))(jnp.concatenate(rows))
    assert not np.isnan(losses).any() and np.isfinite(gradient).all()


@each_case
@pytest.mark.parametrize("dtypes", [("bfloat16", "float16"), ("float64",)], ids=str)
def test_dtypes(case, dtypes):
    def everything(x):
        def summed(x):
            losses = case.loss(x, case.labels)
            return losses.sum(), losses

        gradient, losses = jax.grad(summed, has_aux=True)(x)
        return losses, gradient

    with jax.enable_x64(dtypes == ("float64",)):
        given = [jnp.asarray(LOGITS, dtype) for dtype in dtypes]
        found = jax.jit(lambda given: [everything(x) for x in given])(given)
    in_float32 = jax.jit(case.loss)
    for x, (losses, gradient) in zip(given, found, strict=True):
        wanted = in_float32(jnp.asarray(np.asarray(x), jnp.float32), case.labels)
        assert losses.dtype == (jnp.float64 if x.dtype == jnp.float64 else jnp.float32)
        assert gradient.dtype == x.dtype and np.isfinite(np.float64(gradient)).all()
        np.testing.assert_allclose(losses, wanted, rtol=2e-6, atol=2e-6)


@each_case
def test_no_examples_are_no_losses(case):
    x, labels = LOGITS[:0], case.labels[:0]

    def averaged(x):
        losses = case.loss(x, labels)
        return jbce.mean(losses), losses

    (average, losses), gradient = jax.jit(jax.value_and_grad(averaged, has_aux=True))(x)
    assert losses.shape == (0, *_batch(case)[1:]) and average == 0
    assert gradient.shape == x.shape
    if case.is_binary:
        return
    scalars = {name: value for name, value in case.traced.items() if np.ndim(value) == 0}
    if len(scalars) == len(case.traced):  # what has a number for each class has five
        labels = case.labels if case.labels.ndim == 1 else jnp.zeros((6, 0))
        np.testing.assert_array_equal(case.loss(jnp.zeros((6, 0)), labels), case.nothing)
