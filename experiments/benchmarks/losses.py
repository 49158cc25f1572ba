"""How long do the losses take beside Optax's, which are not exact?

Command:  python -m experiments benchmark losses
Minutes:  8
Expect:   the mean binary loss, value and gradient, in about 0.45 of Optax's time, and integer
          labels near 1.1 of it; dense labels are slower.

Times are medians of interleaved rounds. By default every output of 32 MB and more is mapped and
faulted in anew; rows that start with "warm" are from a second process whose allocator recycles
pages (MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000). Temporaries are what the compiled
program asks for (`memory_analysis`). PyTorch's rows need the extra `peers` and a C++ compiler.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jbce

from .._benchmark import Row, interleaved

Function = Callable[[jax.Array, jax.Array], Any]

# the goal for ours over Optax's, by label dtype and what is asked for
BINARY_GOALS = {
    "int32": {"value": 0.25, "value and gradient": 0.40, "jvp": 0.25, "per example": 1.0},
    "bool": {"value": 0.25, "value and gradient": 0.40, "jvp": 0.25, "per example": 1.0},
    "float32": {"value": 0.35, "value and gradient": 0.42, "jvp": 0.25, "per example": 1.0},
}
BFLOAT16_GOALS = {"value": 0.12, "value and gradient": 0.10}
CATEGORICAL_SHAPES = ((65_536, 10), (8_192, 1_000), (1_024, 32_768), (256, 262_144))


@dataclass(frozen=True)
class Config:
    """What to time."""

    size: int = 10_000_000
    """Logits of the binary loss."""
    shrink: int = 1
    """Divides the number of examples of the categorical losses."""
    rounds: int = 9
    """Calls of each program, interleaved with its rival's."""
    mean_of: int = 100_000_000
    """Losses whose mean's error is measured."""
    warm: bool = True
    """Measure in both allocator regimes."""


WARM = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


def run(config: Config) -> Iterator[Row]:
    """Times in the default regime, then in the warm one, then the error of a large mean."""
    yield from _times(config)
    if config.warm:
        yield from _warm_times(config)
    yield _mean_error(config.mean_of)


def _warm_times(config: Config) -> Iterator[Row]:
    program = (
        "import json, sys\n"
        "from dataclasses import asdict\n"
        "from experiments.benchmarks import losses\n"
        "config = losses.Config(**json.loads(sys.argv[1]))\n"
        "print(json.dumps([asdict(row) for row in losses._times(config)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(asdict(config))],
        env=os.environ | WARM,
        stdout=subprocess.PIPE,
        check=True,
    )
    for row in json.loads(done.stdout):
        if not row["name"].endswith("temporaries"):
            yield Row(**row | {"name": f"warm, {row['name']}"})


def _mean_error(count: int) -> Row:
    logits = 3 * jax.random.normal(jax.random.key(1), (count,)) - 3
    losses = jbce.sigmoid_binary_cross_entropy(logits, jnp.zeros(count, jnp.int8))
    exact = float(np.mean(np.asarray(losses), dtype=np.longdouble))
    error = abs(float(jax.jit(jbce.mean)(losses)) / exact - 1)
    return Row(f"mean of {count:,} losses: relative error", error, "1", goal=2e-7)


