"""What does it cost never to have the logits of a large vocabulary?

Command:  python -m experiments benchmark linear
Minutes:  4
Expect:   value and gradient in about the time that the logits' own loss takes, in a fortieth of its
          memory, and forward mode in half the time.

The same functions of the same layer, hidden @ kernel: ours by blocks of classes, and Optax's loss
of all logits at once, both compiled by XLA. Times are medians of interleaved rounds; temporaries
are what the compiled program asks for (`memory_analysis`). Rows beside PyTorch's
`linear_cross_entropy` need the extra `peers`, those beside tokamax the package `tokamax`; each says
what it compares. On a GPU the layers are the heads of Gemma 2 2B and Qwen 3, in bfloat16.
"""

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jbce.linear import linear_softmax_cross_entropy

from .._benchmark import Row, interleaved, temporary_megabytes

# The goal for ours over that of all logits, in time, by what is asked for.
GOALS = {
    "value": 0.5,
    "value and gradient": 1.05,
    "jvp": 0.6,
    "Hessian-vector product": 1.4,
}
GPU_GOALS = {"value and gradient": 1.15}
MEMORY_GOAL = 1 / 25
GPU_SHAPES = ((8_192, 2_304, 256_000), (4_096, 4_096, 151_936))
BLOCK_SIZES = (512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Config:
    """What to time."""

    rows: int = 2_048
    """Examples."""
    features: int = 512
    """Of the hidden states."""
    classes: int = 65_536
    """Of the vocabulary."""
    rounds: int = 5
    """Calls of each program, interleaved with its rivals'."""


def run(config: Config) -> Iterator[Row]:
    """Ours beside all logits at once, other block sizes, and peers."""
    if jax.default_backend() == "gpu":
        for shape in GPU_SHAPES:
            yield from _beside_all_logits(_layer(*shape, "bfloat16"), GPU_GOALS, config.rounds)
            yield from _beside_bound(_layer(*shape, "bfloat16"), config.rounds)
        return
    layer = _layer(config.rows, config.features, config.classes, "float32")
    yield from _beside_all_logits(layer, GOALS, config.rounds)
    # A prime number of classes, as GPT-2 has, which no block size divides.
    ragged = _layer(config.rows, config.features, _prime_below(config.classes), "float32")
    yield from _beside_all_logits(ragged, {"value and gradient": 1.05}, config.rounds)
    yield from _beside_other_blocks(layer, config.rounds)
    if importlib.util.find_spec("tokamax"):
        yield from _beside_tokamax(layer, config.rounds)
    if importlib.util.find_spec("torch"):
        yield from _beside_torch(layer, config.rounds)


Layer = tuple[jax.Array, jax.Array, jax.Array]
Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def _layer(rows: int, features: int, classes: int, dtype: str) -> Layer:
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (rows, features), dtype)
    kernel = jax.random.normal(keys[1], (features, classes), dtype) * features**-0.5
    return hidden, kernel, jax.random.randint(keys[2], (rows,), 0, classes)


def _prime_below(number: int) -> int:
    return next(
        n for n in range(number - 1, 1, -1) if all(n % k for k in range(2, int(n**0.5) + 1))
    )


def _about(layer: Layer) -> str:
    hidden, kernel, _ = layer
    return f"{hidden.shape[0]} × {hidden.shape[1]} × {kernel.shape[1]}, {hidden.dtype}"


def _ours(hidden: jax.Array, kernel: jax.Array, labels: jax.Array, **options: Any) -> jax.Array:
    return jnp.mean(linear_softmax_cross_entropy(hidden, kernel, labels, **options))


