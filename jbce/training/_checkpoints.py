"""Checkpoints: what a run needs to go on, written so that a death at any moment loses little."""

import hashlib
import json
import os
import pathlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import describe
from ._data import at_least_one
from ._extra import extra
from ._leaves import like, numbers_of


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps what it needs to go on after a death, and how often.

    A run that is handed a folder with checkpoints of the same run goes on from the last one.
    Checkpoints appear whole or not at all; one that is damaged, or of another run, is refused with
    a warning that says why, and the one before it is taken.

    Attributes:
        folder: of this run alone; made if need be.
        keep: the number of newest checkpoints that stay.
        seconds: the least time between two of them; the end of a run, and SIGTERM, always save.
        overwrite: remove what is there, and begin anew.

    Example:
        >>> Checkpoints("runs/first", seconds=0).keep
        3
    """

    folder: str | os.PathLike[str]
    keep: int = 3
    seconds: float | int = 60
    overwrite: bool = False

    def __post_init__(self) -> None:
        at_least_one("keep", self.keep)
        if not self.seconds >= 0:
            raise ValueError(f"`seconds` must be ≥ 0, but {self.seconds} came.")


class CheckpointError(RuntimeError):
    """No checkpoint of those that are there can be taken; the message says why."""


class CheckpointWarning(UserWarning):
    """What a run or a sweep has kept is damaged; the message says why, and what is done instead."""


class Position(NamedTuple):
    """How far a run has come, and what it has to tell of it."""

    epoch: int  # done
    batch: int  # of the next epoch, done
    rows: list[dict[str, Any]]  # of the history
    sums: list[float]  # of the epoch under way: Σ w·loss, Σ w, Σ penalty


class Store:
    """The checkpoints of one run in its folder.

    Args:
        settings: where, and how many.
        about: what makes the run this run; a checkpoint with anything else in it is foreign.
    """

    def __init__(self, settings: Checkpoints, about: dict[str, Any]):
        with extra():
            import orbax.checkpoint as ocp
        self._ocp = ocp
        self._about = json.loads(json.dumps(about))
        self._folder = pathlib.Path(settings.folder).absolute()
        if self._folder.exists() and not self._folder.is_dir():
            raise NotADirectoryError(f"Checkpoints go into a folder, but {self._folder} is a file.")
        strangers = (
            []
            if not self._folder.exists()
            else sorted(path.name for path in self._folder.iterdir() if not _is_ours(path))
        )
        if strangers:
            raise CheckpointError(
                f"{self._folder} holds {strangers[0]}, which is no checkpoint; name a folder of "
                "their own."
            )
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=settings.keep,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
            ),
            item_names=("state", "about"),
        )
        if settings.overwrite:
            for step in self._manager.all_steps():
                self._manager.delete(step)

    def restore(self, state: Any) -> tuple[Any, Position] | None:
        """The newest state that can be taken, like `state` in structure and place; None: new run.

        Raises:
            CheckpointError: there are checkpoints, and none can be taken.
        """
        steps: Sequence[int] = sorted(self._manager.all_steps(), reverse=True)
        reasons = []
        for step in steps:
            try:
                restored = self._restored(step, state)
            except Exception as error:  # whatever the reader of a damaged file raises
                lines = str(error).strip().splitlines()
                why = (lines[0] if lines else type(error).__name__)[:300]
                reasons.append(why)
                if step != steps[-1]:
                    warnings.warn(
                        f"Checkpoint {step} in {self._folder} is refused: {why}. The one before it "
                        "is tried.",
                        CheckpointWarning,
                        stacklevel=3,
                    )
                continue
            for refused in steps[: steps.index(step)]:  # or the next save finds its place taken
                self._manager.delete(refused)
            return restored
        if reasons:
            raise CheckpointError(
                f"No checkpoint in {self._folder} can be taken: "
                f"{'; '.join(dict.fromkeys(reasons))}. "
                "Nothing was overwritten: name another folder, or begin anew with "
                "Checkpoints(..., overwrite=True)."
            )
        return None

    def _restored(self, step: int, state: Any) -> tuple[Any, Position]:
        args = self._ocp.args
        found = self._manager.restore(step, args=args.Composite(about=args.JsonRestore()))["about"]
        for name in sorted(self._about.keys() | found["run"].keys()):
            was, now = found["run"].get(name), self._about.get(name)
            if name == "program" and was and now and was["jax"] != now["jax"]:
                continue  # the same program has another text
            if was != now:
                if name == "start":
                    raise ValueError("it is of another run, which began with other parameters")
                if name == "program":
                    raise ValueError("it is of another run, whose steps compute something else")
                raise ValueError(f"it is of another run, whose {name} is {was} instead of {now}")
        arrays, rebuilt = _named_arrays(state)
        abstract = {
            name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
            for name, a in arrays.items()
        }
        restored = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(abstract))
        )["state"]
        digest = _digest(restored)
        if digest is not None and digest != found["digest"]:
            raise ValueError("it is damaged: its numbers are not those that were written")
        return rebuilt(restored), Position(*found["position"])

    def save(self, state: Any, position: Position) -> None:
        """Keep the state; the oldest checkpoints beyond `keep` go."""
        args = self._ocp.args
        arrays, _ = _named_arrays(state)
        about = {"run": self._about, "digest": _digest(arrays), "position": position}
        step = position.epoch * 1_000_000 + position.batch
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=args.Composite(state=args.StandardSave(arrays), about=args.JsonSave(about)),
            force=True,
        )
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Let go of the folder."""
        self._manager.close()


