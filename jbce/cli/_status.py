"""How a command ends: its exit status, and what it says when it cannot do what was asked."""

import contextlib
from collections.abc import Iterator
from typing import Any

RIGHT, WRONG, UNDECIDED, MISUSED = 0, 1, 2, 3
DONE = RIGHT
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Misuse(Exception):
    """What was asked for cannot be done; the message says why."""


class BadInput(Misuse):
    """What a file holds cannot be judged; the message names file, column and row."""

    def __init__(
        self, path: Any, what: str, *, column: str | None = None, row: int | None = None
    ) -> None:
        places = [str(path)]
        if column is not None:
            places.append(f"column {column!r}")
        if row is not None:
            places.append(f"row {row}")
        super().__init__(f"{', '.join(places)}: {what}")


@contextlib.contextmanager
def extra() -> Iterator[None]:
    """Around the import of a package that comes with the extra `evaluate`: says how to get it.

    Raises:
        Misuse: the package is missing.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("matplotlib", "pyarrow", "rich", "safetensors"):
            raise
        raise Misuse(
            f"this needs {package}, which comes with the extra: pip install 'jbce[evaluate]'"
        ) from error