def _of_all_logits(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    logits = jnp.matmul(hidden, kernel, preferred_element_type=jnp.float32)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def _programs(loss: Loss, layer: Layer) -> dict[str, Callable[..., Any]]:
    hidden, kernel, labels = layer
    tangents = jnp.cos(hidden), jnp.sin(kernel)

    def of(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
        return loss(hidden, kernel, labels)

    gradient = jax.grad(of, (0, 1))
    return {
        "value": of,
        "value and gradient": jax.value_and_grad(of, (0, 1)),
        "jvp": lambda *primals: jax.jvp(of, primals, tangents),
        "Hessian-vector product": lambda *primals: jax.jvp(gradient, primals, tangents)[1],
    }


def _timed(
    losses: dict[str, Loss], layer: Layer, kind: str, rounds: int
) -> dict[str, tuple[float, float]]:
    """Milliseconds and megabytes of each."""
    hidden, kernel, _ = layer
    programs = {
        who: jax.jit(_programs(loss, layer)[kind]).lower(hidden, kernel).compile()
        for who, loss in losses.items()
    }
    thunks = {who: functools.partial(program, hidden, kernel) for who, program in programs.items()}
    for thunk in thunks.values():
        jax.block_until_ready(thunk())
    timings = interleaved(thunks, rounds)
    return {
        who: (1e3 * timings[who].median, temporary_megabytes(program))
        for who, program in programs.items()
    }


def _beside_all_logits(layer: Layer, goals: dict[str, float], rounds: int) -> Iterator[Row]:
    for kind, goal in goals.items():
        found = _timed({"ours": _ours, "theirs": _of_all_logits}, layer, kind, rounds)
        about, rival = f"{_about(layer)}: {kind}", "all logits"
        ours, theirs = found["ours"], found["theirs"]
        yield Row(about, ours[0], "ms", theirs[0], rival, goal)
        memory_goal = MEMORY_GOAL if kind == "value and gradient" else None
        yield Row(f"{about}, temporaries", ours[1], "MB", theirs[1], rival, memory_goal)


def _beside_bound(layer: Layer, rounds: int) -> Iterator[Row]:
    """Beside the four products of matrices that there are, 8·N·D·V operations, and nothing else."""
    hidden, kernel, _ = layer

    @jax.jit
    def product(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.matmul(hidden, kernel)

    jax.block_until_ready(product(hidden, kernel))
    bound = interleaved({"product": lambda: product(hidden, kernel)}, rounds)["product"].median
    found = _timed({"ours": _ours}, layer, "value and gradient", rounds)["ours"]
    about = f"{_about(layer)}: value and gradient"
    yield Row(f"{about}, beside four products", found[0], "ms", 4e3 * bound, "4 matmul", 1.25)
    yield Row(f"{about}, temporaries", found[1], "MB", goal=1000)


def _beside_other_blocks(layer: Layer, rounds: int) -> Iterator[Row]:
    losses: dict[str, Loss] = {"chosen": _ours}
    for size in BLOCK_SIZES:
        losses[str(size)] = functools.partial(_ours, block_size=size)
    found = _timed(losses, layer, "value and gradient", rounds)
    best = min((size for size in found if size != "chosen"), key=lambda size: found[size][0])
    about = f"{_about(layer)}: value and gradient, block_size=None"
    yield Row(about, found["chosen"][0], "ms", found[best][0], f"block_size={best}", 1.1)
    for size in BLOCK_SIZES:
        milliseconds, megabytes = found[str(size)]
        about = f"{_about(layer)}: value and gradient, block_size={size}"
        yield Row(about, milliseconds, "ms", found["chosen"][0], "block_size=None")
        yield Row(f"{about}, temporaries", megabytes, "MB", found["chosen"][1], "block_size=None")


def _beside_tokamax(layer: Layer, rounds: int) -> Iterator[Row]:
    """Value and gradient; tokamax has no forward mode and no second derivatives."""
    tokamax: Any = importlib.import_module("tokamax")
    for implementation in ("xla", "chunked_xla"):

        def theirs(
            hidden: jax.Array, kernel: jax.Array, labels: jax.Array, name: str = implementation
        ) -> jax.Array:
            return tokamax.linear_softmax_cross_entropy_loss(
                hidden, labels, kernel, reduction="mean", implementation=name
            )

        try:
            theirs(*layer)
        except ValueError:  # not every version offers every implementation
            continue
        found = _timed({"ours": _ours, "theirs": theirs}, layer, "value and gradient", rounds)
        about = f"{_about(layer)}: value and gradient"
        rival = f"tokamax {implementation}"
        yield Row(f"{about}, beside {rival}", found["ours"][0], "ms", found["theirs"][0], rival)
        yield Row(
            f"{about}, temporaries, beside {rival}",
            found["ours"][1],
            "MB",
            found["theirs"][1],
            rival,
        )


def _beside_torch(layer: Layer, rounds: int) -> Iterator[Row]:
    """Value and gradient; the chunked form has no double backward and no forward mode."""
    torch: Any = importlib.import_module("torch")
    functional = torch.nn.functional
    if not hasattr(functional, "linear_cross_entropy"):
        return
    torch.set_num_threads(os.cpu_count() or 1)
    hidden, kernel, labels = layer
    h = torch.from_numpy(np.array(hidden)).requires_grad_()
    w = torch.from_numpy(np.array(kernel.T)).requires_grad_()
    y = torch.from_numpy(np.array(labels)).long()
    chunked = torch.nn.LinearCrossEntropyOptions()

    def gradient(loss: Callable[[], Any]) -> Any:
        return torch.autograd.grad(loss(), (h, w))[0]

    forms = {
        "cross_entropy of linear": lambda: functional.cross_entropy(functional.linear(h, w), y),
        "chunked linear_cross_entropy": lambda: functional.linear_cross_entropy(
            h, w, y, options=chunked
        ),
    }
    ours = jax.jit(_programs(_ours, layer)["value and gradient"])
    for name, loss in forms.items():
        thunks = {
            "ours": functools.partial(ours, hidden, kernel),
            "theirs": functools.partial(gradient, loss),
        }
        for thunk in thunks.values():
            jax.block_until_ready(thunk())
        timings = interleaved(thunks, rounds)
        yield Row(
            f"{_about(layer)}: value and gradient, beside PyTorch's {name}",
            1e3 * timings["ours"].median,
            "ms",
            1e3 * timings["theirs"].median,
            "PyTorch",
        )
