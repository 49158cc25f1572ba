"""The true derivative, from both sides where the program compares equal numbers."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._enclose import evaluate
from ._interpreter import Undecided
from ._jet import ZERO, Balls, arb, ray

_PAIRS = 4  # of directions, the first of which is all positive
_FEW = 64  # entries, of which directions of very unlike components and the axes are tried too
_TOLD = 3  # kinks


class Truth(NamedTuple):
    """Value and derivative as balls, one array per leaf; where they are not known, and why."""

    value: Any
    balls: list[Balls]
    skipped: list[set[int]]
    undecided: list[str]
    program: Any
    values: Sequence[Any]
    limits: list[set[int]]
    """The entries that are limits, of which the program at the point itself says nothing."""
    cache: dict[str, Any]

    def skips(self, leaf: int, index: int) -> bool:
        """Whether the derivative in this entry is not known."""
        return index in self.skipped[leaf]

    def entries_left(self) -> bool:
        """Whether any entry is known."""
        return any(len(s) < b.size for s, b in zip(self.skipped, self.balls, strict=True))

    def judged(self) -> list[Any]:
        """The balls that are known."""
        return [
            ball
            for leaf, array in enumerate(self.balls)
            for index, ball in enumerate(array.ravel())
            if not self.skips(leaf, index)
        ]

    def disagrees(self, came: Sequence[Balls]) -> list[tuple[int, int]]:
        """The entries where balls do not overlap with the true ones."""
        return [
            (leaf, index)
            for leaf, array in enumerate(self.balls)
            for index, (true, found) in enumerate(
                zip(array.ravel().tolist(), came[leaf].ravel().tolist(), strict=True)
            )
            if not self.skips(leaf, index) and not (found.is_finite() and found.overlaps(true))
        ]

    def _widened(self) -> list[Any]:
        if "wide" not in self.cache:
            results, _ = evaluate(self.program, self.values, widen=True)
            wide = [result.value.copy() for result in results]
            for leaf, limits in enumerate(self.limits):
                flat = wide[leaf + 1].reshape(-1)
                for index in limits:
                    ball = self.balls[leaf].ravel()[index]
                    flat[index] = ball + arb(0, abs(ball.mid()) * 1e-6)
            self.cache["wide"] = wide
        return self.cache["wide"]

    def wide(self) -> list[Balls]:
        """The derivative for all constants that round to those of the program."""
        return self._widened()[1:]

    def wide_value(self) -> Any:
        """The value, likewise."""
        return self._widened()[0].ravel()[0]


def may_be_equal(came: Any, true: Any) -> bool:
    """Whether two balls overlap and are numbers."""
    return came.is_finite() and came.overlaps(true)  # a ball around NaN overlaps with all


def one_sided(
    primal: Any,
    body: Any,
    program: Any,
    values: Sequence[Any],
    paths: Sequence[str],
    random: np.random.Generator,
    order: int,
) -> Truth:
    """Evaluates the program of a value and its derivative.

    If it compares equal numbers, or divides by 0, its limits along lines through the point are
    taken, from both sides: entries where they agree are smooth, the others are kinks.

    Args:
        primal: the function, in which places in the source are known.
        body: the function without custom rules.
        program: value and derivative of `body`.
        values: the leaves.
        paths: what to call them.
        random: for the directions.
        order: of the derivative.
    """
    reasons: list[str] = []
    kinks = 0
    results, ties = evaluate(program, values)
    if ties:
        ties = evaluate(primal, values)[1] or ties
    value, slopes = results[0].value.ravel()[0], [r.value.copy() for r in results[1:]]
    skipped: list[set[int]] = [set() for _ in slopes]
    of_limits: list[set[int]] = [set() for _ in slopes]
    unknown = [
        (leaf, index)
        for leaf, array in enumerate(slopes)
        for index, ball in enumerate(array.ravel())
        if not ball.is_finite()
    ]
    if ties or unknown:
        limits, jump = _limits(body, program, values, random, value)
        if jump:
            reasons.append(f"the function jumps here: {jump}; {_places(ties)}")
            skipped = [set(range(array.size)) for array in slopes]
        for leaf, array in enumerate(slopes):
            flat = array.reshape(-1)
            columns = [limit[leaf].ravel().tolist() for limit in limits]
            for index, sides in enumerate(zip(*columns, strict=True)):
                finite = [side for side in sides if side.is_finite()]
                if len(finite) == len(sides) and all(s.overlaps(finite[0]) for s in finite):
                    flat[index] = finite[0]
                    of_limits[leaf].add(index)
                    continue
                told = finite or jump or order != 1
                ball = None if told else _along_axis(body, values, leaf, index)
                if ball is not None:
                    flat[index] = ball
                    of_limits[leaf].add(index)
                elif index not in skipped[leaf]:
                    skipped[leaf].add(index)
                    kinks += 1
                    if kinks <= _TOLD:
                        reasons.append(_kink(paths[leaf], array.shape, index, finite, ties))
        if kinks > _TOLD:
            reasons.append(f"and {kinks - _TOLD:,} entries more")
    return Truth(value, slopes, skipped, reasons, program, values, of_limits, {})


def _along_axis(body: Any, values: Sequence[Any], leaf: int, index: int) -> Any:
    """The derivative of the function itself along an axis, if both sides agree; else None.

    For where the program of the derivative, run exactly, gives no number: it multiplies the
    infinite slope of a branch that is not taken by 0.
    """
    sides = []
    for side in (1.0, -1.0):
        axis = [np.zeros(np.shape(v)) for v in values]
        axis[leaf].reshape(-1)[index] = side
        try:
            (result,), _ = evaluate(body, ray(values, axis), order=3)
        except Undecided:
            return None
        coefficient = result[1]
        slope = ZERO if coefficient is None else coefficient.ravel()[0]
        sides.append(slope * side)
    if all(s.is_finite() for s in sides) and sides[0].overlaps(sides[1]):
        return sides[0]
    return None


def _places(ties: Sequence[str]) -> str:
    unique = list(dict.fromkeys(ties))
    return "equal numbers meet in " + "; ".join(unique[:3]) if unique else "nothing is compared"


def _kink(path: str, shape: Any, index: int, sides: Sequence[Any], ties: Sequence[str]) -> str:
    place = ", ".join(str(int(i)) for i in np.unravel_index(index, shape))
    where = f"{path}[{place}]" if shape else path
    slopes = sorted({f"{float(side.mid()):.6g}" for side in sides}, key=float)
    if not slopes:
        return f"the derivative in {where} is not finite here; other arguments can be decided"
    return (
        f"a kink in {where}, with one-sided derivatives "
        f"{', '.join(slopes[:4])}: {_places(ties)}; arguments to one side of it can be decided"
    )


def _directions(values: Sequence[Any], random: np.random.Generator) -> Iterator[list[Any]]:
    few = sum(v.size for v in values) <= _FEW
    for number in range(_PAIRS * (2 if few else 1)):
        direction = []
        for v in values:
            size = 1 - random.integers(0, 64, v.shape) / 128
            if number >= _PAIRS:
                size = size * 2.0 ** -random.integers(0, 9, v.shape)
            sign = np.ones(v.shape) if number == 0 else random.choice([-1.0, 1.0], v.shape)
            direction.append(size * sign)
        yield direction
    if sum(v.size for v in values) <= _FEW // 4:
        for leaf, value in enumerate(values):
            for index in range(value.size):
                # Hardly anything moves beside the axis; if nothing did, ties beside it would stay.
                axis = [random.choice([-1.0, 1.0], v.shape) * 2.0**-24 for v in values]
                axis[leaf].reshape(-1)[index] = 1.0
                yield axis


def _limits(
    body: Any, program: Any, values: Sequence[Any], random: np.random.Generator, value: Any
) -> tuple[list[list[Balls]], str]:
    limits: list[list[Balls]] = []
    jump = ""
    for direction in _directions(values, random):
        for side in (1, -1):
            jets = ray(values, [side * d for d in direction])
            for order in (2, 4):
                results, _ = evaluate(program, jets, order=order)
                slopes = [r.value for r in results[1:]]
                if all(ball.is_finite() for array in slopes for ball in array.ravel()):
                    break
            limits.append(slopes)
            (there,), _ = evaluate(body, jets, order=1)
            there = there.value.ravel()[0]
            if there.is_finite() and not there.overlaps(value):
                jump = f"{value.str(6)} here, {there.str(6)} beside"
    return limits, jump
