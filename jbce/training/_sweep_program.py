"""One compiled program for all settings of an architecture: vmapped, cut to memory, spread."""

import collections
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ._checkpoints import digest_of, fingerprint, without_addresses
from ._data import Data, at_least_one, check_labels, logits_of_one
from ._extra import extra
from ._leaves import like, numbers_of
from ._loop import (
    History,
    Loss,
    Penalty,
    Recipe,
    Score,
    default_loss,
    initial_state,
    logits_of,
    mean_of,
    run_epochs,
)
from ._sweep_result import Outcome

with extra():
    import optax
    from flax import nnx

Setting = dict[str, Any]
Device = Any  # of jax.devices()
_AXIS = "trials"
# Of what a step changes, in bytes, for all trials that one core trains at once: its cache holds it.
_CACHED = 2**20


class Trial(NamedTuple):
    """What a setting is made into: a model, and how it is to learn."""

    model: nnx.Module
    optimizer: optax.GradientTransformation
    loss: Loss | None = None
    penalty: Penalty | None = None


class Program(NamedTuple):
    """Settings that differ in floating-point numbers only, which one program trains."""

    static: Setting
    numbers: list[int]  # of the settings, in the order of all


class Part(NamedTuple):
    """Trials that run at once: some settings of one program, each with some seeds."""

    settings: list[int]
    seeds: list[int]
    shape: tuple[int, int]  # of seeds and settings, the last ones repeated to fill it

    @property
    def name(self) -> str:
        return f"{self.settings[0]}-{self.settings[-1]}-seeds-{self.seeds[0]}-{self.seeds[-1]}"

    @property
    def trials(self) -> Iterator[tuple[int, int]]:
        """Each by its setting and its seed."""
        return itertools.product(self.settings, self.seeds)

    def unpacked(self, found: dict[str, np.ndarray]) -> Iterator[tuple[int, int, Outcome]]:
        for (r, seed), (s, setting) in itertools.product(
            enumerate(self.seeds), enumerate(self.settings)
        ):
            yield setting, seed, {name: np.asarray(array[r, s]) for name, array in found.items()}


