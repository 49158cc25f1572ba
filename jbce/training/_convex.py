"""Logistic regression to its optimum: the loss is convex, so that there is nothing to tune."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from .._optimum import (
    binary_losses,
    categorical_losses,
    newton,
    optimum,
)
from .._typing import (
    Array,
    ArrayLike,
    Bool,
    Float,
    Real,
    as_boolean,
    as_floating,
    as_real,
    describe,
)


class Logistic(NamedTuple):
    """A fitted logistic regression: a function from features to logits, and a pytree."""

    kernel: Float[Array, "*models features"] | Float[Array, "*models features classes"]
    bias: Float[Array, "*models"] | Float[Array, "*models classes"]

    def __call__(self, features: Float[ArrayLike, "*batch features"]) -> Float[Array, "*logits"]:
        """Logits of `features`: `[*batch]` if binary, else `[*batch, classes]`. Of one model."""
        logits = jnp.matmul(features, self.kernel, precision="highest")
        return logits + jnp.broadcast_to(self.bias, logits.shape)


class _Sample(NamedTuple):
    features: Array  # float64 [examples, features], in standard units
    spread: Array  # [features]: the standard unit of each
    labels: Array  # float64 if binary, else int32
    weights: Array  # float64, of sum 1
    penalty: Array


def fit_logistic_regression(
    features: Float[ArrayLike, "examples features"],
    labels: Real[ArrayLike, " examples"] | Bool[ArrayLike, " examples"],
    *,
    num_classes: int | None = None,
    penalty: Real[ArrayLike, ""] = 0.0,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, " examples"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, " examples"] = True,
) -> Logistic:
    """The kernel and bias of least loss, by Newton's method.

        argmin Σ w·loss(features @ kernel + bias, label) / Σ w + penalty/2·|kernel|²

    scikit-learn's `LogisticRegression(C)` minimises the same with penalty = 1/(C·examples). Under
    `vmap` thousands are fitted at once; the result is differentiable in features, weights, soft
    binary labels and penalty, in both modes, by the implicit function theorem.

    Args:
        features: one row per example.
        labels: binary (boolean, 0 and 1, or floats in [0, 1]); with `num_classes` class indices.
        num_classes: None means binary, with one logit per example.
        penalty: ≥ 0, a scalar; the bias is free of it. May be traced.
        weights: how much each example counts, ≥ 0; a scalar or one per example.
        where: which examples exist; a scalar or one per example.

    Returns:
        A `Logistic`: kernel `[features]` and bias `[]`, or `[features, classes]` and `[classes]`,
        of which each row sums to 0; float32, or float64 for float64 features.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, there are no examples, or fewer than two
            classes; or, of what is known, `penalty` < 0, a label is out of range, all labels are
            the same, or there are fewer examples than classes.

    Edges: without a penalty separated classes have no optimum: the kernel is finite, and its loss
        within 1e-12 nats of the infimum; no derivative there. Features that are the same
        combination of others share their kernel. What does not count may hold anything; NaN in what
        does gives NaN.
    Error: the root of the gradient to the rounding of float64 sums, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> features = jnp.array([[0.0], [0.0], [1.0], [1.0], [1.0]])
        >>> labels = jnp.array([0, 1, 0, 1, 1])
        >>> fitted = fit_logistic_regression(features, labels)
        >>> fitted.kernel.round(4).tolist()  # log 2 − log 1
        [0.693...]

    Source: D. R. Cox, The regression analysis of binary sequences, J. R. Stat. Soc. B 20 (1958).
    """
    arrays = _checked(features, labels, num_classes, penalty, weights, where)
    return _fitted(num_classes, *arrays)


def _checked(
    features: ArrayLike,
    labels: ArrayLike,
    num_classes: int | None,
    penalty: ArrayLike,
    weights: ArrayLike,
    where: ArrayLike,
) -> tuple[Array, ...]:
    features, labels = as_floating("features", features), as_real("labels", labels)
    weights, where = as_real("weights", weights), as_boolean("where", where)
    penalty = as_real("penalty", penalty)
    if features.ndim != 2 or labels.shape != features.shape[:1] or not labels.shape[0]:
        raise ValueError(
            "`features` must be [examples, features] and `labels` [examples], with one example at "
            f"least, but {describe(features)} and {describe(labels)} came."
        )
    for name, array in (("weights", weights), ("where", where)):
        if array.shape not in ((), labels.shape):
            raise ValueError(
                f"`{name}` must be a scalar or have one entry per example, "
                f"but {describe(array)} came with `labels` {describe(labels)}."
            )
    if penalty.shape != ():
        raise ValueError(f"`penalty` must be a scalar, but {describe(penalty)} came.")
    if not isinstance(penalty, Tracer) and not 0 <= float(penalty) < np.inf:
        raise ValueError(f"`penalty` must be finite and ≥ 0, but {penalty} came.")
    if num_classes is not None:
        if num_classes < 2:
            raise ValueError(
                f"`num_classes` must be at least 2 (or None: binary), not {num_classes}."
            )
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise TypeError(f"`labels` must be class indices, but {describe(labels)} came.")
    if not any(isinstance(array, Tracer) for array in (labels, weights, where)):
        if not bool(jnp.all(weights >= 0)):
            raise ValueError(f"`weights` must be ≥ 0, but the smallest is {jnp.min(weights)}.")
        counted = np.broadcast_to(np.asarray(where & (weights > 0)), labels.shape)
        if counted.any():
            _check_known(np.asarray(labels)[counted], num_classes)
    return features, labels, weights, where, penalty


def _check_known(labels: np.ndarray, num_classes: int | None) -> None:
    highest = 1 if num_classes is None else num_classes - 1
    if not (labels.min() >= 0 and labels.max() <= highest):
        what = "binary" if num_classes is None else f"of {num_classes} classes"
        raise ValueError(
            f"`labels` are {what}, so from 0 to {highest}, but they run from {labels.min()} to "
            f"{labels.max()}."
        )
    if labels.size < (num_classes or 1):
        raise ValueError(f"{labels.size} examples cannot teach {num_classes} classes.")
    if labels.size > 1 and (labels == labels[0]).all() and labels[0] in (0, *range(1, highest + 1)):
        raise ValueError(
            f"All {labels.size} labels are {labels[0]}: there is nothing to tell apart."
        )


@partial(jax.jit, static_argnums=0)
def _fitted(
    num_classes: int | None,
    features: Array,
    labels: Array,
    weights: Array,
    where: Array,
    penalty: Array,
) -> Logistic:
    dtype = features.dtype if features.dtype == jnp.float64 else jnp.float32
    with jax.enable_x64(True):
        weights = jnp.where(where, weights.astype(jnp.float64), 0.0)
        weights = jnp.broadcast_to(weights, labels.shape)
        sum_of_weights = jnp.sum(weights)
        weights = weights / jnp.where(sum_of_weights > 0.0, sum_of_weights, 1.0)
        counts = weights != 0.0
        features = jnp.where(counts[:, None], features.astype(jnp.float64), 0.0)
        undefined = ~jnp.all(jnp.isfinite(features)) | ~(sum_of_weights > 0.0)
        features = jnp.where(undefined, 0.0, features)
        # In standard units, which the optimum does not depend on: so they are constants.
        centre, spread = lax.stop_gradient(_units(features, weights))
        features = jnp.where(counts[:, None], (features - centre[None]) / spread[None], 0.0)
        size = features.shape[1]
        if num_classes is None:
            labels = jnp.where(counts, labels.astype(jnp.float64), 0.0)
            start = Logistic(jnp.zeros([size]), jnp.zeros([]))
            objective, solver = _binary_objective, _binary_newton
        else:
            labels = jnp.where(counts, labels, 0).astype(jnp.int32)
            start = Logistic(jnp.zeros([size, num_classes]), jnp.zeros([num_classes]))
            objective, solver = _categorical_objective, newton
        sample = _Sample(features, spread, labels, weights, penalty.astype(jnp.float64))
        found = optimum(objective, solver, _curvatures, start, sample)
        by_feature = spread.reshape(-1, *[1] * (found.kernel.ndim - 1))
        kernel = found.kernel / by_feature
        moved = centre.reshape(by_feature.shape) * kernel
        found = Logistic(kernel, found.bias - jnp.sum(moved, axis=0))
        if num_classes is not None:  # a constant for all classes changes nothing
            found = jax.tree.map(lambda a: a - jnp.mean(a, axis=-1, keepdims=True), found)
        return jax.tree.map(lambda a: jnp.where(undefined, jnp.nan, a).astype(dtype), found)


def _units(features: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature; 1 where it does not vary."""
    centre = jnp.sum(weights[:, None] * features, axis=0)
    apart = jnp.where(weights[:, None] != 0.0, features - centre[None], 0.0)
    largest = jnp.max(jnp.abs(apart), axis=0)
    scale = jnp.where(largest > 0.0, largest, 1.0)  # whose squares are numbers
    spread = scale * jnp.sqrt(jnp.sum(weights[:, None] * (apart / scale[None]) ** 2, axis=0))
    varies = spread > 1e-13 * jnp.abs(centre)
    return centre, jnp.where(varies & (spread > 0.0), spread, 1.0)


