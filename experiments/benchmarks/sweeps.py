"""How much faster are many trainings in one program than one after the other, and until what size?

Command:  python -m experiments benchmark sweeps
Minutes:  6
Expect:   2,048 small logistic regressions in a sixth of the time of a loop of compiled fits; 256
          networks on the digits in a fifth, of which half is that all cores work; no gain by
          batching once a training alone keeps a core busy.

The loop calls one compiled function per training (the same epochs in one `lax.scan`, compiled
once), so that what is compared is batching and nothing else; of networks there is also a loop in
as many threads as cores, and all of them in one program. Seconds are medians of interleaved
rounds, without compiling; of rivals that take long, a share of the trainings is timed and scaled
up. scikit-learn fits with its defaults.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from jbce import training
from jbce.training._data import as_data
from jbce.training._sweep_parts import Part
from jbce.training._sweep_runner import Runner
from jbce.training._sweep_settings import programs

from .._benchmark import Row, interleaved


@dataclass(frozen=True)
class Config:
    """What to train."""

    shapes: tuple[tuple[int, int, int], ...] = ((2048, 64, 8), (256, 100, 20), (256, 1000, 20))
    """Of logistic regressions: how many, examples, features."""
    steps: int = 200
    """Of Adam, for each of them."""
    networks: int = 256
    """On the digits, of one hidden layer."""
    hidden_sizes: tuple[int, ...] = (32, 128, 512)
    """Of the networks; the first is the one with a goal."""
    epochs: int = 10
    """Of the networks."""
    batch_size: int = 64
    share: int = 16
    """Trainings of a loop that are timed, and scaled up to all."""
    rounds: int = 5


def run(config: Config) -> Iterator[Row]:
    """Logistic regressions by Adam and to the optimum, then networks of growing width."""
    for index, shape in enumerate(config.shapes):
        yield from _regressions(shape, config, goals=index == 0)
    for index, size in enumerate(config.hidden_sizes):
        yield from _networks(size, config, goal=4.0 if index == 0 else None)


def _regressions(shape: tuple[int, int, int], config: Config, *, goals: bool) -> Iterator[Row]:
    number, num_examples, num_features = shape
    first, second, third = jax.random.split(jax.random.key(0), 3)
    features = jax.random.normal(first, [number, num_examples, num_features])
    truth = jax.random.normal(second, [number, num_features])
    probs = jax.nn.sigmoid(jnp.einsum("mnd,md->mn", features, truth))
    labels = jax.random.bernoulli(third, probs).astype(jnp.int32)
    penalty = 1 / num_examples  # scikit-learn's default
    optimizer = optax.adam(0.1)

    def by_adam(features: jax.Array, labels: jax.Array) -> jax.Array:
        def loss(parameters: Any) -> jax.Array:
            import jbce

            logits = features @ parameters["kernel"] + parameters["bias"]
            mean = jbce.mean(jbce.sigmoid_binary_cross_entropy(logits, labels))
            return mean + penalty / 2 * jnp.sum(parameters["kernel"] ** 2)

        def step(state: Any, _: None) -> tuple[Any, None]:
            parameters, moments = state
            updates, moments = optimizer.update(jax.grad(loss)(parameters), moments)
            return (optax.apply_updates(parameters, updates), moments), None

        start = {"kernel": jnp.zeros([num_features]), "bias": jnp.zeros([])}
        (parameters, _), _ = jax.lax.scan(
            step, (start, optimizer.init(start)), None, length=config.steps
        )
        return parameters["kernel"]

    fit = partial(training.fit_logistic_regression, penalty=penalty)
    ways = {"Adam": by_adam, "Newton": lambda x, y: fit(x, y).kernel}
    together = {name: jax.jit(jax.vmap(way)) for name, way in ways.items()}
    alone = {name: jax.jit(way) for name, way in ways.items()}
    timed = range(min(config.share * 8, number))
    parts = [(features[index], labels[index]) for index in timed]

    def loop(name: str) -> None:
        jax.block_until_ready([alone[name](*part) for part in parts])

    def scikit() -> None:
        for part_features, part_labels in arrays:
            LogisticRegression().fit(part_features, part_labels)

    arrays = [tuple(map(np.asarray, part)) for part in parts[: config.share]]
    arrays = [pair for pair in arrays if len(np.unique(pair[1])) == 2]
    thunks: dict[str, Any] = {}
    for name in ways:
        thunks[name] = partial(together[name], features, labels)
        thunks[f"{name} loop"] = partial(loop, name)
    for thunk in thunks.values():
        jax.block_until_ready(thunk())
    thunks["scikit-learn"] = scikit
    scikit()
    seconds = {name: time.median for name, time in interleaved(thunks, config.rounds).items()}
    peer = seconds["scikit-learn"] / len(arrays) * number
    shown = f"{number:,} × {num_examples:,} × {num_features}"
    for name in ways:
        looped = seconds[f"{name} loop"] / len(parts) * number
        yield Row(
            f"{shown}, {name}",
            seconds[name],
            "s",
            looped,
            "a loop of compiled fits",
            goal=0.2 if goals and name == "Adam" else None,
        )
        yield Row(
            f"{shown}, {name}",
            seconds[name],
            "s",
            peer,
            "scikit-learn",
            goal=0.05 if goals and name == "Newton" else None,
        )
    kernels = {name: np.asarray(thunks[name]()) for name in ways}
    distance = np.abs(kernels["Adam"] - kernels["Newton"]).max()
    yield Row(f"{shown}: Adam's distance from the optimum", float(distance), "of a kernel")


def _networks(hidden_size: int, config: Config, *, goal: float | None) -> Iterator[Row]:
    features, labels = load_digits(return_X_y=True)
    data = as_data("data", ((features / 16).astype(np.float32), labels.astype(np.int32)))
    train, test = (
        as_data(
            "data", tuple(jax.tree.map(lambda a, part=part: a[part], (data.features, data.labels)))
        )
        for part in (slice(0, 1437), slice(1437, None))
    )
    num_rates, num_seeds = 16, -(-config.networks // 16)

    def make(rngs: nnx.Rngs, learning_rate: Any) -> training.Trial:
        return training.Trial(
            training.MLP(64, [hidden_size], 10, rngs=rngs), optax.adam(learning_rate)
        )

    rows = [{"learning_rate": float(rate)} for rate in np.geomspace(1e-3, 1e-2, num_rates)]
    runner = Runner(
        make,
        rows,
        [*range(num_seeds)],
        train,
        test,
        jax.random.key(0),
        epochs=config.epochs,
        batch_size=config.batch_size,
        patience=None,
        score=None,
        memory=None,
        devices=jax.local_devices()[:1],
    )
    (program,) = programs(rows)
    whole = Part(program.numbers, runner.seeds, (num_seeds, num_rates))
    parts = runner.parts(program, None)
    singles = [
        Part([index % num_rates], [index // num_rates], (1, 1)) for index in range(config.share)
    ]
    thunks = {
        "as `sweep` cuts them": lambda: [*runner.run_all(program, parts)],
        "in one program": lambda: runner.run(program, whole),
        "a loop in threads": lambda: [*runner.run_all(program, singles)],
        "loop": lambda: [runner.run(program, part) for part in singles],
    }
    found: Any = {name: thunk() for name, thunk in thunks.items()}
    seconds = {name: time.median for name, time in interleaved(thunks, config.rounds).items()}
    number = num_rates * num_seeds
    times = number / len(singles)
    looped = seconds["loop"] * times
    seconds["a loop in threads"] *= times
    multiplications = config.batch_size * (64 * hidden_size + hidden_size * 10)
    shown = (
        f"{number} networks of {hidden_size} units ({multiplications:.1g} multiplications a step)"
    )
    for index, name in enumerate([*thunks][:-1]):
        yield Row(
            f"{shown}, {name}",
            seconds[name],
            "s",
            looped,
            "a loop of compiled trainings",
            goal=1 / goal if goal is not None and index == 0 else None,
        )
    apart = max(
        float(
            np.abs(
                found["in one program"]["logits"][s.seeds[0], s.settings[0]] - one["logits"][0, 0]
            ).max()
        )
        for s, one in zip(singles, found["loop"], strict=True)
    )
    yield Row(f"{shown}: largest difference of a logit from the loop's", apart, "")
