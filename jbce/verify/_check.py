"""The check of a gradient: its programs, the truth, and the floats."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._enclose import evaluate
from ._floats import caught, distance, furthest, sensitivity, ulp
from ._interpreter import Undecided, UnknownPrimitive, meaning
from ._jet import ZERO, Balls, Jet, balls, ray
from ._kinks import Truth, may_be_equal, one_sided
from ._program import (
    Leaves,
    as_function,
    coarsest_roundoff,
    equations,
    scalar_program,
    stripped,
)
from ._progress import Progress
from ._report import Caught, GradientReport, Worst, rounded

Function = Callable[..., Any]

# A gradient is the derivative of order 1. That of order 2 is the Hessian times a direction, of
# which an entry is wrong if anything in its row is.


class _Found(NamedTuple):
    """Entries that disagree with the truth, as (leaf, flat index), and what came."""

    where: list[tuple[int, int]]
    came: list[Balls]
    truth: Truth


def _flat(function: Function) -> Function:
    """(value, derivatives) as one tuple."""

    def flat(*leaves: Any) -> Any:
        value, slopes = function(*leaves)
        return (value, *slopes)

    return flat


class Check:
    """One check of one function at one place."""

    def __init__(
        self, leaves: Leaves, function: Function, order: int, modes: tuple[str, ...], seed: int
    ) -> None:
        self.leaves, self.function, self.order, self.modes = leaves, function, order, modes
        self.values = leaves.values
        self.notes: list[str] = []
        self.progress = Progress()
        self.random = np.random.default_rng(seed)
        self.primal = scalar_program(function, self.values)
        self.roundoff = coarsest_roundoff(self.primal)
        self.directions = [self._direction() for _ in range(2)]

    # ---- the programs ---------------------------------------------------------------------------

    def _direction(self) -> list[Any]:
        """Odd multiples of 2⁻¹⁰ between ½ and 1, of either sign: exact in every dtype's sums."""
        made = []
        for value in self.values:
            size = 1 - self.random.integers(0, 64, value.shape) / 128
            sign = self.random.choice([-1.0, 1.0], value.shape)
            made.append(jnp.asarray(size * sign, value.dtype))
        return made

    def _axes(self) -> Iterator[tuple[int, int, list[Any]]]:
        for leaf, value in enumerate(self.values):
            for index in range(value.size):
                axis = [jnp.zeros_like(v) for v in self.values]
                axis[leaf] = axis[leaf].reshape(-1).at[index].set(1).reshape(value.shape)
                yield leaf, index, axis

    def _derivative(self, function: Function, mode: str) -> Function:
        """(leaves) → value and derivative of each leaf."""
        numbers = tuple(range(len(self.values)))
        gradient = jax.value_and_grad(function, argnums=numbers)
        if self.order == 1:
            return gradient
        direction = self.directions[0]

        if mode == "forward":

            def forward(*leaves: Any) -> Any:
                primals, tangents = jax.jvp(gradient, leaves, tuple(direction))
                return primals[0], tangents[1]

            return forward

        def along(*leaves: Any) -> Any:
            value, slopes = gradient(*leaves)
            return sum(jnp.sum(s * d) for s, d in zip(slopes, direction, strict=True)), value

        def reverse(*leaves: Any) -> Any:
            (_, value), seconds = jax.value_and_grad(along, numbers, has_aux=True)(*leaves)
            return value, seconds

        return reverse

    def _program(self, function: Function) -> Any:
        return jax.make_jaxpr(_flat(function))(*self.values)

    # ---- the check ------------------------------------------------------------------------------

    def report(self) -> GradientReport:
        self.progress.says("the truth")
        with jax.enable_x64(True):
            try:
                body = stripped(self.primal)
                true_program = self._program(self._derivative(as_function(body), "forward"))
            except (TypeError, ValueError, NotImplementedError) as error:
                first = str(error).strip().partition("\n")[0]
                raise UnknownPrimitive(
                    f"without its custom rules jax cannot differentiate the function ({first})"
                ) from error
        truth = one_sided(
            self.primal,
            body,
            true_program,
            self.values,
            self.leaves.paths,
            self.random,
            self.order,
        )
        if self.order == 2:
            truth = self._without_kinks(body, truth)
        if truth.value.is_nan():
            return self.summary("undecided", undecided=["the value is NaN at these arguments"])
        if truth.undecided and not truth.entries_left():
            return self.summary("undecided", undecided=truth.undecided)
        found = self._series(body, truth) or self._rules(truth)
        if found is not None:
            mode, entry = found
            return self.summary("wrong", "rule", self._worst(entry, mode))
        self.progress.says("the floats")
        worst, blamed = self._floats(truth, true_program)
        if blamed:
            return self.summary("wrong", "arithmetic", worst)
        verdict = "undecided" if truth.undecided else "right"
        return self.summary(verdict, None, worst, truth.undecided, caught(truth))

    def _without_kinks(self, body: Any, truth: Truth) -> Truth:
        """Where the gradient has a kink there is no second derivative."""
        self.order = 1
        with jax.enable_x64(True):
            program = self._program(self._derivative(as_function(body), "reverse"))
        self.order = 2
        paths = self.leaves.paths
        first = one_sided(self.primal, body, program, self.values, paths, self.random, 1)
        reasons = [f"of the gradient, {reason}" for reason in first.undecided]
        skipped = [a | b for a, b in zip(truth.skipped, first.skipped, strict=True)]
        return truth._replace(skipped=skipped, undecided=truth.undecided + reasons)

    def summary(
        self,
        verdict: Any,
        blame: Any = None,
        worst: Worst | None = None,
        undecided: Sequence[str] = (),
        caught: Caught | None = None,
    ) -> GradientReport:
        """A report of what was found."""
        self.progress.ends()
        return GradientReport(
            verdict=verdict,
            blame=blame,
            worst=worst,
            undecided=list(undecided),
            caught=caught,
            notes=list(dict.fromkeys(self.notes)),
            order=self.order,
            num_entries=sum(v.size for v in self.values),
            evidence="enclosures",
        )

    def _series(self, body: Any, truth: Truth) -> tuple[str, _Found] | None:
        """Does the truth agree with the power series of the function itself?"""
        if truth.undecided:
            return None
        for direction in self.directions[: 2 if self.order == 1 else 1]:
            self.progress.says("power series")
            for widen in (False, True):
                series = self._coefficient(body, direction, widen)
                slope = self._inner(truth.wide() if widen else truth.balls, direction)
                if not series.is_finite() or series.overlaps(slope):
                    break
            else:
                entry = self._by_axes(body, truth)
                if entry is not None:
                    self.notes.append(
                        "jax's own rule of a primitive differs from the function's power series"
                    )
                    return "reverse", entry
        return None

    def _coefficient(self, body: Any, direction: list[Any], widen: bool) -> Any:
        """The derivative along a direction, by the coefficient of the series."""
        jets = ray(self.values, direction)
        results, _ = evaluate(body, jets, order=self.order, widen=widen)
        coefficient = results[0][self.order] if isinstance(results[0], Jet) else None
        return ZERO if coefficient is None else coefficient.ravel()[0] * self.order

    def _inner(self, leaves: Sequence[Balls], direction: list[Any]) -> Any:
        total = ZERO
        for slopes, d in zip(leaves, direction, strict=True):
            terms = slopes.ravel() * balls(np.asarray(d, np.float64)).ravel()
            total = functools.reduce(operator.add, terms.tolist(), total)
        return total

    def _by_axes(self, body: Any, truth: Truth) -> _Found | None:
        """Which entry of the truth differs from the series along its axis, if there are few."""
        if self.order != 1 or sum(v.size for v in self.values) > 200:
            return _Found([(0, 0)], truth.balls, truth)
        exact = [b.copy() for b in truth.balls]
        where = []
        for leaf, index, axis in self._axes():
            series = self._coefficient(body, axis, widen=True)
            if series.is_finite() and not series.overlaps(truth.balls[leaf].ravel()[index]):
                where.append((leaf, index))
                exact[leaf].reshape(-1)[index] = series
        return _Found(where, truth.balls, truth._replace(balls=exact)) if where else None

    def _rules(self, truth: Truth) -> tuple[str, _Found] | None:
        """Does what jax computes, in exact arithmetic, agree with the truth?"""
        for mode in self.modes:
            self.progress.says(f"{mode} mode")
            if mode == "forward" and self.order == 1:
                found = self._forward(truth)
            else:
                program = self._program(self._derivative(self.function, mode))
                if self._lacks_forward(program):
                    continue
                found = self._compare(program, truth)
            if found is not None:
                return mode, found
        if self.order == 1 and self._has_own_batching():
            self.progress.says("vmap")
            found = self._vmapped(truth)
            if found is not None:
                return "vmapped reverse", found
        if self.order == 2:
            self._symmetric()
        return None

    def _lacks_forward(self, program: Any) -> bool:
        lacks = any(e.primitive.name == "custom_lin" for e in equations(program))
        if lacks:
            self.notes.append("there is no forward mode (custom_vjp): only reverse mode is judged")
        return lacks

    def _compare(self, program: Any, truth: Truth) -> _Found | None:
        def run(widen: bool) -> list[Balls]:
            return [r.value for r in evaluate(program, self.values, widen=widen)[0]]

        return self._judged(run, truth)

    def _judged(self, run: Callable[[bool], list[Balls]], truth: Truth) -> _Found | None:
        """Value and derivatives, as a program computes them, beside the truth."""
        value, *came = run(False)
        where = truth.disagrees(came)
        if not where and value.ravel()[0].overlaps(truth.value):
            return None
        # Constants of rules are rounded: what they may stand for is given them.
        try:
            wide_value, *wide = run(True)
            true_wide = truth.wide()
        except Undecided:
            if truth.undecided:  # a step or a tie, which is told already
                return None
            raise
        where = [
            (leaf, i)
            for leaf, i in where
            if not may_be_equal(wide[leaf].ravel()[i], true_wide[leaf].ravel()[i])
        ]
        if not where and not wide_value.ravel()[0].overlaps(truth.wide_value()):
            self.notes.append(
                "it is the value that comes with the gradient that is not the function's: "
                f"{value.ravel()[0].str(8)} came for {truth.value.str(8)}"
            )
            return _Found([(0, 0)], came, truth)
        return _Found(where, came, truth) if where else None

    def _forward(self, truth: Truth) -> _Found | None:
        """Derivatives along directions; the entry is looked for if they are wrong."""

        def along(direction: list[Any]) -> Any:
            def slope(*leaves: Any) -> Any:
                return jax.jvp(self.function, leaves, tuple(direction))[1]

            return jax.make_jaxpr(slope)(*self.values)

        try:
            program = along(self.directions[0])
        except TypeError as error:
            if "custom_vjp" not in str(error):
                raise
            self.notes.append("there is no forward mode (custom_vjp): only reverse mode is judged")
            return None
        if self._lacks_forward(program) or truth.undecided:
            return None
        for direction in self.directions:
            if self._slope_agrees(along(direction), truth, direction):
                continue
            few = sum(v.size for v in self.values) <= 64
            where, came = [], [np.full(v.shape, ZERO, object) for v in self.values]
            for leaf, index, axis in self._axes() if few else ():
                program = along(axis)
                if not self._slope_agrees(program, truth, axis):
                    (slope,), _ = evaluate(program, self.values)
                    came[leaf].reshape(-1)[index] = slope.value.ravel()[0]
                    where.append((leaf, index))
            self.notes.append("forward mode is wrong along a random direction")
            return _Found(where or [(0, 0)], came if where else truth.balls, truth)
        return None

    def _slope_agrees(self, program: Any, truth: Truth, direction: list[Any]) -> bool:
        for widen in (False, True):
            (slope,), _ = evaluate(program, self.values, widen=widen)
            slopes = truth.wide() if widen else truth.balls
            if slope.value.ravel()[0].overlaps(self._inner(slopes, direction)):
                return True
        return False

    def _has_own_batching(self) -> bool:
        return any(
            e.primitive.name == "custom_vmap_call" or meaning(e.primitive) is not None
            for e in equations(self.primal)
        )

    def _vmapped(self, truth: Truth) -> _Found | None:
        """Two copies at once, the other one apart from the first."""
        derivative = _flat(self._derivative(self.function, "reverse"))
        stacked = [jnp.stack([v, v * jnp.asarray(0.75, v.dtype)]) for v in self.values]
        program = jax.make_jaxpr(jax.vmap(derivative))(*stacked)

        def first(widen: bool) -> list[Balls]:
            results, _ = evaluate(program, stacked, widen=widen)
            return [np.asarray(r.value[0:1], object).reshape(r.shape[1:]) for r in results]

        return self._judged(first, truth)

    def _symmetric(self) -> None:
        """u·(H v) = v·(H u), of the rules as they are."""
        first, second = self.directions
        products = []
        for direction in (first, second):
            self.directions = [direction, second if direction is first else first]
            program = self._program(self._derivative(self.function, self.modes[0]))
            results, _ = evaluate(program, self.values)
            other = self.directions[1]
            products.append(self._inner([r.value for r in results[1:]], other))
        self.directions = [first, second]
        if not products[0].overlaps(products[1]):
            self.notes.append("the second derivative is not symmetric along random directions")

    # ---- the floats -----------------------------------------------------------------------------

    def _floats(self, truth: Truth, true_program: Any) -> tuple[Worst | None, bool]:
        """The worst float, and whether arithmetic is to blame for it."""
        scale = max((abs(float(b.mid())) for b in truth.judged()), default=0.0)
        allowed = (2 * self.roundoff) ** 0.5 * scale
        mode = self.modes[0] if self.order == 2 else "reverse"
        _, slopes = jax.jit(self._derivative(self.function, mode))(*self.values)
        entries = furthest(slopes, truth, allowed)
        if not entries:
            return None, False
        blamed = [entry for entry in entries if entry.is_far]
        if blamed:
            self.progress.says("conditioning")
            least = 8 * sensitivity(truth, true_program, self.values, self.random)
            blamed = [entry for entry in blamed if entry.off > least]
        worst = max(blamed or entries)
        if not np.isfinite(worst.came):
            self.notes.append("what came is not finite: look for 0 · inf and for overflow")
        ball = truth.balls[worst.leaf].ravel()[worst.index]
        told = self._entry(worst.leaf, worst.index, mode, worst.came, ball, worst.ulps)
        return told, bool(blamed)

    # ---- what to say ----------------------------------------------------------------------------

    def _entry(
        self, leaf: int, index: int, mode: str, came: float, ball: Any, ulps: float
    ) -> Worst:
        place = tuple(int(i) for i in np.unravel_index(index, self.values[leaf].shape))
        return Worst(self.leaves.paths[leaf], place, mode, came, *rounded(ball), float(ulps))

    def _worst(self, found: _Found, mode: str) -> Worst:
        leaf, index = max(found.where, key=lambda at: distance(found.came, found.truth.balls, *at))
        came, true = found.came[leaf].ravel()[index], found.truth.balls[leaf].ravel()[index]
        if not came.is_finite():
            self.notes.append(
                "a number that is not finite often comes from a branch of `where` that is not "
                "taken: its slope is infinite, and times 0 is NaN; make its argument safe first"
            )
        off = distance(found.came, found.truth.balls, leaf, index)
        ulps = off / ulp(float(true.mid()), self.values[leaf].dtype)
        return self._entry(leaf, index, mode, float(came.mid()), true, ulps)
