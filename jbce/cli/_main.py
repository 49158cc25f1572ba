"""`jbce check PACKAGE.MODULE:FUNCTION` and `jbce audit PACKAGE.MODULE:FUNCTION`."""

import argparse
import dataclasses
import importlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

RIGHT, WRONG, UNDECIDED, MISUSED = 0, 1, 2, 3


class _Misuse(Exception):
    """What was asked for cannot be done; the message says why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0 for right, 1 for wrong, 2 for undecided, 3 for misuse."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except _Misuse as misuse:
        print(f"jbce: {misuse}", file=sys.stderr)
    except Exception as error:  # of the function that is judged; no verdict on it
        first = str(error).strip().partition("\n")[0]
        print(f"jbce: {arguments.function}: {type(error).__name__}: {first}", file=sys.stderr)
    return MISUSED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(MISUSED, f"{self.prog}: {message}\n")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number ≥ 1 is wanted, but {text!r} came")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jbce", description="Judges losses and their gradients.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="is the gradient right?",
        description="Proves the gradient of a loss (logits, labels) or a function of one array "
        "right or wrong. Exit status: 0 right, 1 wrong, 2 undecided, 3 misuse.",
    )
    check.add_argument("function", metavar="PACKAGE.MODULE:FUNCTION")
    check.add_argument("--order", type=int, choices=(1, 2), default=1)
    check.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    check.add_argument("--batch", type=_count, default=8, help="examples (default 8)")
    check.add_argument("--classes", type=_count, default=5, help="classes (default 5)")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check)
    audit = commands.add_parser(
        "audit",
        help="how many ulps is a loss off, and where does it collapse?",
        description="Measures a loss (logits, labels) over margins and dtypes, in ulps.",
    )
    audit.add_argument("function", metavar="PACKAGE.MODULE:FUNCTION")
    audit.add_argument(
        "--dtype",
        action="append",
        choices=("float32", "bfloat16", "float16"),
        help="may be repeated",
    )
    audit.add_argument("--json", action="store_true", help="print JSON")
    audit.set_defaults(run=_audit)
    return parser


def _load(name: str) -> Callable[..., Any]:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise _Misuse(f"PACKAGE.MODULE:FUNCTION is wanted, but {name!r} came")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except (ImportError, TypeError) as error:  # "./file.py" is a relative import of nothing
        raise _Misuse(f"the module {module!r} cannot be imported: {error}") from error
    finally:
        sys.path.remove("")
    for part in path.split("."):
        if not hasattr(found, part):
            raise _Misuse(f"{module!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found):
        raise _Misuse(f"{name!r} is no function")
    return found


def _check(arguments: argparse.Namespace) -> int:
    import jax.numpy as jnp

    from ..verify import check_gradients, example, kind_of

    function = _load(arguments.function)
    try:
        kind = kind_of(function)
    except TypeError as no_loss:
        kind, reason = None, str(no_loss)
    if kind is not None:
        logits, labels = example(kind, arguments.batch, arguments.classes, arguments.dtype)
        report = check_gradients(
            lambda x: jnp.mean(function(x, labels)), logits, order=arguments.order
        )
        what = (
            f"the mean of a loss with {kind} labels, logits {arguments.dtype}{list(logits.shape)}"
        )
    else:
        logits, _ = example("binary", arguments.batch, arguments.classes, arguments.dtype)
        try:
            report = check_gradients(lambda x: jnp.sum(function(x)), logits, order=arguments.order)
        except TypeError as error:
            raise _Misuse(f"{reason}; nor is it a function of one array: {error}") from error
        what = f"the sum of a function of one array {arguments.dtype}{list(logits.shape)}"
    if arguments.json:
        contents = dataclasses.asdict(report) | {"function": arguments.function, "checked": what}
        print(json.dumps(_plain(contents), indent=2, allow_nan=False))
    else:
        print(f"{arguments.function}, {what}.\n{report}")
    return {"right": RIGHT, "wrong": WRONG, "undecided": UNDECIDED}[report.verdict]


def _audit(arguments: argparse.Namespace) -> int:
    from ..verify import Undecided, audit

    function = _load(arguments.function)
    try:
        report = audit(function, **({"dtypes": arguments.dtype} if arguments.dtype else {}))
    except TypeError as error:
        raise _Misuse(str(error)) from error
    except Undecided as undecided:
        print(f"{arguments.function}: undecided: {undecided}", file=sys.stderr)
        return UNDECIDED
    if arguments.json:
        rows = [row._asdict() for row in report.rows]
        contents = {
            "function": arguments.function,
            "kind": report.kind,
            "collapse": [report.collapse(dtype) for dtype in report.dtypes],
            "rows": rows,
        }
        print(json.dumps(_plain(contents), indent=2, allow_nan=False))
    else:
        print(f"{arguments.function}, a loss with {report.kind} labels.\n{report}")
    return RIGHT


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are null and a word."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
