"""Floats beside the truth: how far off, by whose fault, and what would have been seen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ._enclose import evaluate
from ._interpreter import Undecided
from ._jet import Balls, Jet, balls, precision
from ._kinks import Truth
from ._program import equations
from ._report import Caught


class Entry(NamedTuple):
    """A float, and how far it is from the truth."""

    ulps: float
    off: float
    leaf: int
    index: int
    came: float
    is_far: bool
    """Off by more than is allowed, and by more than the smallest normal number."""


def furthest(slopes: Sequence[Any], truth: Truth, allowed: float) -> list[Entry]:
    """For each leaf the furthest entry in ulps, and those of what is off by more than `allowed`."""
    entries = []
    for leaf, came in enumerate(slopes):
        finfo = jnp.finfo(came.dtype)
        tiny = float(finfo.smallest_normal)
        found = np.asarray(came, np.float64).ravel()
        exact = np.array([float(ball.mid()) for ball in truth.balls[leaf].ravel()])
        with np.errstate(invalid="ignore"):
            off = np.where(np.isfinite(found), np.abs(found - exact), np.inf)
        known = np.array([not truth.skips(leaf, i) for i in range(found.size)], bool)
        ulps = np.where(known, off, 0) / ulp(np.where(known, exact, 0), came.dtype)
        far = known & (off > max(allowed, tiny))
        for chosen, measure, is_far in ((known, ulps, False), (far, ulps, True), (far, off, True)):
            if chosen.any():
                at = int(np.argmax(np.where(chosen, measure, -1)))
                entries.append(
                    Entry(float(ulps[at]), float(off[at]), leaf, at, float(found[at]), is_far)
                )
    return entries


def ulp(exact: Any, dtype: Any) -> Any:
    """The unit in the last place of a dtype at numbers; that of the smallest normal one below."""
    finfo = jnp.finfo(dtype)
    size = np.clip(np.abs(exact), float(finfo.smallest_normal), np.finfo(np.float64).max)
    return float(finfo.eps) * 2.0 ** np.floor(np.log2(size))


def distance(came: Sequence[Balls], true: Sequence[Balls], leaf: int, index: int) -> float:
    """How far an entry is from the truth; inf if it is no number."""
    with precision(128):
        off = came[leaf].ravel()[index] - true[leaf].ravel()[index]
    return abs(float(off.mid())) if off.is_finite() else float("inf")


def sensitivity(
    truth: Truth, program: Any, values: Sequence[Any], random: np.random.Generator
) -> float:
    """How much the exact gradient changes when the arguments move by half an ulp."""
    change = 0.0
    for _ in range(2):
        moved = []
        for value in values:
            exact = np.asarray(value, np.float64)
            half = float(jnp.finfo(value.dtype).eps) / 2
            sign = random.choice([-1.0, 1.0], exact.shape)
            moved.append(Jet([balls(exact * (1 + half * sign))]))
        try:
            results, _ = evaluate(program, moved, limit=512)
        except Undecided:
            return float("inf")
        for leaf, result in enumerate(results[1:]):
            for index, ball in enumerate(result.value.ravel()):
                if not truth.skips(leaf, index) and ball.is_finite():
                    difference = ball - truth.balls[leaf].ravel()[index]
                    change = max(change, abs(float(difference.mid())))
    return change


def caught(truth: Truth) -> Caught | None:
    """The smallest planted errors that would have been seen, or None if it cannot be said."""
    # With constants that are rounded, errors within what they may stand for pass.
    rounded = any(_has_rounded_literal(e) for e in equations(truth.program))
    try:
        widest = truth.wide() if rounded else truth.balls
    except Undecided:
        return None
    seen = [
        (abs(float(ball.mid())), float(wide.rad()))
        for leaf, array in enumerate(truth.balls)
        for index, (ball, wide) in enumerate(
            zip(array.ravel().tolist(), widest[leaf].ravel().tolist(), strict=True)
        )
        if not truth.skips(leaf, index) and ball.is_finite() and not ball.is_zero()
    ]
    scale = min((max(4 * r / s, 2.0**-52) for s, r in seen if s > 0), default=float("nan"))
    smallest = min((s for s, r in seen if s > 4 * r), default=float("nan"))
    return Caught(scale, smallest, smallest)


def _has_rounded_literal(equation: Any) -> bool:
    for atom in equation.invars:
        value = getattr(atom, "val", None)
        if value is not None and jnp.issubdtype(atom.aval.dtype, jnp.floating):
            number = float(value)
            if np.isfinite(number) and number != round(number):
                return True
    return False
