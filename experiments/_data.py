"""Data sets that do not come with a package: found, or downloaded once, and always checked."""

import hashlib
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    """A file of a data set, wherever it is."""

    folder: str
    name: str
    sha256: str
    url: str


class MissingData(Exception):
    """A file is nowhere, or is not what it should be; the message says what to do."""


def path_of(file: File) -> Path:
    """Where a file is: in `JBCE_DATA_DIR`, in the cache, or in the cache after a download.

    Raises:
        MissingData: it is nowhere, and cannot be downloaded; or what is there, or what came, is
            another file. A download is then removed.
    """
    named = os.environ.get("JBCE_DATA_DIR")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jbce"
    folders = ([Path(named)] if named else []) + [cache]
    for folder in folders:
        path = folder / file.folder / file.name
        if path.is_file():
            _check(path, file)
            return path
    path = cache / file.folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        print(f"Downloading {file.url}", file=sys.stderr)
        with urllib.request.urlopen(file.url, timeout=60) as response:
            temporary.write_bytes(response.read())
        _check(temporary, file)
        os.replace(temporary, path)
    except (urllib.error.URLError, TimeoutError) as error:
        looked = " and ".join(str(folder / file.folder) for folder in folders)
        raise MissingData(
            f"{file.name} was looked for in {looked}, and cannot be downloaded ({error}). Get it "
            f"from {file.url} and put it into the folder {file.folder} of the one that the "
            "environment variable JBCE_DATA_DIR names."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _check(path: Path, file: File) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        raise MissingData(
            f"{path} is not the file that is meant: its SHA-256 is {found}, not {file.sha256}."
        )