def _is_ours(path: pathlib.Path) -> bool:
    return path.name.split(".")[0].isdigit() and path.is_dir()


def _named_arrays(state: Any) -> tuple[dict[str, jax.Array], Any]:
    """The arrays of a state by their places, random keys as numbers; and what undoes that."""
    leaves, structure = jax.tree.flatten(state)
    named = jax.tree.leaves_with_path(state)
    names = [f"{number}{jax.tree_util.keystr(path)}" for number, (path, _) in enumerate(named)]
    arrays = {name: jnp.asarray(numbers_of(leaf)) for name, leaf in zip(names, leaves, strict=True)}

    def rebuilt(arrays: dict[str, jax.Array]) -> Any:
        return structure.unflatten(
            like(leaf, arrays[name]) for name, leaf in zip(names, leaves, strict=True)
        )

    return arrays, rebuilt


def _digest(arrays: dict[str, jax.Array]) -> str | None:
    """Of all numbers; None where this process does not see them all."""
    if not all(array.is_fully_addressable for array in arrays.values()):
        return None
    return digest_of(arrays[name] for name in sorted(arrays))


def digest_of(arrays: Any) -> str:
    """A fingerprint of arrays: of their shapes, dtypes and numbers."""
    made = hashlib.sha256()
    for array in arrays:
        values = np.ascontiguousarray(np.asarray(array))
        made.update(describe(values).encode())  # pyright: ignore[reportArgumentType]
        made.update(values.view(np.uint8).data if values.ndim else values.tobytes())
    return made.hexdigest()


def fingerprint(jaxpr: Any) -> dict[str, str]:
    """Of JAX's own text of a program, which another version may write otherwise, and its arrays."""
    text = without_addresses(str(jaxpr)) + digest_of(_constants(jaxpr))
    return {"jax": jax.__version__, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def without_addresses(text: str) -> str:
    """What another process says, too."""
    return re.sub(r"\b0x[0-9a-f]+", "", text)


def _constants(within: Any) -> Iterator[np.ndarray]:
    """The arrays that programs within a value hold, of which their text has only the names."""
    if isinstance(within, (list, tuple)):
        for part in within:
            yield from _constants(part)
    elif hasattr(within, "eqns"):  # a program, closed or not
        for array in getattr(within, "consts", ()):
            yield np.asarray(numbers_of(jnp.asarray(array)))
        for equation in within.eqns:
            for operand in equation.invars:
                if np.ndim(value := getattr(operand, "val", 0)):
                    yield np.asarray(value)
            yield from _constants([*equation.params.values()])
