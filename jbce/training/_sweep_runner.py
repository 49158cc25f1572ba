"""What runs the parts of a sweep: cut to memory, side by side on cores, spread over devices."""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ._checkpoints import digest_of, fingerprint
from ._data import Data, at_least_one, check_labels, logits_of_one
from ._extra import extra
from ._leaves import like, numbers_of
from ._loop import Score, initial_state
from ._sweep_parts import Part, batched, evenly, filled, shape_of
from ._sweep_program import Plan, Trial, begun, compiled, made, trained
from ._sweep_result import Outcome
from ._sweep_settings import Program, Setting, programs, said

with extra():
    from flax import nnx

Device = Any  # of jax.devices()
_AXIS = "trials"
# Of what a step changes, in bytes, for all trials that one core trains at once: its cache holds it.
_CACHED = 2**20


class Runner:
    """What all parts of a sweep have in common."""

    def __init__(
        self,
        make: Callable[..., Trial],
        rows: list[Setting],
        seeds: list[int],
        held: Data,
        judged: Data,
        key: Any,
        *,
        epochs: int,
        batch_size: int,
        patience: int | None,
        score: Score | None,
        judged_by_default: bool = True,
        memory: int | None,
        devices: list[Device],
    ):
        self.make, self.rows, self.seeds, self.key = make, rows, seeds, key
        self.held, self.judged = held, judged
        self.data = jax.device_put((held, judged), _whole(devices))
        self.epochs, self.batch_size, self.patience = epochs, batch_size, patience
        self.score, self.devices = score, devices
        self.memory = _memory(devices[0]) if memory is None else memory
        # One program of small operations keeps one core busy; programs side by side keep them all.
        self.on_cpu = len(devices) == 1 and devices[0].platform == "cpu"
        self.cores = _num_cores() if self.on_cpu else 1
        self.logits = self._checked(judged_by_default)

    def _checked(self, judged_by_default: bool) -> jax.ShapeDtypeStruct:
        """The first setting, as `fit` would check it; its logits of one example."""
        trial = made(self.make, self.rows[0], nnx.Rngs(0))
        logits = logits_of_one(trial.model, self.held)
        if trial.loss is None:
            check_labels("data", logits, self.held, learnt=True)
        if trial.loss is None or judged_by_default:
            check_labels("validation", logits, self.judged, learnt=False)
        return logits

    def about(self) -> dict[str, Any]:
        return {
            "make": getattr(self.make, "__qualname__", repr(self.make)),
            "settings": [{name: said(value) for name, value in row.items()} for row in self.rows],
            "seeds": self.seeds,
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
            "data": digest_of(jax.tree.leaves(self.held)),
            "validation": digest_of(jax.tree.leaves(self.judged)),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "patience": self.patience,
            "programs": [self.text_of(program) for program in programs(self.rows)],
        }

    def text_of(self, program: Program) -> dict[str, str]:
        """A fingerprint of what `make` makes of the settings, and of what trains it."""
        part = Part(program.numbers[:1], self.seeds[:1], (1, 1))
        plan, arguments = self.plan(program), self.arguments(program, part)
        return fingerprint(jax.make_jaxpr(partial(trained, plan))(*arguments))

    def plan(self, program: Program) -> Plan:
        return Plan(
            self.make, program.static, self.epochs, self.batch_size, self.patience, self.score
        )

    def parts(self, program: Program, chunk: int | None) -> list[Part]:
        """The chunks of a program.

        Raises:
            MemoryError: not even one trial fits, or not the chunk that was asked for.
        """
        num_settings, num_seeds = len(program.numbers), len(self.seeds)
        size = num_settings * num_seeds
        if chunk is not None:
            size = min(at_least_one("chunk", chunk), size)
        elif self.on_cpu:
            cached = max(1, _CACHED // self._changed_bytes(program))
            size = min(cached, -(-size // self.cores))
            if size < num_settings:
                size = evenly(num_settings, size)
        shape = shape_of(size, num_settings, num_seeds, len(self.devices))
        wanted = needed = self.bytes_of(program, shape)
        while needed > self.memory:
            fits = int(math.prod(shape) * self.memory / needed * 0.95)
            if math.prod(shape) == 1:
                raise MemoryError(
                    f"One trial alone needs {needed:,} bytes, but {self.memory:,} may be used."
                )
            fits = max(1, min(fits, num_settings * num_seeds - 1))
            shape = shape_of(fits, num_settings, num_seeds, len(self.devices))
            needed = self.bytes_of(program, shape)
        if chunk is not None and wanted > self.memory:
            raise MemoryError(
                f"A chunk of {chunk} trials needs {wanted:,} bytes, but {self.memory:,} may be "
                f"used: chunk={math.prod(shape)} would fit."
            )
        return [
            Part([*numbers], [*seeds], shape)
            for seeds in batched(self.seeds, shape[0])
            for numbers in batched(program.numbers, shape[1])
        ]

    def _changed_bytes(self, program: Program) -> int:
        """What a step of one trial reads and writes: the model, and what its optimizer knows."""
        plan = self.plan(program)
        key, seeds, traced, _, judged = self.arguments(
            program, Part(program.numbers[:1], self.seeds[:1], (1, 1))
        )

        def begin(seed: jax.Array, one: dict[str, jax.Array]) -> Any:
            state = initial_state(*begun(plan, jax.random.fold_in(key, seed), one, judged))
            return [numbers_of(leaf) for leaf in jax.tree.leaves(state)]

        leaves = jax.eval_shape(begin, *jax.tree.map(lambda values: values[0], (seeds, traced)))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    def bytes_of(self, program: Program, shape: tuple[int, int]) -> int:
        """What the program of that many trials needs, as its compiler says."""
        analysis = self.program(program, shape).memory_analysis()
        return int(
            analysis.temp_size_in_bytes
            + analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
        )

    def program(self, program: Program, shape: tuple[int, int]) -> Any:
        part = Part(program.numbers[:1], self.seeds[:1], shape)
        return compiled(self.plan(program), self.arguments(program, part))

    def arguments(self, program: Program, part: Part) -> tuple[Any, ...]:
        rows = filled([self.rows[number] for number in part.settings], part.shape[1])
        traced = {
            name: np.array([row[name] for row in rows], np.float32)
            for name in rows[0]
            if name not in program.static
        }
        seeds = np.array(filled(part.seeds, part.shape[0]), np.int32)
        if len(self.devices) > 1:
            whole = _whole(self.devices)
            spread = NamedSharding(whole.mesh, PartitionSpec(_AXIS))
            over_seeds, over_settings = (size % len(self.devices) == 0 for size in part.shape)
            traced = jax.device_put(traced, spread if over_settings else whole)
            seeds = jax.device_put(seeds, spread if over_seeds and not over_settings else whole)
        return (self.key, seeds, traced, *self.data)

    def run(self, program: Program, part: Part) -> dict[str, np.ndarray]:
        """What the training of a part leaves, [seeds, settings, ..]."""
        arguments = self.arguments(program, part)
        found = compiled(self.plan(program), arguments)(*arguments)
        kept = (slice(len(part.seeds)), slice(len(part.settings)))
        return {name: np.asarray(array)[kept] for name, array in found.items()}

    def run_all(
        self,
        program: Program,
        parts: list[Part],
        keep: Callable[[Part, dict[str, np.ndarray]], None] | None = None,
    ) -> Iterator[tuple[Part, dict[str, np.ndarray]]]:
        """Each part as it is done: as many at once as there are cores, and as memory holds.

        `keep` is called with each first, also with those that end after an interruption.
        """
        if not parts:
            return
        held = max(1, self.memory // self.bytes_of(program, parts[0].shape))
        at_once = min(self.cores, len(parts), held)
        config: Any = jax.config
        nans, infs = config.jax_debug_nans, config.jax_debug_infs

        def run(part: Part) -> dict[str, np.ndarray]:
            with jax.debug_nans(nans), jax.debug_infs(infs):  # which a new thread does not inherit
                found = self.run(program, part)
            if keep is not None:
                keep(part, found)
            return found

        if at_once == 1:
            yield from ((part, run(part)) for part in parts)
            return

        pool = ThreadPoolExecutor(at_once)
        try:
            running = {pool.submit(run, part): part for part in parts}
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def rebuild(self, setting: Setting, outcome: Outcome) -> nnx.Module:
        """The model of a trial."""
        # The streams that it was made with: a model may keep them.
        model = made(self.make, setting, nnx.Rngs(params=0, default=0)).model
        model.eval()
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        leaves, structure = jax.tree.flatten((params, rest))
        stored = [outcome[f"model.{number}"] for number in range(_num_leaves(outcome))]
        shapes = [(leaf.shape, leaf.dtype) for leaf in map(numbers_of, leaves)]
        if shapes != [(array.shape, array.dtype) for array in stored]:
            raise ValueError(
                f"`make` makes another model of {setting} than it did in the sweep: with arrays "
                f"{[str(dtype) + str([*shape]) for shape, dtype in shapes]}, where "
                f"{[str(array.dtype) + str([*array.shape]) for array in stored]} were trained."
            )
        values = [like(leaf, numbers) for leaf, numbers in zip(leaves, stored, strict=True)]
        return nnx.merge(graphdef, *structure.unflatten(values))


def _whole(devices: list[Device]) -> Any:
    """Where all devices have the whole of something."""
    if len(devices) == 1:
        return devices[0]
    return NamedSharding(Mesh(np.array(devices), (_AXIS,)), PartitionSpec())


def _num_cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory(device: Device) -> int:
    stats = device.memory_stats()
    if stats and stats.get("bytes_limit"):
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    free = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(free) * os.sysconf("SC_PAGE_SIZE") // 2


def _num_leaves(outcome: Outcome) -> int:
    return sum(name.startswith("model.") for name in outcome)
