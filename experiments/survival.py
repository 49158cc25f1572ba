"""Does a training that is killed again and again end where one that was left in peace does?

Command:  python -m experiments survival
Minutes:  1.5
Expect:   25 kills by SIGKILL at random moments, and at the end the same parameters, optimizer,
          history and log, bit for bit; a few of the kills cut a checkpoint while it is written.

A network with dropout, Adam, early stopping and a log trains in a process of its own, with a
checkpoint after every epoch. It is killed after a random time and started again with the same call,
until it has been killed often enough and is done; a run that ends too early begins anew in
another folder. What it leaves is compared with the run of a process that was not killed and kept
no checkpoints. Then one process is asked to end by SIGTERM, one finds its newest checkpoint torn,
and one finds the folder of another run.
"""

import json
import multiprocessing
import os
import pathlib
import signal
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._record import Record


@dataclass(frozen=True)
class Config:
    """How often to kill, and what."""

    kills: int = 25
    """By SIGKILL, at random moments."""
    epochs: int = 60
    """Of the training, each with a checkpoint."""
    hidden_size: int = 16
    """Of the network."""
    seed: int = 0
    """Of the moments."""


def run(config: Config, record: Record) -> None:
    """Kill, terminate, tear; compare."""
    # Children begin with everything imported, and no thread of JAX's yet.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["jbce.training", "orbax.checkpoint"])
    with tempfile.TemporaryDirectory(prefix="jbce-survival-") as name:
        place = pathlib.Path(name)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(place / "compiled"))
        alone = _Run(processes, config, place / "alone", checkpoints=False)
        seconds = alone.to_the_end()
        wanted = alone.result()

        kills, whole, torn = _kill(config, processes, place, wanted, seconds)
        record.metric("kills", kills, "1")
        record.metric("kills_while_saving", torn, "1")
        record.metric("finished_runs", len(whole), "1")
        record.metric("bitwise_equal_runs", sum(whole), "1")
        record.headline(
            f"{kills} kills: runs that ended bit for bit as one left in peace", sum(whole)
        )
        record.headline("of finished runs", len(whole))
        record.say(
            f"{kills} processes were killed by SIGKILL, {torn} of them while a checkpoint was "
            f"being written; {len(whole)} runs came to their end, and {sum(whole)} of them with "
            "the same parameters, history and log, bit for bit, as the run that nobody disturbed."
        )
        if not all(whole):
            raise AssertionError("A run that was killed ended elsewhere.")
        _terminate(config, processes, place, wanted, record)
        _tear(config, processes, place, wanted, record)


class _Run:
    """A training in a folder, by one process after another."""

    def __init__(self, processes: Any, config: Config, folder: pathlib.Path, *, checkpoints: bool):
        self.processes, self.config, self.folder = processes, config, folder
        self.checkpoints = checkpoints
        folder.mkdir(parents=True)

    def start(self, **changes: Any) -> Any:
        """A process, which has begun to fit or resume when this returns."""
        begun = self.folder / "begun"
        begun.unlink(missing_ok=True)
        arguments = (str(self.folder), self.config, self.checkpoints, changes)
        process = self.processes.Process(target=_train, args=arguments)
        process.start()
        while process.is_alive() and not begun.exists():
            time.sleep(0.002)
        return process

    def to_the_end(self, **changes: Any) -> float:
        process, begun = self.start(**changes), time.monotonic()
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"A training ended with status {process.exitcode}: {self.said()}")
        return time.monotonic() - begun

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def result(self) -> dict[str, bytes]:
        """All that is left, as bytes."""
        with np.load(self.folder / "result.npz", allow_pickle=False) as file:
            arrays = {name: file[name].tobytes() for name in file.files}
        return arrays | {"log": (self.folder / "log.jsonl").read_bytes()}

    def finished(self) -> bool:
        return (self.folder / "result.npz").exists()


