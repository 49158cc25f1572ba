"""Data sets that do not come with a package: found, or downloaded once, and always checked."""

import gzip
import hashlib
import os
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    """A file of a data set, wherever it is."""

    folder: str
    name: str
    digest: str
    """SHA-256 of the file (of what it holds, where its name ends in `.gz`, since compression
    differs), or the MD5 of the file where its publisher tells no more."""
    url: str


class MissingData(Exception):
    """A file is nowhere, or is not what it should be; the message says what to do."""


def path_of(file: File) -> Path:
    """Where a file is: in `JBCE_DATA_DIR`, in the cache, or in the cache after a download.

    Raises:
        MissingData: it is nowhere, and cannot be downloaded; or what is there, or what came, is
            another file. A download is then removed.
    """
    found = at_hand(file)
    if found is not None:
        return found
    path = _cache() / file.folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        print(f"Downloading {file.url}", file=sys.stderr)
        with urllib.request.urlopen(file.url, timeout=60) as response:
            temporary.write_bytes(response.read())
        _check(temporary, file)
        os.replace(temporary, path)
    except (urllib.error.URLError, TimeoutError) as error:
        looked = " and ".join(str(folder / file.folder) for folder in _folders())
        raise MissingData(
            f"{file.name} was looked for in {looked}, and cannot be downloaded ({error}). Get it "
            f"from {file.url} and put it into the folder {file.folder} of the one that the "
            "environment variable JBCE_DATA_DIR names."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def at_hand(file: File) -> Path | None:
    """Where a file is without a download, if anywhere.

    Raises:
        MissingData: what is there is another file.
    """
    for folder in _folders():
        path = folder / file.folder / file.name
        if path.is_file():
            _check(path, file)
            return path
    return None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jbce"


def _folders() -> list[Path]:
    named = os.environ.get("JBCE_DATA_DIR")
    return ([Path(named)] if named else []) + [_cache()]


def _check(path: Path, file: File) -> None:
    algorithm = {64: "SHA-256", 32: "MD5"}[len(file.digest)]
    held = file.name.endswith(".gz") and algorithm == "SHA-256"
    opened = gzip.open(path) if held else path.open("rb")
    try:
        with opened as stream:
            found = hashlib.file_digest(stream, algorithm.replace("-", "").lower()).hexdigest()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise MissingData(f"{path} is torn: it is no whole gzip file.") from None
    if found != file.digest:
        raise MissingData(
            f"{path} is not the file that is meant: its {algorithm} is {found}, not {file.digest}."
        )
