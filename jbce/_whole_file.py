"""Files that are whole or not there."""

import os
import pathlib
import secrets


def write_whole(path: pathlib.Path, content: bytes, *, overwrite: bool) -> None:
    """Writes a file that is there whole or not at all, whatever dies meanwhile.

    Raises:
        FileExistsError: a file is there, and `overwrite` is False.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there; overwrite=True replaces it.")
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, path)
        else:
            _link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _link(part: pathlib.Path, path: pathlib.Path) -> None:
    """Gives `part` its name unless a file has come there meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise FileExistsError(f"{path} is there; overwrite=True replaces it.") from None
    except OSError:  # a file system without links
        os.replace(part, path)
