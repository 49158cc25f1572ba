"""The finished chunks of a sweep, on disk."""

import json
import os
import pathlib
from typing import Any

import numpy as np

from .._whole_file import write_whole
from ._extra import extra

with extra():
    import safetensors
    import safetensors.numpy


class SweepStore:
    """A folder with `sweep.json`, which says what sweep it is, and a file per finished chunk.

    Raises:
        ValueError: the folder belongs to another sweep, or holds something else.
    """

    def __init__(self, folder: str | os.PathLike[str], about: dict[str, Any]):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted, path = json.loads(json.dumps(about)), self.folder / "sweep.json"
        if not path.exists():
            strangers = sorted(p.name for p in self.folder.iterdir() if not p.name.startswith("."))
            if strangers:
                raise ValueError(f"{self.folder} holds {strangers[0]}, and is no sweep's folder.")
            write_whole(path, json.dumps(wanted, indent=1).encode(), overwrite=True)
            return
        try:
            found = json.loads(path.read_text())
            different = [name for name in wanted if found.get(name) != wanted[name]]
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path} does not say what sweep this is ({error}).") from error
        if different:
            raise ValueError(
                f"{self.folder} belongs to another sweep, with other {', '.join(different)}; name "
                "another folder."
            )

    def found(self, name: str) -> dict[str, np.ndarray] | None:
        """A chunk that is finished; one that is damaged is trained again."""
        path = self._path(name)
        try:
            return safetensors.numpy.load(path.read_bytes())
        except (FileNotFoundError, safetensors.SafetensorError):
            return None

    def keep(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write a chunk, whole or not at all."""
        whole = {key: np.array(array, order="C") for key, array in arrays.items()}
        write_whole(self._path(name), safetensors.numpy.save(whole), overwrite=True)

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"trials-{name}.safetensors"