class Runner:
    """What all chunks have in common."""

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
        self._check()

    def _check(self) -> None:
        """The first setting, as `fit` would check it."""
        trial = _made(self.make, self.rows[0], nnx.Rngs(0))
        logits = logits_of_one(trial.model, self.held)
        if trial.loss is None:
            check_labels("data", logits, self.held, learnt=True)
        check_labels("validation", logits, self.judged, learnt=False)

    def about(self) -> dict[str, Any]:
        return {
            "make": getattr(self.make, "__qualname__", repr(self.make)),
            "settings": [{name: _said(value) for name, value in row.items()} for row in self.rows],
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
        return fingerprint(jax.make_jaxpr(partial(_trained, plan))(*arguments))

    def plan(self, program: Program) -> "_Plan":
        return _Plan(
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
                size = _evenly(num_settings, size)
        shape = _shape(size, num_settings, num_seeds, len(self.devices))
        wanted = needed = self.bytes_of(program, shape)
        while needed > self.memory:
            fits = int(math.prod(shape) * self.memory / needed * 0.95)
            if math.prod(shape) == 1:
                raise MemoryError(
                    f"One trial alone needs {needed:,} bytes, but {self.memory:,} may be used."
                )
            fits = max(1, min(fits, num_settings * num_seeds - 1))
            shape = _shape(fits, num_settings, num_seeds, len(self.devices))
            needed = self.bytes_of(program, shape)
        if chunk is not None and wanted > self.memory:
            raise MemoryError(
                f"A chunk of {chunk} trials needs {wanted:,} bytes, but {self.memory:,} may be "
                f"used: chunk={math.prod(shape)} would fit."
            )
        return [
            Part([*numbers], [*seeds], shape)
            for seeds in _batched(self.seeds, shape[0])
            for numbers in _batched(program.numbers, shape[1])
        ]

    def _changed_bytes(self, program: Program) -> int:
        """What a step of one trial reads and writes: the model, and what its optimizer knows."""
        plan = self.plan(program)
        key, seeds, traced, _, judged = self.arguments(
            program, Part(program.numbers[:1], self.seeds[:1], (1, 1))
        )

        def begin(seed: jax.Array, one: dict[str, jax.Array]) -> Any:
            state = initial_state(*_begun(plan, jax.random.fold_in(key, seed), one, judged))
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
        return _compiled(self.plan(program), self.arguments(program, part))

    def arguments(self, program: Program, part: Part) -> tuple[Any, ...]:
        rows = _filled([self.rows[number] for number in part.settings], part.shape[1])
        traced = {
            name: np.array([row[name] for row in rows], np.float32)
            for name in rows[0]
            if name not in program.static
        }
        seeds = np.array(_filled(part.seeds, part.shape[0]), np.int32)
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
        found = _compiled(self.plan(program), arguments)(*arguments)
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
        model = _made(self.make, setting, nnx.Rngs(0)).model
        model.eval()
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        leaves, structure = jax.tree.flatten((params, rest))
        values = [like(leaf, outcome[f"model.{number}"]) for number, leaf in enumerate(leaves)]
        return nnx.merge(graphdef, *structure.unflatten(values))


class _Plan(NamedTuple):
    """What a program is compiled for, besides the shapes."""

    make: Callable[..., Trial]
    static: Setting
    epochs: int
    batch_size: int
    patience: int | None
    score: Score | None


# By plan and shapes: the programs of the last sweeps, which sweeps of the same `make` use again.
_PROGRAMS: collections.OrderedDict[Any, Any] = collections.OrderedDict()
_MOST_PROGRAMS = 32
_PROGRAMS_LOCK = threading.Lock()


def _compiled(plan: _Plan, arguments: tuple[Any, ...]) -> Any:
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple(
        (leaf.shape, str(leaf.dtype), getattr(leaf, "sharding", None)) for leaf in leaves
    )
    which = (plan._replace(static=_same(plan.static)), structure, shapes)  # pyright: ignore[reportArgumentType]
    with _PROGRAMS_LOCK:
        if which not in _PROGRAMS:
            _PROGRAMS[which] = jax.jit(partial(_trained, plan)).lower(*arguments).compile()
            while len(_PROGRAMS) > _MOST_PROGRAMS:
                _PROGRAMS.popitem(last=False)
        _PROGRAMS.move_to_end(which)
        return _PROGRAMS[which]


def _made(make: Callable[..., Trial], setting: Setting, rngs: nnx.Rngs) -> Trial:
    made = make(rngs, **setting)
    if not isinstance(made, Trial):
        raise TypeError(f"`make` must return a Trial, but a {type(made).__name__} came.")
    return made


def _trained(
    plan: _Plan,
    key: jax.Array,
    seeds: jax.Array,
    traced: dict[str, jax.Array],
    held: Data,
    judged: Data,
) -> dict[str, jax.Array]:
    """What training leaves, [seeds, settings, ..]."""

    def one(seed: jax.Array, values: dict[str, jax.Array]) -> dict[str, jax.Array]:
        order = jax.random.fold_in(key, seed)
        recipe, params, rest = _begun(plan, order, values, judged)
        state = initial_state(recipe, params, rest)
        state, history, done = run_epochs(
            recipe, plan.epochs, state, order, 0, plan.epochs, held, judged
        )
        best = state.best
        params, rest = state[:2] if best is None else best[:2]
        logits = logits_of(recipe.evaluating, params, rest, judged.features, plan.batch_size)
        leaves = [numbers_of(leaf) for leaf in jax.tree.leaves((params, rest))]
        return {
            **{f"model.{number}": leaf for number, leaf in enumerate(leaves)},
            **{name: getattr(history, name) for name in History._fields},
            "epochs": done,
            "best_epoch": done if best is None else best.epoch,
            "diverged": state.trouble.step >= 0,
            "logits": logits,
        }

    over_settings = jax.vmap(one, (None, 0), axis_size=None if traced else 1)
    return jax.vmap(over_settings, (0, None))(seeds, traced)


def _begun(
    plan: _Plan, order: jax.Array, values: dict[str, jax.Array], judged: Data
) -> tuple[Recipe, Any, Any]:
    """How a trial learns, and its model before it has: the parameters, and the rest."""
    init, noise = jax.random.split(jax.random.fold_in(order, 0))
    trial = _made(plan.make, plan.static | values, nnx.Rngs(params=init, default=noise))
    loss = trial.loss or default_loss
    labels = jnp.asarray(judged.labels)
    hard = labels.dtype == jnp.bool_ or jnp.issubdtype(labels.dtype, jnp.integer)
    trial.model.train()
    graphdef, params, rest = nnx.split(trial.model, nnx.Param, ...)
    trial.model.eval()
    recipe = Recipe(
        graphdef,
        nnx.graphdef(trial.model),
        trial.optimizer,
        loss,
        trial.penalty,
        plan.score or mean_of(default_loss if hard else loss),
        plan.batch_size,
        patience=plan.patience,
    )
    return recipe, params, rest


def programs(rows: list[Setting]) -> list[Program]:
    """The settings, by what cannot be traced."""
    traced = {name for name in rows[0] if all(isinstance(row[name], float) for row in rows)}
    groups: dict[Any, Program] = {}
    for number, row in enumerate(rows):
        static = {name: value for name, value in row.items() if name not in traced}
        which = (_same(static), None if traced else number)  # without a number to batch, each alone
        groups.setdefault(which, Program(static, [])).numbers.append(number)
    return [*groups.values()]


class _Itself:
    """A value that can only be told from others by being another."""

    def __init__(self, value: Any):
        self.value = value  # held, so that no other comes to its address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _same(value: Any) -> Any:
    """What is equal, and hashable, where settings are the same: by kind and by every number."""
    if isinstance(value, dict):
        return (dict, *((name, _same(part)) for name, part in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value), *map(_same, value))
    if isinstance(value, (np.ndarray, jax.Array)):
        return (type(value), digest_of([numbers_of(value)]))
    try:
        hash(value)
    except TypeError:
        return _Itself(value)
    return (type(value), value)


def _said(value: Any) -> str:
    """A setting in words that another process says, too, and that tell it from others."""
    if isinstance(value, (np.ndarray, jax.Array)):
        return f"array {digest_of([numbers_of(value)])}"
    return without_addresses(repr(value))


def _shape(size: int, num_settings: int, num_seeds: int, num_devices: int) -> tuple[int, int]:
    """Seeds and settings of about so many trials: settings first, which share their batches.

    One of the two is a multiple of the number of devices, unless there are fewer trials; only where
    all trials were to fit are there more of them than `size`.
    """
    settings = min(size, num_settings)
    seeds = max(1, min(size // settings, num_seeds))
    if (seeds * settings) > num_devices > 1 and settings % num_devices and seeds % num_devices:
        if size >= num_settings * num_seeds:
            settings = -(-settings // num_devices) * num_devices
        elif settings > num_devices:
            settings = settings // num_devices * num_devices
        else:
            settings, seeds = num_devices, max(1, size // num_devices)
    return seeds, settings


def _evenly(number: int, most: int) -> int:
    """The size of equal groups, of at most so many and as few as that allows."""
    return -(-number // -(-number // most))


def _batched(values: list[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(values), size):
        yield values[first : first + size]


def _filled(values: list[Any], size: int) -> list[Any]:
    return [*values, *[values[-1]] * (size - len(values))]


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
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
