"""How long do the losses take beside Optax's, which are not exact?

Command:  python -m experiments benchmark losses
Minutes:  11
Expect:   the mean binary loss in about 0.2 of Optax's time, with its gradient 0.3, and integer and
          dense labels near it.

Times are medians of interleaved rounds, each call after one of the same, whose memory it finds. By
default every output of 32 MB and more is mapped and faulted in anew; rows that start with "warm"
are from a second process whose allocator recycles most pages (MALLOC_MMAP_MAX_=0
MALLOC_TRIM_THRESHOLD_=100000000000). Temporaries are what the compiled program asks for
(`memory_analysis`). PyTorch's rows need the extra `peers` and a C++ compiler.
"""

import functools
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
import jbce.logdomain

from .._benchmark import Row, interleaved, temporary_megabytes

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
    only_variants: bool = False
    """Only options and variants beside their plain losses."""


WARM = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


def run(config: Config) -> Iterator[Row]:
    """Times in the default regime, then in the warm one, then the error of a large mean."""
    if config.only_variants:
        yield from _variants(config)
        return
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
    yield from _variants(config)


def _variants(config: Config) -> Iterator[Row]:
    """Variants and options beside their own plain loss, value and gradient of the mean."""
    key = jax.random.key(0)
    logits = 3 * jax.random.normal(key, (config.size // 2,))
    labels = jax.random.bernoulli(key, 0.5, logits.shape).astype(jnp.float32)
    yield from _beside_plain(
        "binary", jbce.sigmoid_binary_cross_entropy, VARIANTS["binary"](0), logits, labels, config
    )
    for examples, classes in CATEGORICAL_SHAPES[:3]:
        shape = (max(1, examples // config.shrink), classes)
        logits = 3 * jax.random.normal(key, shape)
        index = jax.random.randint(key, shape[:1], 0, classes)
        dense = jax.nn.softmax(jax.random.normal(key, shape))
        for name, plain, labels in (
            ("integer", jbce.softmax_cross_entropy_with_integer_labels, index),
            ("dense", jbce.softmax_cross_entropy, dense),
        ):
            variants = VARIANTS[name](classes)
            yield from _beside_plain(f"{name}, {shape}", plain, variants, logits, labels, config)


def _with_options(loss: Function, names: tuple[str, ...], classes: int) -> dict[str, Function]:
    weights = jnp.linspace(0.5, 2, classes) if classes else jnp.float32(3.0)
    values: dict[str, Any] = {
        "label_smoothing": 0.1,
        "pos_weight": weights,
        "class_weights": weights,
        "temperature": 2.0,
        "soft_cap": 30.0,
        "logit_adjustment": weights,
        "z_loss": 1e-4,
        "ignore": -100,
    }
    return {name: functools.partial(loss, **{name: values[name]}) for name in names}


OF_LOGITS = ("temperature", "soft_cap", "logit_adjustment")
VARIANTS: dict[str, Callable[[int], dict[str, Function]]] = {
    "binary": lambda classes: (
        _with_options(
            jbce.sigmoid_binary_cross_entropy,
            ("label_smoothing", "pos_weight", "ignore", *OF_LOGITS),
            0,
        )
        | {
            "sigmoid_focal_loss": jbce.sigmoid_focal_loss,
            "asymmetric_loss": jbce.asymmetric_loss,
            "in the log domain": jbce.logdomain.sigmoid_binary_cross_entropy,
        }
    ),
    "integer": lambda classes: (
        _with_options(
            jbce.softmax_cross_entropy_with_integer_labels,
            ("label_smoothing", "class_weights", "z_loss", "ignore", *OF_LOGITS),
            classes,
        )
        | {
            "softmax_focal_loss": jbce.softmax_focal_loss_with_integer_labels,
            "generalized_cross_entropy": jbce.generalized_cross_entropy_with_integer_labels,
            "symmetric_cross_entropy": jbce.symmetric_cross_entropy_with_integer_labels,
            "in the log domain": jbce.logdomain.softmax_cross_entropy_with_integer_labels,
        }
    ),
    "dense": lambda classes: (
        _with_options(
            jbce.softmax_cross_entropy,
            ("label_smoothing", "class_weights", "z_loss", *OF_LOGITS),
            classes,
        )
        | {
            "poly_loss_cross_entropy": jbce.poly_loss_cross_entropy,
            "softmax_kl_divergence": lambda x, q: jbce.softmax_kl_divergence(x, jnp.log(q)),
            "in the log domain": jbce.logdomain.softmax_cross_entropy,
        }
    ),
}


def _beside_plain(
    about: str,
    plain: Function,
    variants: dict[str, Function],
    logits: jax.Array,
    labels: jax.Array,
    config: Config,
) -> Iterator[Row]:
    programs: dict[str, Any] = {}
    for name, loss in {"plain": plain, **variants}.items():
        of_mean = _programs(loss, jbce.mean)["value and gradient"]
        programs[name] = jax.jit(of_mean).lower(logits, labels).compile()
    thunks = {name: _thunk(program, logits, labels) for name, program in programs.items()}
    for thunk in thunks.values():
        jax.block_until_ready(thunk())
    timings = interleaved(thunks, config.rounds)
    for name in variants:
        yield Row(
            f"{about}, {name}: value and gradient",
            1e3 * timings[name].median,
            "ms",
            beside=1e3 * timings["plain"].median,
            rival="the plain loss",
            goal=1.5,
        )
        yield Row(
            f"{about}, {name}: temporaries",
            temporary_megabytes(programs[name]),
            "MB",
            beside=temporary_megabytes(programs["plain"]),
            rival="the plain loss",
        )


_binary = (jbce.sigmoid_binary_cross_entropy, optax.sigmoid_binary_cross_entropy)
_integer = (
    jbce.softmax_cross_entropy_with_integer_labels,
    optax.softmax_cross_entropy_with_integer_labels,
)
_dense = (jbce.softmax_cross_entropy, optax.softmax_cross_entropy)


def _beside_torch(logits: jax.Array, labels: jax.Array, config: Config) -> Row:
    """Value and gradient beside what torch.compile makes of PyTorch's."""
    torch: Any = importlib.import_module("torch")
    # Compiled whole, and the fastest of four forms: torch.autograd.grad would end the program.
    value_and_gradient = torch.compile(
        importlib.import_module("torch.func").grad_and_value(
            torch.nn.functional.binary_cross_entropy_with_logits
        )
    )
    x, y = (torch.from_numpy(np.array(array)) for array in (logits, labels))
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
        temporaries = {who: temporary_megabytes(program) for who, program in programs.items()}
        yield Row(
            f"{name}: {kind}, temporaries",
            temporaries["jbce"],
            "MB",
            beside=temporaries["Optax"],
            rival="Optax",
        )


def _thunk(program: Any, logits: jax.Array, labels: jax.Array) -> Callable[[], Any]:
    return lambda: program(logits, labels)
