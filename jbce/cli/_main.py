"""The parser, and how a command ends."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import _calibrate, _evaluate, _explain, _judge
from ._files import FORMATS
from ._status import INTERRUPTED, MISUSED, Misuse

_DTYPES = ("float32", "bfloat16", "float16")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        0 for right, or for done; 1 for wrong, 2 for undecided, 3 for misuse or bad input.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except Misuse as misuse:
        print(f"jbce: {misuse}", file=sys.stderr)
    except KeyboardInterrupt:
        print("jbce: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # of the function that is judged: no verdict on it; or of ours
        what = getattr(arguments, "function", None) or arguments.file
        first = str(error).strip().partition("\n")[0]
        print(f"jbce: {what}: {type(error).__name__}: {first}", file=sys.stderr)
    return MISUSED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(MISUSED, f"{self.prog}: {message}\n")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number ≥ 1 is wanted, but {text!r} came")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"a number between 0 and 1 is wanted, but {text!r} came")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="jbce",
        description="Judges losses and their gradients, and models by their predictions on files.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_check(commands)
    _add_audit(commands)
    _add_evaluate(commands)
    _add_calibrate(commands)
    _add_explain(commands)
    return parser


def _add_check(commands: "argparse._SubParsersAction[_Parser]") -> None:
    check = commands.add_parser(
        "check",
        help="is the gradient right?",
        description="Proves the gradient of a loss (logits, labels) or a function of one array "
        "right or wrong. Exit status: 0 right, 1 wrong, 2 undecided, 3 misuse.",
    )
    check.add_argument("function", metavar="PACKAGE.MODULE:FUNCTION")
    check.add_argument("--order", type=int, choices=(1, 2), default=1)
    check.add_argument("--dtype", choices=_DTYPES, default="float32")
    check.add_argument("--batch", type=_count, default=8, help="examples (default 8)")
    check.add_argument("--classes", type=_count, default=5, help="classes (default 5)")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_judge.run_check)


def _add_audit(commands: "argparse._SubParsersAction[_Parser]") -> None:
    audit = commands.add_parser(
        "audit",
        help="how many ulps is a loss off, and where does it collapse?",
        description="Measures a loss (logits, labels) over margins and dtypes, in ulps.",
    )
    audit.add_argument("function", metavar="PACKAGE.MODULE:FUNCTION")
    audit.add_argument("--dtype", action="append", choices=_DTYPES, help="may be repeated")
    audit.add_argument("--json", action="store_true", help="print JSON")
    audit.set_defaults(run=_judge.run_audit)


def _add_evaluate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="how good are models, by their predictions in a file?",
        description="Every metric of one or several models, and which differences are real, from "
        "a file or a folder of files, in little memory. Exit status: 0 done, 3 misuse or bad "
        "input.",
    )
    _add_file(evaluate, several=True)
    evaluate.add_argument("--group", metavar="COLUMN", help="metrics for each of its values, too")
    evaluate.add_argument(
        "--confidence", type=_share, default=0.95, help="of the intervals (default 0.95)"
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.add_argument(
        "--report", type=Path, metavar="FILE.html", help="write a page with figures, too"
    )
    _add_overwrite(evaluate)
    evaluate.add_argument(
        "--batch-rows", type=_count, metavar="N", help="rows at a time (default: what fits)"
    )
    evaluate.set_defaults(run=_evaluate.run)


def _add_calibrate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="make a model's probabilities honest",
        description="Fits a map of a model's logits to calibrated ones, and says by "
        "cross-validation what it is worth. Exit status: 0 done, 3 misuse or bad input.",
    )
    _add_file(calibrate, several=False)
    calibrate.add_argument(
        "--method",
        choices=_calibrate.METHODS,
        required=True,
        help="platt, beta, isotonic: binary; vector, dirichlet: multi-class; temperature: both",
    )
    calibrate.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE.json|FILE.safetensors",
        help="where the parameters go",
    )
    calibrate.add_argument(
        "--folds", type=_count, default=5, help="of the cross-validation (default 5)"
    )
    calibrate.add_argument("--seed", type=int, default=0, help="of the folds (default 0)")
    calibrate.add_argument(
        "--apply", type=Path, metavar="FILE", help="calibrate the same columns of this file"
    )
    calibrate.add_argument(
        "--calibrated",
        type=Path,
        metavar="FILE.parquet|csv|npz",
        help="where the calibrated probabilities of --apply go",
    )
    calibrate.add_argument("--json", action="store_true", help="print JSON")
    _add_overwrite(calibrate)
    calibrate.set_defaults(run=_calibrate.run)


def _add_explain(commands: "argparse._SubParsersAction[_Parser]") -> None:
    explain = commands.add_parser(
        "explain",
        help="which examples make up the loss?",
        description="The examples of the largest log loss: what was predicted, with what "
        "probability of the label (the corrected probability), and their share of the loss. Rows "
        "count from 0. Exit status: 0 done, 3 misuse or bad input.",
    )
    _add_file(explain, several=False)
    explain.add_argument("--top", type=_count, default=20, help="how many (default 20)")
    explain.add_argument(
        "--show", nargs="+", default=[], metavar="COLUMN", help="more columns to print"
    )
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.add_argument(
        "--batch-rows", type=_count, metavar="N", help="rows at a time (default: what fits)"
    )
    explain.set_defaults(run=_explain.run)


def _add_file(parser: argparse.ArgumentParser, *, several: bool) -> None:
    parser.add_argument(
        "file", type=Path, help="CSV, Parquet or NPZ, or a folder of files of one of them"
    )
    parser.add_argument("--label", required=True, metavar="COLUMN", help="what was true")
    again = "; may be repeated, for several models" if several else ""
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument(
        "--prob",
        action="append",
        metavar="COLUMN",
        help="probabilities: a column of the positive class's, a column of lists, or a pattern "
        f"'p_*' of a column per class{again}",
    )
    kinds.add_argument("--logit", action="append", metavar="COLUMN", help="logits, likewise")
    parser.add_argument(
        "--positive", metavar="NAME", help="the positive label, where labels are not 0 and 1"
    )
    parser.add_argument("--weight", metavar="COLUMN", help="how much each row counts")
    parser.add_argument("--format", choices=FORMATS, help="where the file's name does not say it")


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