def _train(folder: str, config: Config, checkpoints: bool, changes: dict[str, Any]) -> None:
    """In a process of its own: the training, and what is left of it."""
    import sys

    place = pathlib.Path(folder)
    sys.stderr = sys.stdout = open(place / "said", "a", buffering=1)
    # Children come and go: what one has compiled, the next finds.
    import jax

    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    import optax
    from flax import nnx

    from jbce import training

    random = np.random.default_rng(0)
    features = random.normal(size=(160, 8)).astype(np.float32)
    labels = (features[:, 0] + random.normal(size=160) > 0).astype(np.int32)
    model = training.MLP(8, [config.hidden_size], rngs=nnx.Rngs(0), dropout=0.3)
    (place / "begun").touch()
    result = training.fit(
        model,
        (features[:128], labels[:128]),
        validation=(features[128:], labels[128:]),
        patience=config.epochs,
        optimizer=optax.adam(changes.get("learning_rate", 1e-2)),
        epochs=config.epochs,
        batch_size=changes.get("batch_size", 32),
        key=jax.random.key(1),
        callbacks=[training.JSONLines(place / "log.jsonl")],
        checkpoints=training.Checkpoints(place / "checkpoints", seconds=0) if checkpoints else None,
        progress=False,
    )
    leaves = [*jax.tree.leaves(nnx.state(result.model, nnx.Param)), *result.history]
    arrays = {str(number): np.asarray(leaf) for number, leaf in enumerate(leaves)}
    np.savez(place / "part.npz", **arrays)  # pyright: ignore[reportArgumentType]
    os.replace(place / "part.npz", place / "result.npz")


def _kill(
    config: Config, processes: Any, place: pathlib.Path, wanted: dict[str, bytes], seconds: float
) -> tuple[int, list[bool], int]:
    """How many were killed, which runs ended as they should, and how many died while saving."""
    random = np.random.default_rng(config.seed)
    kills, torn, whole, number = 0, 0, [], 0
    longest = max(seconds, 0.2)
    run = _Run(processes, config, place / "killed-0", checkpoints=True)
    while kills < config.kills or not run.finished():
        if run.finished():
            whole.append(run.result() == wanted)
            number += 1
            run = _Run(processes, config, place / f"killed-{number}", checkpoints=True)
        process = run.start()
        if kills < config.kills:
            process.join(random.uniform(0, longest))
            if process.exitcode is None:
                process.kill()
                process.join()
                kills += process.exitcode == -signal.SIGKILL
                folder = run.folder / "checkpoints"
                torn += any("tmp" in path.name for path in folder.glob("*"))
                continue
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"A training ended with {process.exitcode}: {run.said()}")
    whole.append(run.result() == wanted)
    return kills, whole, torn


def _terminate(
    config: Config,
    processes: Any,
    place: pathlib.Path,
    wanted: dict[str, bytes],
    record: Record,
) -> None:
    run = _Run(processes, config, place / "terminated", checkpoints=True)
    process = run.start()
    folder = run.folder / "checkpoints"
    while process.is_alive() and not [*folder.glob("[0-9]*")]:  # before, nobody listens to it
        process.join(0.01)
    process.terminate()
    process.join()
    status, said = process.exitcode, run.said().strip().splitlines()
    run.to_the_end()
    record.metric("status_after_sigterm", status, "1")
    record.metric("bitwise_equal_after_sigterm", float(run.result() == wanted), "1")
    record.say(f"SIGTERM: status {status}. “{said[-1] if said else ''}”")


def _tear(
    config: Config,
    processes: Any,
    place: pathlib.Path,
    wanted: dict[str, bytes],
    record: Record,
) -> None:
    run = _Run(processes, config, place / "torn", checkpoints=True)
    run.to_the_end()
    (run.folder / "result.npz").unlink()
    newest = max((run.folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    largest = max(
        (path for path in newest.rglob("*") if path.is_file() and "state" in path.parts),
        key=lambda path: path.stat().st_size,
    )
    content = largest.read_bytes()
    largest.write_bytes(content[: len(content) // 2])
    run.to_the_end()
    record.metric("bitwise_equal_after_a_torn_checkpoint", float(run.result() == wanted), "1")
    said = run.said()
    record.say(f"A torn checkpoint: “{_sentence(said, 'is refused')}”")
    process = run.start(batch_size=16)
    process.join()
    record.metric("status_of_another_run", process.exitcode, "1")
    record.say(f"The folder of another run: “{_sentence(run.said(), 'can be taken')}”")
    kept = json.dumps(sorted(path.name for path in (run.folder / "checkpoints").iterdir()))
    record.say(f"Its checkpoints are still there: {kept}.")


def _sentence(said: str, words: str) -> str:
    lines = [line for line in said.splitlines() if words in line]
    return lines[-1].strip() if lines else ""
