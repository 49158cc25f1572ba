"""Temperature scaling: one number that divides all logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._optimum import Objective, optimum
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._apply import check_parameters, over_finite, prepared
from ._sample import Sample, arguments, finished, mean_loss, sample_of, weighted_mean

MAX_EVALUATIONS = 200


class Temperature(NamedTuple):
    """The map logits / temperature. Infinite logits stay as they are."""

    temperature: Float[Array, "*models"]  # > 0; inf makes all finite logits 0

    def __call__(self, logits: Float[ArrayLike, "*logits"]) -> Float[Array, "*logits"]:
        """Calibrated logits, of the shape of `logits`: float32, or float64 for float64 logits."""
        x, temperature = prepared(logits, self)
        check_parameters(self, {"temperature": ()})
        return _divided(x, temperature)


@jax.jit
def _divided(x: Array, temperature: Array) -> Array:
    return over_finite(x, lambda x: x / temperature)


def fit_temperature(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Temperature:
    """The temperature T > 0 at which logits / T have the least log loss.

        argmin_T Σ w·loss(logits / T, label) / Σ w

    The mean is convex in 1/T: Newton's method inside a shrinking bracket of the root of its
    derivative finds the one optimum, from anywhere. Decisions and their order do not change.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats in [0, 1].
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A `Temperature`, in float32, or float64 for float64 logits. Differentiable in logits,
        weights and float labels, in both modes.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there are fewer than two classes.

    Edges: logits that are no better than chance, or worse: inf, with derivative 0. Every label at
        the largest logit (a separated sample has no optimum, its loss falls as T goes to 0): the
        T > 0 at which the loss is within 1e-12 nats of its infimum; no derivative there. Nothing
        counts, or all logits of every example are equal: 1. An example that counts and is
        undefined, or costs inf at every temperature (its label at −inf): NaN.
    Error: the root to the rounding of float64 sums, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([4.0, 4.0, 4.0, 4.0]), jnp.array([1, 1, 1, 0])
        >>> temperature = fit_temperature(logits, labels)  # 4 / T is the log-odds of 3 to 1
        >>> float(temperature.temperature), temperature(logits)[0].item()
        (3.6409..., 1.0986...)

    Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural
        networks, ICML (2017).
    """
    return _fit(*arguments(logits, labels, weights, where))


@jax.jit
def _fit(logits: Array, labels: Array, weights: Array, where: Array) -> Temperature:
    with jax.enable_x64(True):
        sample, status = sample_of((logits, labels, weights, where))
        inverse = optimum(_objective, _root, None, jnp.ones([]), sample)
        # 1/T = 0 is the end of its range and not a root: it stays where it is.
        chance = inverse <= 0
        temperature = jnp.where(chance, jnp.inf, 1 / jnp.where(chance, 1.0, inverse))
        return Temperature(finished(temperature, status))


def _objective(inverse: Array, sample: Sample) -> Array:
    return mean_loss(inverse * sample.logits, sample)


class _Bracket(NamedTuple):
    low: Array  # the derivative is negative here
    high: Array  # and not here; inf until such a point is found
    at: Array
    growth: Array  # factor of the next step while `high` is inf
    evaluations: Array
    done: Array


def _root(objective: Objective, curvatures: None, start: Array, sample: Sample) -> Array:
    """The inverse temperature at which the derivative of the mean loss is 0."""
    margins = _below_largest(sample)
    weight = jnp.sum(sample.weights)
    # In the unit of the sample: logits of 1e-30 and of 1e30 take as many steps as those of 1.
    spread = jnp.max(jnp.where(sample.weights[:, None] != 0, -margins, 0.0), initial=0.0)
    unit = jnp.where(spread == 0, 1.0, spread)
    margins = margins / unit

    def evaluate(now: _Bracket) -> _Bracket:
        slope, curvature = _slopes(now.at, margins, sample)
        low = jnp.where(slope < 0, now.at, now.low)
        high = jnp.where(slope < 0, now.high, now.at)
        bends = curvature > 0
        step = -slope / jnp.where(bends, curvature, 1.0)
        unbounded = high == jnp.inf
        grown = now.at * now.growth
        newton = jnp.where(unbounded, jnp.minimum(now.at + step, grown), now.at + step)
        middle = jnp.where(low > 0, jnp.sqrt(low) * jnp.sqrt(high), high / 16)
        safe = jnp.where(unbounded, grown, middle)
        after = jnp.where(bends & (newton > low) & (newton < high), newton, safe)
        # What a step leaves is about its square; one that small may leave the bracket by rounding.
        arrived = bends & (jnp.abs(step) <= 1e-10 * now.at)
        after = jnp.where(arrived, now.at + step, after)
        separated = (slope <= 0) & (-slope * now.at <= 1e-17)
        growth = jnp.where(unbounded, jnp.minimum(now.growth**2, 1e6), now.growth)
        return _Bracket(
            low=low,
            high=high,
            at=jnp.where(separated & ~arrived, now.at, after),
            growth=growth,
            evaluations=now.evaluations + 1,
            done=arrived | separated,
        )

    zero = jnp.zeros([])
    at_zero, bend = _slopes(zero, margins, sample)
    nothing = (weight == 0) | (bend == 0)
    chance = ~nothing & (at_zero >= 0)
    first = _Bracket(
        zero, zero + jnp.inf, zero + 1.0, zero + 4.0, jnp.zeros([], jnp.int32), nothing | chance
    )
    last = lax.while_loop(
        lambda now: ~now.done & (now.evaluations < MAX_EVALUATIONS), evaluate, first
    )
    inverse = jnp.where(chance, 0.0, last.at / unit)
    return jnp.where(nothing, start, inverse)


def _below_largest(sample: Sample) -> Array:
    """Logits of all classes less the largest of the row, 0 for those that do not exist."""
    if sample.logits.ndim == 1:
        logits = jnp.stack([jnp.zeros_like(sample.logits), sample.logits], axis=-1)
        return logits - jnp.max(logits, axis=-1, keepdims=True)
    largest = jnp.max(jnp.where(sample.exists, sample.logits, -jnp.inf), axis=-1, keepdims=True)
    return jnp.where(sample.exists, sample.logits - largest, 0.0)


def _slopes(inverse: Array, margins: Array, sample: Sample) -> tuple[Array, Array]:
    """First and second derivative of the mean loss in the inverse temperature.

    Of one example they are the mean of the margins under softmax(margins·inverse), less the margin
    of the label, and their variance.
    """
    if sample.logits.ndim == 1:
        exists = jnp.ones_like(margins, bool)
        at_label = (1 - sample.labels) * margins[:, 0] + sample.labels * margins[:, 1]
    else:
        exists = sample.exists
        at_label = jnp.take_along_axis(margins, sample.labels[:, None], axis=-1)[:, 0]
    ratios = jnp.where(exists, jnp.exp(inverse * margins), 0.0)
    probs = ratios / jnp.sum(ratios, axis=-1, keepdims=True)
    mean = jnp.sum(probs * margins, axis=-1)
    variance = jnp.sum(probs * (margins - mean[:, None]) ** 2, axis=-1)
    slope = weighted_mean(mean - at_label, sample.weights)
    return slope, weighted_mean(variance, sample.weights)