def _logits(parameters: Logistic, sample: _Sample) -> Array:
    product = lax.dot_general(sample.features, parameters.kernel, (((1,), (0,)), ((), ())))
    return product + jnp.broadcast_to(parameters.bias, product.shape)


def _pull(parameters: Logistic, sample: _Sample) -> Array:
    by_feature = sample.spread.reshape(-1, *[1] * (parameters.kernel.ndim - 1))
    return sample.penalty * jnp.sum((parameters.kernel / by_feature) ** 2) / 2.0


def _binary_objective(parameters: Logistic, sample: _Sample) -> Array:
    losses = binary_losses(_logits(parameters, sample), sample.labels)
    return jnp.sum(sample.weights * losses) + _pull(parameters, sample)


def _categorical_objective(parameters: Logistic, sample: _Sample) -> Array:
    logits = _logits(parameters, sample)
    losses = categorical_losses(logits, sample.labels)
    return jnp.sum(sample.weights * losses) + _pull(parameters, sample)


def _curvatures(parameters: Logistic, sample: _Sample) -> Logistic:
    """About the diagonal of the Hessian, where every probability is that of a coin."""
    squares = jnp.sum(sample.weights[:, None] * sample.features**2, axis=0) / 4.0
    squares = squares + sample.penalty / sample.spread**2
    squares = jnp.maximum(squares, 1e-12)
    kernel = squares.reshape(-1, *[1] * (parameters.kernel.ndim - 1))
    return Logistic(
        jnp.broadcast_to(kernel, parameters.kernel.shape), jnp.full_like(parameters.bias, 0.25)
    )


def _binary_hessian(flat: Array, sample: _Sample) -> Array:
    """Second derivatives in the kernel and, last, the bias, which nothing pulls."""
    rows = jnp.concatenate([sample.features, jnp.ones_like(sample.weights)[:, None]], axis=1)
    doubt = jnp.exp(-jnp.abs(lax.dot_general(rows, flat, (((1,), (0,)), ((), ())))))
    curvature = sample.weights * doubt / (1.0 + doubt) ** 2
    matrix = lax.dot_general(rows, curvature[:, None] * rows, (((0,), (0,)), ((), ())))
    row, column = (lax.broadcasted_iota(jnp.int32, matrix.shape, axis) for axis in (0, 1))
    pulled = jnp.concatenate([sample.penalty / sample.spread**2, jnp.zeros([1])])
    return matrix + jnp.where(row == column, pulled[:, None], 0.0)


# One and the same object, which makes fits share their compilation.
_binary_newton = partial(newton, matrix=_binary_hessian)
