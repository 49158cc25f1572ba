"""Maps of a row of logits: vector scaling and Dirichlet calibration."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from .._optimum import newton, optimum, products
from .._typing import Array, ArrayLike, Bool, Float, Integer, Real, as_real, describe
from ..numerics import log_softmax
from ._apply import check_parameters, prepared
from ._binary import standard_units
from ._sample import (
    Sample,
    arguments,
    finished,
    mean_loss,
    only_the_infinite,
    sample_of,
    weighted_mean,
)


class Vector(NamedTuple):
    """The map scale·logits + bias, class by class."""

    scale: Float[Array, "*models classes"]
    bias: Float[Array, "*models classes"]  # sums to 0

    def __call__(
        self, logits: Float[ArrayLike, "*batch classes"]
    ) -> Float[Array, "*batch classes"]:
        """Calibrated logits, of the shape of `logits`: float32, or float64 for float64 logits.

        A class at −inf stays there; one class at +inf keeps all probability.
        """
        x, scale, bias = prepared(logits, self)
        check_parameters(self, {"scale": x.shape[-1:], "bias": x.shape[-1:]})
        return _scaled(x, scale, bias)


@jax.jit
def _scaled(x: Array, scale: Array, bias: Array) -> Array:
    x = only_the_infinite(x)
    exists = x != -jnp.inf
    scale, bias = (jnp.broadcast_to(value, x.shape) for value in (scale, bias))
    return jnp.where(exists, scale * jnp.where(exists, x, 0) + bias, -jnp.inf)


class Dirichlet(NamedTuple):
    """The map weight @ log_softmax(logits) + bias."""

    weight: Float[Array, "*models classes classes"]  # [to, from]
    bias: Float[Array, "*models classes"]  # sums to 0

    def __call__(
        self, logits: Float[ArrayLike, "*batch classes"]
    ) -> Float[Array, "*batch classes"]:
        """Calibrated logits, of the shape of `logits`: float32, or float64 for float64 logits.

        A class at −inf stays there and gives nothing to others; one class at +inf keeps all
        probability.
        """
        x, weight, bias = prepared(logits, self)
        classes = x.shape[-1]
        check_parameters(self, {"weight": (classes, classes), "bias": (classes,)})
        return _mixed(x, weight, bias)


@jax.jit
def _mixed(x: Array, weight: Array, bias: Array) -> Array:
    x = only_the_infinite(x)
    exists = x != -jnp.inf
    log_probs = jnp.where(exists, log_softmax(x), 0)
    mixed = jnp.matmul(log_probs, weight.T, precision="highest")
    return jnp.where(exists, mixed + jnp.broadcast_to(bias, x.shape), -jnp.inf)


def fit_vector(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Integer[ArrayLike, "*batch"],
    *,
    penalty: Real[ArrayLike, ""] = 0.0,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Vector:
    """The scale and bias of each class that have the least log loss.

        argmin Σ w·loss(scale·logits + bias, label) / Σ w
               + penalty·mean_k((scale_k − 1)² + bias_k²)

    A constant added to all biases changes nothing; the bias is the one that sums to 0.

    Args:
        logits: `[*batch, classes]`.
        labels: `[*batch]`, class indices.
        penalty: ≥ 0, a scalar; pulls towards the identity. May be traced.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A `Vector`, in float32, or float64 for float64 logits. Differentiable in logits, weights and
        penalty, in both modes.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, the labels are binary, there are fewer than two
            classes, or `penalty` is known and not a finite number ≥ 0.

    Edges: a class without an example, or a separated sample (likely with few examples per class),
        has no optimum without a penalty: the parameters are finite and their loss is within 1e-12
        nats of the infimum; no derivative there. Nothing counts: the identity. An undefined
        example that counts, or a label at −inf: NaN.
    Error: the root of the gradient to the rounding of float64 sums, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.zeros([4, 2]), jnp.array([0, 1, 1, 1])
        >>> vector = fit_vector(logits, labels)
        >>> (vector.bias[1] - vector.bias[0]).round(4).item()  # the log-odds of 3 to 1
        1.0986...

    Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural
        networks, ICML (2017).
    """
    arrays = arguments(logits, labels, weights, where, kind="multi-class")
    return _fit_vector(*arrays, known_penalty("penalty", penalty))


@jax.jit
def _fit_vector(
    logits: Array, labels: Array, weights: Array, where: Array, penalty: Array
) -> Vector:
    with jax.enable_x64(True):
        sample, status = sample_of((logits, labels, weights, where))
        centre, spread = standard_units(sample.logits, sample)
        features = (sample.logits - centre[None]) / spread[None]
        data = features, centre, spread, sample, penalty.astype(jnp.float64)
        in_units = optimum(_vector_objective, newton, None, Vector(spread, centre), data)
        scale, bias = _of_logits(in_units, centre, spread)
        return Vector(finished(scale, status), finished(bias, status))


def _vector_objective(in_units: Vector, data: Any) -> Array:
    features, centre, spread, sample, penalty = data
    scale, bias = _of_logits(in_units, centre, spread)
    pull = penalty * jnp.mean((scale - 1) ** 2 + bias**2)
    loss = mean_loss(in_units.scale[None] * features + in_units.bias[None], sample)
    return loss + pull + _gauge(bias)


def _of_logits(in_units: Vector, centre: Array, spread: Array) -> Vector:
    """The map of logits that is `in_units` of logits in standard units."""
    scale = in_units.scale / spread
    return Vector(scale, in_units.bias - scale * centre)


def _gauge(values: Array) -> Array:
    """What makes the optimum one point: (mean over the first axis)², 0 at the optimum.

    The loss does not see a constant added to all classes, and the penalties are least where that
    mean is 0, so this term moves no optimum and takes the null directions out of its Hessian.
    """
    return jnp.sum(jnp.mean(values, axis=0) ** 2)


def fit_dirichlet(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Integer[ArrayLike, "*batch"],
    *,
    off_diagonal_penalty: Real[ArrayLike, ""] = 0.0,
    bias_penalty: Real[ArrayLike, ""] = 0.0,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Dirichlet:
    """The linear map of log-probabilities that has the least penalised log loss.

        argmin Σ w·loss(weight @ log_softmax(logits) + bias, label) / Σ w
               + off_diagonal_penalty·mean_{i≠j}(weight_ij²) + bias_penalty·mean_i(bias_i²)

    the off-diagonal and intercept regularisation (ODIR) of the source. A constant added to a column
    of the weight, or to the bias, changes nothing in the loss; the column is the one whose entries
    off the diagonal sum to 0, and so is the bias, which is where the penalties are least.

    Args:
        logits: `[*batch, classes]`.
        labels: `[*batch]`, class indices.
        off_diagonal_penalty: ≥ 0, a scalar. May be traced: `vmap` fits a grid of penalties.
        bias_penalty: ≥ 0, a scalar. May be traced.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A `Dirichlet`, in float32, or float64 for float64 logits. Differentiable in logits, weights
        and penalties, in both modes.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, the labels are binary, there are fewer than two
            classes, or a penalty is known and not a finite number ≥ 0.

    Edges: as `fit_vector`. Without penalties, classes² + classes parameters separate a sample of
        not many more examples than that: then choose penalties, by the loss of `cross_fit`.
    Error: the root of the gradient to the rounding of float64 sums, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.zeros([4, 2]), jnp.array([0, 1, 1, 1])
        >>> calibrated = fit_dirichlet(logits, labels)(logits)
        >>> (calibrated[0, 1] - calibrated[0, 0]).round(4).item()  # the log-odds of 3 to 1
        1.0986...

    Source: M. Kull, M. Perello-Nieto, M. Kängsepp, T. Silva Filho, H. Song and P. Flach, Beyond
        temperature scaling: obtaining well-calibrated multiclass probabilities with Dirichlet
        calibration, NeurIPS (2019).
    """
    arrays = arguments(logits, labels, weights, where, kind="multi-class")
    penalties = (
        known_penalty("off_diagonal_penalty", off_diagonal_penalty),
        known_penalty("bias_penalty", bias_penalty),
    )
    return _fit_dirichlet(*arrays, penalties)


@jax.jit
def _fit_dirichlet(
    logits: Array, labels: Array, weights: Array, where: Array, penalties: tuple[Array, Array]
) -> Dirichlet:
    with jax.enable_x64(True):
        sample, status = sample_of((logits, labels, weights, where))
        rows = jnp.where(sample.exists, sample.logits, -jnp.inf)
        log_probs = jnp.where(sample.exists, log_softmax(rows), 0.0)
        off_diagonal, of_bias = penalties
        penalties = off_diagonal.astype(jnp.float64), of_bias.astype(jnp.float64)
        units, start = _units(log_probs, sample, penalties)
        features = products(log_probs, units.weight.T) + units.bias[None]
        data = features, units, sample, penalties
        found = optimum(_dirichlet_objective, newton, _dirichlet_curvatures, start, data)
        weight, bias = _of_log_probs(found, units)
        return Dirichlet(finished(weight, status), finished(bias, status))


def _dirichlet_objective(table: Array, data: Any) -> Array:
    features, units, sample, (off_diagonal_penalty, bias_penalty) = data
    weight, bias = _of_log_probs(table, units)
    classes = bias.size
    off_diagonal = jnp.where(jnp.eye(classes, dtype=bool), 0.0, weight)
    pull = off_diagonal_penalty * jnp.sum(off_diagonal**2) / (classes * (classes - 1))
    pull += bias_penalty * jnp.mean(bias**2)
    loss = mean_loss(products(features, table), sample)
    return loss + pull + _gauge(off_diagonal) + _gauge(bias)


def _dirichlet_curvatures(table: Array, data: Any) -> Array:
    features, units, sample, _ = data
    logits = jnp.where(sample.exists, products(features, table), -jnp.inf)
    probs = jax.nn.softmax(logits, axis=-1)
    of_class = weighted_mean(probs * (1 - probs), sample.weights)
    return of_class[:, None] + units.penalty[None] + 1e-9


class _Units(NamedTuple):
    """Features that are linear combinations of the log-probabilities and of 1.

    In their coefficients, a table of [classes, classes + 1], the Hessian is close to diagonal:
    the features have second moments 1 and no correlation, and the penalties on one class are
    Σ penalty·coefficient² (with the diagonal penalised like the rest). Log-probabilities
    themselves share their row's logsumexp and are far from 0, which costs conjugate gradients a
    hundred times as many products.
    """

    weight: Array  # [classes, classes + 1], of the log-probabilities in each feature
    bias: Array  # [classes + 1], of 1
    penalty: Array  # [classes + 1]


def _units(
    log_probs: Array, sample: Sample, penalties: tuple[Array, Array]
) -> tuple[_Units, Array]:
    """The units, which are constants to derivatives, and the table of the identity map in them."""
    log_probs, weights, penalties = lax.stop_gradient((log_probs, sample.weights, penalties))
    count, classes = log_probs.shape
    both = jnp.concatenate([log_probs, jnp.ones([count, 1])], axis=-1)
    total = jnp.sum(weights)
    weighted = both * (weights / jnp.where(total == 0, 1.0, total))[:, None]
    moments = products(weighted.T, both.T)
    moments += 1e-9 * (jnp.diag(jnp.diag(moments)) + jnp.eye(classes + 1))
    off_diagonal, of_bias = (penalty / classes for penalty in penalties)
    pulls = jnp.append(jnp.full(classes, off_diagonal / (classes - 1)), of_bias)
    root = jnp.linalg.cholesky(moments)
    # root⁻¹·diag(pulls)·root⁻ᵀ = turn·diag(penalty)·turnᵀ, and the features are root⁻ᵀ·turn.
    inverse = jax.scipy.linalg.solve_triangular(root, jnp.eye(classes + 1), lower=True)
    penalty, turn = jnp.linalg.eigh(products(inverse * pulls[None], inverse))
    features = products(inverse.T, turn.T)
    units = _Units(features[:-1], features[-1], 2 * jnp.maximum(penalty, 0.0))
    return units, products(root, turn.T)[:-1]


def _of_log_probs(table: Array, units: _Units) -> Dirichlet:
    """The map whose coefficients in `units` are `table`."""
    return Dirichlet(products(table, units.weight), jnp.sum(table * units.bias[None], axis=-1))


def known_penalty(name: str, penalty: ArrayLike) -> Array:
    """A penalty as an array.

    Raises:
        ValueError: it is not a scalar, or is known and not a finite number ≥ 0.
    """
    array = as_real(name, penalty)
    if array.shape != ():
        raise ValueError(f"`{name}` must be a scalar, but {describe(array)} came.")
    if not isinstance(penalty, Tracer) and not 0 <= float(np.asarray(penalty)) < np.inf:
        raise ValueError(f"`{name}` must be a finite number ≥ 0, but {penalty} came.")
    return array
