"""Numerical differentiation with an error estimate, for what ball arithmetic does not know."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._program import Leaves, coarsest_roundoff
from ._report import GradientReport, Worst

_STEPS = 16
_RATIO = (1 + 5**0.5) / 2  # of a step to the next: no two steps fall on one phase of a wave
_FEW = 200  # entries that are all tried; of more, random directions


class Derivative(NamedTuple):
    """A derivative by Richardson extrapolation, and how far it can be trusted."""

    value: float
    error: float
    kink: bool
    """Whether the slopes of the two sides stay apart."""
    taylor: float
    """The order at which f(x + h) − f(x) − h·slope vanishes, for the slope that was claimed: 2 if
    it is right, 1 if not; NaN where rounding hides it."""


def derivative(
    function: Callable[[Any], Any], step: float, claimed: float, roundoff: float = 2.0**-53
) -> Derivative:
    """The derivative at 0 of a function of one number, in float64 (Ridders' method).

    Args:
        function: vectorised.
        step: the first step.
        claimed: the derivative whose Taylor order is fitted.
        roundoff: of the coarsest floats that the function computes with.
    """
    steps = step / _RATIO ** np.arange(_STEPS)
    values = np.asarray(function(np.concatenate([steps, -steps, [0.0]])), np.float64)
    above, below, here = values[:_STEPS], values[_STEPS:-1], values[-1]
    best, error = np.nan, np.inf
    column = (above - below) / (2 * steps)
    for order in range(1, _STEPS):
        finer = column[1:] + (column[1:] - column[:-1]) / (_RATIO ** (2 * order) - 1)
        estimates = np.maximum(abs(finer - column[1:]), abs(finer - column[:-1]))
        at = int(np.argmin(np.where(np.isfinite(estimates), estimates, np.inf)))
        if estimates[at] < error:
            best, error = finer[at], float(estimates[at])
        column = finer
    noise = 4 * roundoff * np.max(np.abs(values)) / steps
    error = max(error, float(noise[4]))
    gap = abs((above - here) - (here - below)) / steps
    resolved = gap > 50 * noise
    kink = bool(resolved[5:10].all() and (gap[6:10] > 0.85 * gap[5:9]).all())
    remainder = abs(above - here - steps * claimed)
    seen = remainder > 100 * noise * steps
    pairs = seen[:-1] & seen[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = (np.log(remainder[:-1] / remainder[1:]) / np.log(_RATIO))[pairs]
    return Derivative(float(best), error, kink, float(np.median(slopes)) if len(slopes) else np.nan)


def check_by_differences(
    leaves: Leaves, function: Callable[..., Any], order: int, reason: str
) -> GradientReport:
    """Judges a gradient by differences in float64.

    Args:
        leaves: where.
        function: of the leaves, to one number.
        order: 1, or 2 for the change of the gradient along a random direction.
        reason: why enclosures do not serve.
    """
    with jax.enable_x64(True):
        try:
            return _check(leaves, function, order, reason)
        except (TypeError, ValueError, NotImplementedError) as error:
            first = str(error).partition("\n")[0]
            return _report(
                leaves, order, "undecided", [f"{reason}; in float64 it fails: {first}"], None, []
            )


def _check(leaves: Leaves, function: Callable[..., Any], order: int, reason: str) -> GradientReport:
    values = [jnp.asarray(np.asarray(v, np.float64)) for v in leaves.values]
    numbers = tuple(range(len(values)))
    gradient = jax.jit(jax.grad(function, argnums=numbers))
    random = np.random.default_rng(0)
    size = sum(v.size for v in values)
    directions, entries = _directions(values, size, random)
    scales = [max(float(jnp.sqrt(jnp.mean(jnp.square(v)))), 1e-3) for v in values]
    scaled = [[d * s for d, s in zip(ds, scales, strict=True)] for ds in directions]

    if order == 1:
        slopes = gradient(*values)
        target = function
    else:  # the gradient along one random direction, differentiated along the others
        inner = _random_direction(values, random)

        def target(*xs: Any) -> Any:
            parts = jax.grad(function, argnums=numbers)(*xs)
            return sum(jnp.sum(p * d) for p, d in zip(parts, inner, strict=True))

        slopes = jax.jit(jax.grad(target, argnums=numbers))(*values)

    @jax.jit
    def along(ts: Any, *direction: Any) -> Any:
        moved = lambda t: [v + t * d for v, d in zip(values, direction, strict=True)]  # noqa: E731
        return jax.vmap(lambda t: target(*moved(t)))(ts)

    wrong: tuple[float, Worst] | None = None
    nearest: tuple[float, Worst] | None = None
    undecided = []
    taylor: list[float] = []
    roundoff = coarsest_roundoff(jax.make_jaxpr(function)(*values))
    largest_error = 0.0
    for direction, entry in zip(scaled, entries, strict=True):
        claimed = float(sum(jnp.sum(s * d) for s, d in zip(slopes, direction, strict=True)))
        found = derivative(
            lambda ts, d=direction: along(jnp.asarray(ts), *d), 0.25, claimed, roundoff
        )
        leaf, index = entry
        place = tuple(int(i) for i in np.unravel_index(index, values[leaf].shape))
        scale = scales[leaf] if size <= _FEW else 1.0
        path = leaves.paths[leaf] if size <= _FEW else "a random direction"
        worst = Worst(
            path,
            place if size <= _FEW else (),
            "reverse",
            claimed / scale,
            (found.value - found.error) / scale,
            (found.value + found.error) / scale,
            abs(claimed - found.value) / max(np.spacing(abs(found.value)), 1e-300),
        )
        allowed = max(10 * found.error, 1e-7 * abs(found.value))
        if found.kink:
            undecided.append(f"a kink at {path}{list(place)}: its two sides differ in slope")
        elif not np.isfinite(found.value) or found.error > 1e-3 * max(abs(found.value), 1e-8):
            if abs(claimed - found.value) > 10 * found.error:
                wrong = max(
                    wrong or (-1.0, worst), (abs(claimed - found.value), worst), key=lambda p: p[0]
                )
            elif found.error > 1e-6 * max(abs(float(s.max())) for s in map(jnp.abs, slopes)):
                undecided.append(f"differences at {path}{list(place)} do not settle")
        elif abs(claimed - found.value) > allowed:
            wrong = max(
                wrong or (-1.0, worst), (abs(claimed - found.value), worst), key=lambda p: p[0]
            )
        largest_error = max(largest_error, found.error / max(abs(found.value), 1e-300))
        if nearest is None or abs(claimed - found.value) > nearest[0]:
            nearest = abs(claimed - found.value), worst
        if np.isfinite(found.taylor):
            taylor.append(found.taylor)
    notes = [
        f"{reason}. So it was judged by differences in float64, "
        + (f"each entry to {min(largest_error, 1):.1g} of itself" if size <= _FEW else "")
        + ("" if size <= _FEW else f"along {len(entries)} random directions, not each entry")
    ]
    if taylor:
        notes.append(
            f"Taylor's remainder shrinks with the order {np.median(taylor):.2f} of the step "
            "(2 where the gradient is right, 1 where it is not)"
        )
    if wrong is not None:
        return _report(leaves, order, "wrong", [], wrong[1], notes)
    if undecided:
        return _report(leaves, order, "undecided", undecided[:3], None, notes)
    return _report(leaves, order, "right", [], nearest[1] if nearest else None, notes)


def _random_direction(values: list[Any], random: np.random.Generator) -> list[Any]:
    return [jnp.asarray(random.choice([-1.0, 1.0], v.shape)) for v in values]


def _directions(
    values: list[Any], size: int, random: np.random.Generator
) -> tuple[list[list[Any]], list[tuple[int, int]]]:
    if size > _FEW:
        return [_random_direction(values, random) for _ in range(32)], [(0, 0)] * 32
    directions, entries = [], []
    for leaf, value in enumerate(values):
        for index in range(value.size):
            axis = [jnp.zeros_like(v) for v in values]
            axis[leaf] = axis[leaf].reshape(-1).at[index].set(1.0).reshape(value.shape)
            directions.append(axis)
            entries.append((leaf, index))
    return directions, entries


def _report(
    leaves: Leaves,
    order: int,
    verdict: Literal["right", "wrong", "undecided"],
    undecided: list[str],
    worst: Worst | None,
    notes: list[str],
) -> GradientReport:
    return GradientReport(
        verdict=verdict,
        blame="rule" if verdict == "wrong" else None,
        worst=worst,
        undecided=undecided,
        caught=None,
        notes=notes,
        order=order,
        num_entries=sum(v.size for v in leaves.values),
        evidence="differences",
    )
