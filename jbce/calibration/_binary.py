"""Maps of a binary logit: Platt scaling and beta calibration."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._optimum import newton, optimum
from .._typing import Array, ArrayLike, Bool, Float, Real
from ..numerics import softplus
from ._apply import check_parameters, over_finite, prepared
from ._sample import Sample, arguments, finished, mean_loss, sample_of, weighted_mean


class Platt(NamedTuple):
    """The map slope·logit + intercept."""

    slope: Float[Array, "*models"]
    intercept: Float[Array, "*models"]

    def __call__(self, logits: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Calibrated logits, of the shape of `logits`: float32, or float64 for float64 logits.

        An infinite logit stays infinite, with the sign that the slope gives it.
        """
        x, slope, intercept = prepared(logits, self)
        check_parameters(self, {"slope": (), "intercept": ()})
        return _on_line(x, slope, intercept)


@jax.jit
def _on_line(x: Array, slope: Array, intercept: Array) -> Array:
    moved = over_finite(x, lambda x: slope * x + intercept)
    return jnp.where(jnp.isinf(x) & (slope < 0), -moved, moved)


class Beta(NamedTuple):
    """The map a·log p − b·log(1 − p) + c, where p = sigmoid(logit)."""

    a: Float[Array, "*models"]  # ≥ 0, the slope in the logit far below 0
    b: Float[Array, "*models"]  # ≥ 0, the slope in the logit far above 0
    c: Float[Array, "*models"]

    def __call__(self, logits: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Calibrated logits, of the shape of `logits`: float32, or float64 for float64 logits.

        An infinite logit stays infinite.
        """
        x, a, b, c = prepared(logits, self)
        check_parameters(self, {"a": (), "b": (), "c": ()})
        return _bent(x, a, b, c)


@jax.jit
def _bent(x: Array, a: Array, b: Array, c: Array) -> Array:
    return over_finite(x, lambda x: b * softplus(x) - a * softplus(-x) + c)


def fit_platt(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    smooth_labels: bool = False,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Platt:
    """The line slope·logit + intercept that has the least log loss.

        argmin Σ w·loss(slope·logit + intercept, label) / Σ w

    Args:
        logits: `[*batch]`.
        labels: `[*batch]`; boolean, integers 0 or 1, or floats in [0, 1].
        smooth_labels: replaces the labels 1 and 0 by (P + 1)/(P + 2) and 1/(N + 2), where P and N
            are the total weights of the positive and negative labels, as Platt did against
            overfitting. The optimum is then finite even for separated samples.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A `Platt`, in float32, or float64 for float64 logits. Differentiable in logits, weights and
        float labels, in both modes.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or the labels are class indices.

    Edges: a separated sample, or one of a single class, has no optimum: the parameters are finite
        and their loss is within 1e-12 nats of the infimum; no derivative there. Equal logits:
        slope and intercept share their work, and the calibrated logits are right. Nothing counts:
        the identity. An infinite logit must agree with its label, and then has no say; one that
        disagrees, or another undefined example that counts: NaN.
    Error: the root of the gradient to the rounding of float64 sums, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> platt = fit_platt(jnp.array([0.0, 0.0, 2.0, 2.0, 2.0]), jnp.array([1, 0, 1, 1, 0]))
        >>> platt(jnp.array([0.0, 2.0])).round(4).tolist()  # log-odds of 1 to 1, and of 2 to 1
        [0.0, 0.693...]

    Source: J. C. Platt, Probabilistic outputs for support vector machines, in Advances in Large
        Margin Classifiers (1999).
    """
    return _fit_platt(*arguments(logits, labels, weights, where, kind="binary"), smooth_labels)


@partial(jax.jit, static_argnums=4)
def _fit_platt(
    logits: Array, labels: Array, weights: Array, where: Array, smooth_labels: bool
) -> Platt:
    with jax.enable_x64(True):
        sample, status = sample_of((logits, labels, weights, where))
        if smooth_labels:
            positive = jnp.sum(sample.weights * sample.labels)
            negative = jnp.sum(sample.weights * (1 - sample.labels))
            high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
            sample = sample._replace(labels=low + (high - low) * sample.labels)
        centre, spread = standard_units(sample.logits, sample)
        data = (sample.logits - centre) / spread, sample
        line = optimum(_line_objective, newton, None, Platt(spread, centre), data)
        slope = line.slope / spread
        intercept = line.intercept - slope * centre
        return Platt(finished(slope, status), finished(intercept, status))


def _line_objective(line: Platt, data: tuple[Array, Sample]) -> Array:
    logits, sample = data
    return mean_loss(line.slope * logits + line.intercept, sample)


def fit_beta(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Beta:
    """The map a·log p − b·log(1 − p) + c with a, b ≥ 0 that has the least log loss.

        argmin_{a ≥ 0, b ≥ 0, c} Σ w·loss(a·log p − b·log(1 − p) + c, label) / Σ w

    with p = sigmoid(logit). Platt scaling is the case a = b; with two slopes the map bends, can be
    the identity, and is never decreasing. The optimum under the two bounds is exact: the best of
    the optima with neither, one or both of a, b held at 0.

    Args:
        logits: `[*batch]`.
        labels: `[*batch]`; boolean, integers 0 or 1, or floats in [0, 1].
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A `Beta`, in float32, or float64 for float64 logits. Differentiable in logits, weights and
        float labels, in both modes; a parameter at its bound has derivative 0.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or the labels are class indices.

    Edges: as `fit_platt`.
    Error: the root of the gradient to the rounding of float64 sums, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([0.0, 0.0, 2.0, 2.0, 2.0]), jnp.array([1, 0, 1, 1, 0])
        >>> fit_beta(logits, labels)(jnp.array([0.0, 2.0])).round(4).tolist()
        [0.0, 0.693...]

    Source: M. Kull, T. M. Silva Filho and P. Flach, Beyond sigmoids: how to obtain well-calibrated
        probabilities from binary classifiers with beta calibration, Electron. J. Stat. 11 (2017).
    """
    return _fit_beta(*arguments(logits, labels, weights, where, kind="binary"))


@jax.jit
def _fit_beta(logits: Array, labels: Array, weights: Array, where: Array) -> Beta:
    with jax.enable_x64(True):
        sample, status = sample_of((logits, labels, weights, where))
        # log p and −log(1 − p)
        low, low_centre, low_spread = _in_units(-softplus(-sample.logits), sample)
        high, high_centre, high_spread = _in_units(softplus(sample.logits), sample)

        def with_free(a_is_free: Array, b_is_free: Array) -> tuple[Beta, Array]:
            data = low * a_is_free, high * b_is_free, sample
            start = Beta(low_spread, high_spread, low_centre + high_centre)
            a, b, c = optimum(_bend_objective, newton, None, start, data)
            found = Beta(a * a_is_free, b * b_is_free, c)
            loss = lax.stop_gradient(_bend_objective(found, (low, high, sample)))
            return found, jnp.where((found.a >= 0) & (found.b >= 0), loss, jnp.inf)

        bounded = jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
        found, losses = jax.vmap(with_free)(*bounded)
        order = jnp.where(losses == jnp.min(losses), jnp.arange(4.0), 4.0)
        chosen = order == jnp.min(order)
        a, b, c = (jnp.sum(jnp.where(chosen, value, 0.0)) for value in found)
        a, b = a / low_spread, b / high_spread
        c = c - a * low_centre - b * high_centre
        return Beta(*(finished(value, status) for value in (a, b, c)))


def _bend_objective(bend: Beta, data: tuple[Array, Array, Sample]) -> Array:
    low, high, sample = data
    return mean_loss(bend.a * low + bend.b * high + bend.c, sample)


def _in_units(feature: Array, sample: Sample) -> tuple[Array, Array, Array]:
    centre, spread = standard_units(feature, sample)
    return (feature - centre) / spread, centre, spread


def standard_units(features: Array, sample: Sample) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of features [n, ...], the latter 1 where it is 0.

    Features in these units keep Newton's systems well conditioned. Which units does not matter to
    the optimum, so they are constants to derivatives.
    """
    features, weights = lax.stop_gradient((features, sample.weights))
    centre = weighted_mean(features, weights)
    spread = jnp.sqrt(weighted_mean((features - centre[None]) ** 2, weights))
    return centre, jnp.where(spread <= 1e-12 * jnp.abs(centre), 1.0, spread)
