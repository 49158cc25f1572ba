"""How long does it take to prove a gradient?

Command:  python -m experiments benchmark verify
Minutes:  3
Expect:   about a second for a loss on (16, 300) logits and for a network of 493 parameters, and
          less than 20 s for 200,000 entries; twice the entries take twice the time.

Wall-clock time of `jbce.verify.check_gradients` in a process that has compiled nothing of the kind
before: tracing, compiling and floats included. One core is used, beside what XLA takes to compile.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jbce
from jbce import verify

from .._benchmark import Row


@dataclass(frozen=True)
class Config:
    """What to time."""

    shrink: int = 1
    """Divides the entries of the large checks."""


def run(config: Config) -> Iterator[Row]:
    """A loss, ours and Optax's; a network; many entries."""
    logits = jax.random.normal(jax.random.key(0), (16, 300))
    labels = jnp.arange(16)
    for name, loss in {
        "jbce": jbce.softmax_cross_entropy_with_integer_labels,
        "Optax": optax.softmax_cross_entropy_with_integer_labels,
    }.items():
        seconds = _seconds(lambda x, loss=loss: jnp.mean(loss(x, labels)), logits)
        yield Row(f"{name}: integer labels, (16, 300)", seconds, "s", goal=2.0)
    yield Row("a network of 493 parameters, 32 rows", _network(), "s", goal=2.0)

    def binary(x: jax.Array) -> jax.Array:
        return jnp.mean(jnp.log1p(jnp.exp(-x)))

    counts = [count // config.shrink for count in (50_000, 100_000, 200_000)]
    times = []
    for count in counts:
        times.append(_seconds(binary, jax.random.normal(jax.random.key(1), (count,))))
        goal = 20.0 if count == counts[-1] else None
        yield Row(f"log loss of {count:,} entries", times[-1], "s", goal=goal)
    slope = float(np.polyfit(np.log(counts), np.log(times), 1)[0])
    yield Row("time grows with this power of the entries", slope, "1", goal=1.2)


def _seconds(function: Callable[..., Any], *args: Any) -> float:
    started = time.perf_counter()
    report = verify.check_gradients(function, *args)
    if report.verdict != "right":
        raise AssertionError(str(report))
    return time.perf_counter() - started


def _network() -> float:
    rngs = nnx.Rngs(0)
    network = nnx.Sequential(nnx.Linear(12, 30, rngs=rngs), jnp.tanh, nnx.Linear(30, 3, rngs=rngs))
    graph, state = nnx.split(network)
    features = jax.random.normal(jax.random.key(2), (32, 12))
    labels = jnp.arange(32) % 3

    def loss(state: Any) -> jax.Array:
        logits = nnx.merge(graph, state)(features)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    return _seconds(loss, state)
