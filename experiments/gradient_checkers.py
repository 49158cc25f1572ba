"""What do gradient checkers say of gradients that are wrong, right, or not there?

Command:  python -m experiments gradient_checkers
Minutes:  3
Expect:   jbce.verify is right about all; jax.test_util.check_grads and chex pass planted errors in
          means and single entries, and fail correct gradients in 16 bits and at large arguments.

A gallery of functions with errors planted in their derivative rules, functions that are right, and
kinks. Beside `jbce.verify.check_gradients`: `jax.test_util.check_grads` (its defaults, the order of
the case) and `chex.assert_numerical_grads`, as their users call them. "pass" and "fail" are theirs;
what neither passes nor fails a check says what it raised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.test_util

from jbce import verify

from ._planted import Case, cases
from ._record import Record


@dataclass(frozen=True)
class Config:
    """What to try."""

    only: str = ""
    """Only cases whose name contains this."""


WANTED = {"wrong": "fail", "right": "pass", "kink": "undecided"}
CHECKERS = ("jbce.verify", "jax.test_util.check_grads", "chex.assert_numerical_grads")


def run(config: Config, record: Record) -> None:
    """Ask everyone about every case."""
    chosen = [case for case in cases() if config.only in case.name]
    rows, misled = [], dict.fromkeys(CHECKERS, 0)
    for case in chosen:
        answers = [_ours(case), _answer(lambda c=case: _jax(c)), _answer(lambda c=case: _chex(c))]
        marks = []
        for checker, answer in zip(CHECKERS, answers, strict=True):
            # A kink that fails is no mistake of a checker that knows no third answer.
            right = answer == WANTED[case.kind] or (case.kind == "kink" and answer == "fail")
            misled[checker] += not right
            marks.append(answer if right else f"{answer} ✗")
        rows.append((case.name, case.kind, *marks))
    record.table(
        f"{len(chosen)} gradients, and what is said of them (✗ marks what is not so)",
        ("function", "its gradient", *CHECKERS),
        rows,
    )
    for checker, count in misled.items():
        record.metric(f"wrong answers of {checker}".replace(" ", "_"), count, "1")
        record.headline(f"wrong answers about {len(chosen)} gradients, {checker}", count)
    record.say(
        "Wrong answers: " + ", ".join(f"{name} {count}" for name, count in misled.items()) + "."
    )


def _ours(case: Case) -> str:
    report = verify.check_gradients(
        case.function, *case.args, argnums=case.argnums, order=case.order
    )
    return {"right": "pass", "wrong": "fail", "undecided": "undecided"}[report.verdict]


def _answer(check: Callable[[], None]) -> str:
    try:
        check()
    except AssertionError:
        return "fail"
    except Exception as error:  # whatever a checker stumbles on
        return type(error).__name__
    return "pass"


def _of_chosen(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    numbers = (case.argnums,) if isinstance(case.argnums, int) else case.argnums
    args = list(case.args)

    def function(*chosen: Any) -> Any:
        for number, value in zip(numbers, chosen, strict=True):
            args[number] = value
        return case.function(*args)

    return function, tuple(case.args[number] for number in numbers)


def _jax(case: Case) -> None:
    function, chosen = _of_chosen(case)
    jax.test_util.check_grads(function, chosen, order=case.order)


def _chex(case: Case) -> None:
    import chex

    function, chosen = _of_chosen(case)
    chex.assert_numerical_grads(function, chosen, order=case.order)
