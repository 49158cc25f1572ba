"""What a command leaves behind: strict JSON, and files that are whole or not there."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ._status import Misuse


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are null and a word."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def print_json(contents: Any) -> None:
    """On standard output."""
    print(json.dumps(plain(contents), indent=2, allow_nan=False))


def check_output(path: Path, overwrite: bool) -> None:
    """Before anything is computed: there is room for a file at `path`.

    Raises:
        Misuse: something is there, or there is no folder.
    """
    if path.is_dir():
        raise Misuse(f"{path}: a folder is there, where a file is to be written")
    if path.exists() and not overwrite:
        raise Misuse(f"{path}: the file exists; --overwrite replaces it")
    if not path.parent.is_dir():
        raise Misuse(f"{path}: there is no folder {str(path.parent)!r}")


@contextlib.contextmanager
def whole_file(path: Path, overwrite: bool) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` at the end, if nothing fails.

    Raises:
        Misuse: it cannot be written, or something is there by now.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{''.join(path.suffixes[-1:])}")
    try:
        yield temporary
        if overwrite:
            os.replace(temporary, path)
        else:
            _into_place(temporary, path)
    except OSError as error:
        raise Misuse(f"{path}: it cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _into_place(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # fails where something is
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise
        os.replace(temporary, path)
