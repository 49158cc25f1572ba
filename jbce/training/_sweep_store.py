"""The finished chunks of a sweep, on disk."""

import json
import os
import pathlib
import warnings
from typing import Any

import numpy as np

from .._whole_file import write_whole
from ._checkpoints import CheckpointWarning, digest_of
from ._extra import extra
from ._leaves import from_file, to_file
from ._sweep_parts import Part
from ._sweep_result import Outcome

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

    def outcomes(self) -> dict[tuple[int, int], Outcome]:
        """The finished trials, by setting and seed; those of a damaged chunk are trained again."""
        outcomes: dict[tuple[int, int], Outcome] = {}
        for path in sorted(self.folder.glob("trials-*.safetensors")):
            try:
                found = safetensors.numpy.load(path.read_bytes())
                if found.pop("digest").tobytes() != _digest(found):
                    raise ValueError("its numbers are not those that were written")
                found = from_file(found)
            except (KeyError, OSError, ValueError, safetensors.SafetensorError) as error:
                warnings.warn(
                    f"{path} is damaged, and its trials are trained again ({error}).",
                    CheckpointWarning,
                    stacklevel=3,
                )
                continue
            settings, seeds = (found.pop(name).tolist() for name in ("settings", "seeds"))
            part = Part(settings, seeds, (len(seeds), len(settings)))
            for setting, seed, outcome in part.unpacked(found):
                outcomes[setting, seed] = outcome
        return outcomes

    def keep(self, part: Part, found: dict[str, np.ndarray]) -> None:
        """Write a chunk, whole or not at all."""
        whole = to_file(found) | {
            "settings": np.array(part.settings),
            "seeds": np.array(part.seeds),
        }
        whole["digest"] = np.frombuffer(_digest(whole), np.uint8)
        path = self.folder / f"trials-{part.name}.safetensors"
        write_whole(path, safetensors.numpy.save(whole), overwrite=True)


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    """Of their names and numbers."""
    names = sorted(arrays)
    said = np.frombuffer("\n".join(names).encode(), np.uint8)
    return bytes.fromhex(digest_of([said, *(arrays[name] for name in names)]))