def _times(config: Config) -> Iterator[Row]:
    """Binary by label dtype, bfloat16, then categorical by shape, integer and dense."""
    key = jax.random.key(0)
    logits = 3 * jax.random.normal(key, (config.size,))
    hard = jax.random.bernoulli(key, 0.5, (config.size,))

    for dtype, goals in BINARY_GOALS.items():
        labels = hard.astype(dtype)
        yield from _compare(f"binary, {dtype} labels", _binary, logits, labels, goals, config)
    if importlib.util.find_spec("torch"):
        yield _beside_torch(logits, hard.astype(jnp.float32), config)
    yield from _compare(
        "binary, bfloat16", _binary, logits.astype("bfloat16"), hard, BFLOAT16_GOALS, config
    )

    for examples, classes in CATEGORICAL_SHAPES:
        shape = (max(1, examples // config.shrink), classes)
        logits = 3 * jax.random.normal(key, shape)
        labels = jax.random.randint(key, shape[:1], 0, classes)
        large = classes > 100_000
        goals = {"value": 0.9 if large else 1.8, "value and gradient": 0.9 if large else 1.2}
        yield from _compare(f"integer, {shape}", _integer, logits, labels, goals, config)
    for examples, classes in CATEGORICAL_SHAPES[:3]:
        shape = (max(1, examples // config.shrink), classes)
        logits = 3 * jax.random.normal(key, shape)
        labels = jax.nn.softmax(jax.random.normal(key, shape))
        goals = {"value and gradient": 0.8}
        yield from _compare(f"dense, {shape}", _dense, logits, labels, goals, config)


_binary = (jbce.sigmoid_binary_cross_entropy, optax.sigmoid_binary_cross_entropy)
_integer = (
    jbce.softmax_cross_entropy_with_integer_labels,
    optax.softmax_cross_entropy_with_integer_labels,
)
_dense = (jbce.softmax_cross_entropy, optax.softmax_cross_entropy)


def _beside_torch(logits: jax.Array, labels: jax.Array, config: Config) -> Row:
    """Value and gradient beside what torch.compile makes of PyTorch's."""
    torch: Any = importlib.import_module("torch")

    @torch.compile
    def value_and_gradient(x: Any, y: Any) -> Any:
        value = torch.nn.functional.binary_cross_entropy_with_logits(x, y)
        return value, torch.autograd.grad(value, x)[0]

    x, y = (torch.from_numpy(np.array(array)) for array in (logits, labels))
    x.requires_grad_()
    torch.set_num_threads(os.cpu_count() or 1)
    ours = jax.jit(_programs(jbce.sigmoid_binary_cross_entropy, jbce.mean)["value and gradient"])
    thunks = {"jbce": _thunk(ours, logits, labels), "torch": lambda: value_and_gradient(x, y)[0]}
    for thunk in thunks.values():
        thunk()
    timings = interleaved(thunks, config.rounds)
    return Row(
        "binary, float32 labels: value and gradient, beside torch.compile",
        1e3 * timings["jbce"].median,
        "ms",
        beside=1e3 * timings["torch"].median,
        rival="PyTorch",
        goal=0.9,
    )


def _programs(loss: Function, mean: Callable[..., jax.Array]) -> dict[str, Function]:
    def average(x: jax.Array, y: jax.Array) -> jax.Array:
        return mean(loss(x, y))

    return {
        "value": average,
        "value and gradient": jax.value_and_grad(average),
        "jvp": lambda x, y: jax.jvp(lambda x: average(x, y), (x,), (x,)),
        "per example": loss,
    }


def _compare(
    name: str,
    losses: tuple[Function, Function],
    logits: jax.Array,
    labels: jax.Array,
    goals: dict[str, float],
    config: Config,
) -> Iterator[Row]:
    ours, theirs = _programs(losses[0], jbce.mean), _programs(losses[1], jnp.mean)
    for kind, goal in goals.items():
        programs: dict[str, Any] = {
            who: jax.jit(program).lower(logits, labels).compile()
            for who, program in (("jbce", ours[kind]), ("Optax", theirs[kind]))
        }
        thunks = {who: _thunk(program, logits, labels) for who, program in programs.items()}
        for thunk in thunks.values():
            jax.block_until_ready(thunk())
        timings = interleaved(thunks, config.rounds)
        yield Row(
            f"{name}: {kind}",
            1e3 * timings["jbce"].median,
            "ms",
            beside=1e3 * timings["Optax"].median,
            rival="Optax",
            goal=goal,
        )
        temporaries = {who: _temporary_megabytes(program) for who, program in programs.items()}
        yield Row(
            f"{name}: {kind}, temporaries",
            temporaries["jbce"],
            "MB",
            beside=temporaries["Optax"],
            rival="Optax",
        )


def _thunk(program: Any, logits: jax.Array, labels: jax.Array) -> Callable[[], Any]:
    return lambda: program(logits, labels)


def _temporary_megabytes(program: Any) -> float:
    return program.memory_analysis().temp_size_in_bytes / 1e6
