"""How long do the losses take beside Optax's, which are not exact?

Command:  python -m experiments benchmark losses
Minutes:  3
Expect:   the mean binary loss, value and gradient, in about 0.45 of Optax's time, and integer
          labels near 1.1 of it; dense labels are slower.

Times are medians of interleaved rounds, in the allocator regime that the environment record names.
By default every output of 32 MB and more is mapped and faulted in anew; with
MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 in the environment pages are recycled.
Temporaries are what the compiled program asks for (`memory_analysis`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
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


def run(config: Config) -> Iterator[Row]:
    """Binary by label dtype, bfloat16, then categorical by shape, integer and dense."""
    key = jax.random.key(0)
    logits = 3 * jax.random.normal(key, (config.size,))
    hard = jax.random.bernoulli(key, 0.5, (config.size,))

    for dtype, goals in BINARY_GOALS.items():
        labels = hard.astype(dtype)
        yield from _compare(f"binary, {dtype} labels", _binary, logits, labels, goals, config)
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


def _programs(loss: Function) -> dict[str, Function]:
    def average(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(loss(x, y))

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
    ours, theirs = (_programs(loss) for loss in losses)
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
