"""`jbce check PACKAGE.MODULE:FUNCTION` and `jbce audit PACKAGE.MODULE:FUNCTION`."""

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Callable
from typing import Any

from ._output import print_json
from ._status import RIGHT, UNDECIDED, WRONG, Misuse


def _load(name: str) -> Callable[..., Any]:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise Misuse(f"PACKAGE.MODULE:FUNCTION is wanted, but {name!r} came")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except (ImportError, TypeError) as error:  # "./file.py" is a relative import of nothing
        raise Misuse(f"the module {module!r} cannot be imported: {error}") from error
    finally:
        sys.path.remove("")
    for part in path.split("."):
        if not hasattr(found, part):
            raise Misuse(f"{module!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found):
        raise Misuse(f"{name!r} is no function")
    return found


def run_check(arguments: argparse.Namespace) -> int:
    """Is the gradient right?"""
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
            raise Misuse(f"{reason}; nor is it a function of one array: {error}") from error
        what = f"the sum of a function of one array {arguments.dtype}{list(logits.shape)}"
    if arguments.json:
        contents = dataclasses.asdict(report) | {"function": arguments.function, "checked": what}
        print_json(contents)
    else:
        print(f"{arguments.function}, {what}.\n{report}")
    return {"right": RIGHT, "wrong": WRONG, "undecided": UNDECIDED}[report.verdict]


def run_audit(arguments: argparse.Namespace) -> int:
    """How many ulps is a loss off?"""
    from ..verify import Undecided, audit

    function = _load(arguments.function)
    try:
        report = audit(function, **({"dtypes": arguments.dtype} if arguments.dtype else {}))
    except TypeError as error:
        raise Misuse(str(error)) from error
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
        print_json(contents)
    else:
        print(f"{arguments.function}, a loss with {report.kind} labels.\n{report}")
    return RIGHT
