"""Why cross-entropy through a sigmoid, and not squared or absolute error?

Command:  python -m experiments squared_error
Minutes:  1
Expect:   from a start that is wrong by 6 nats, squared error takes 9.5 times as many steps as
          cross-entropy and absolute error 14 times, at the same rate; by 12 nats, 28 and 41 times.
          At the best of four rates (for them 100) it is one step beside two to six. Left alone
          for 1,500 steps without a penalty, cross-entropy overfits more: a held-out log loss of
          0.14, not 0.10.

Squared and absolute error can be taken of probabilities, too. Their gradient in the logit is that
of cross-entropy, p − y, times something that vanishes with the probability of the label: where a
model is sure and wrong it is told so by a whisper, and at worst not at all. Cross-entropy is the
loss whose gradient is the error itself.

A logistic regression on scikit-learn's breast-cancer data, by gradient descent with all examples,
starts from weights that are wrong on purpose: those of a good model, turned round, at several
sizes. How many steps are there until 90 % of the training examples are decided right, at the same
learning rate? And at the best of four rates, chosen for each loss and each start on other seeds
than those that are shown? A seed is a random half of the data to learn from; the log loss is that
of the other half.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer

import jbce
from jbce import metrics, numerics, training

from ._drawing import COLOURS, DASHES, label, legend, new_axes
from ._over_seeds import interval
from ._record import Record


def doubt(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 less the probability of the label, with all its digits."""
    return numerics.sigmoid(jnp.where(labels == 1, -logits, logits))


CROSS_ENTROPY = "cross-entropy"
LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    CROSS_ENTROPY: jbce.sigmoid_binary_cross_entropy,
    "squared error": lambda logits, labels: doubt(logits, labels) ** 2,
    "absolute error": doubt,
}


@dataclass(frozen=True)
class Config:
    """How wrong to start, and how to go on."""

    margins: tuple[float, ...] = (0.0, 3.0, 6.0, 9.0, 12.0)
    """Mean sizes of the logits at the start, all of them wrong way round."""
    rates: tuple[float, ...] = (1.0, 0.1, 10.0, 100.0)
    """Learning rates: the first is common to all, and one of them is the best."""
    num_steps: int = 1500
    """Of gradient descent at most."""
    accuracy: float = 0.9
    """Of the training examples, that is waited for."""
    num_seeds: int = 10
    """Halves of the data that are shown; as many others choose the rates."""
    confidence: float = 0.95
    """Of the intervals, over the seeds."""
    seed: int = 0
    """The first of the seeds."""


def run(config: Config, record: Record) -> None:
    """The losses as curves, then as teachers."""
    draw_losses(record)
    steps, losses = descend(config)
    # The first half of the seeds chooses; steps are compared by their logarithms.
    best = np.argmin(np.log(steps[: config.num_seeds]).mean(axis=0), axis=-1)
    steps, losses = steps[config.num_seeds :], losses[config.num_seeds :]
    of_best = np.take_along_axis(steps, best[None, ..., None], axis=-1)[..., 0]
    tell_steps(config, steps[..., 0], of_best, best, record)
    tell_losses(config, losses[..., 0], record)


def draw_losses(record: Record) -> None:
    """Values and gradients over the logit of an example whose label is 1."""
    logits, ones = jnp.linspace(-10.0, 5.0, 301), jnp.ones(301)
    figure, (left, right) = new_axes(2)
    for (name, loss), colour, dashes in zip(LOSSES.items(), COLOURS, DASHES, strict=False):
        gradient = jax.grad(lambda x, loss=loss: loss(x, ones).sum())
        style: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 1.8}
        left.plot(logits, loss(logits, ones), label=name, **style)
        right.plot(logits, gradient(logits), label=name, **style)
        worst = float(gradient(logits)[0])
        record.metric(f"gradient_at_-10.{name.replace(' ', '_').replace('-', '_')}", worst, "1")
    left.set_ylim(-0.2, 5)
    label(left, "logit of the label", "loss")
    label(right, "logit of the label", "gradient")
    legend(left, loc="upper right")
    record.figure(
        "losses",
        figure,
        "An example by the logit of its label, wrong to the left. The gradient of cross-entropy is "
        "largest where the model is most wrong; those of the others vanish there.",
    )


def descend(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Steps and final held-out log losses, `[seeds, losses, margins, rates]`; twice the seeds."""
    data: Any = load_breast_cancer()
    features = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    # A column of ones is the intercept.
    features = np.pad(features, [(0, 0), (0, 1)], constant_values=1).astype(np.float32)
    labels, half = data.target.astype(np.float32), len(data.target) // 2
    shape = (len(LOSSES), len(config.margins), len(config.rates))
    which, margin, rate = (indices.reshape(-1) for indices in np.indices(shape))
    shares = jnp.asarray(np.eye(len(LOSSES), dtype=np.float32)[which])
    margins = jnp.asarray(np.asarray(config.margins, np.float32)[margin])
    rates = jnp.asarray(np.asarray(config.rates, np.float32)[rate])

    @jax.jit
    def trained(examples: Any, held_out: Any) -> tuple[jax.Array, jax.Array]:
        x, y = examples
        good = training.fit_logistic_regression(x[:, :-1], y, penalty=1e-2)
        wrong = -jnp.append(good.kernel, good.bias)
        wrong = wrong / jnp.mean(jnp.abs(x @ wrong))

        def mean_loss(weights: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = x @ weights
            # One of the three, so that all train in one program.
            losses = jnp.stack([loss(logits, y) for loss in LOSSES.values()])
            return jnp.mean(share @ losses), jnp.mean((logits > 0) == (y == 1))

        def one(share: jax.Array, margin: jax.Array, rate: jax.Array) -> Any:
            def step(state: Any, number: jax.Array) -> tuple[Any, None]:
                weights, reached = state
                gradient, right = jax.grad(mean_loss, has_aux=True)(weights, share)
                arrived = (right >= config.accuracy) & (reached == config.num_steps)
                return (weights - rate * gradient, jnp.where(arrived, number, reached)), None

            start = margin * wrong, jnp.asarray(config.num_steps)
            (weights, reached), _ = jax.lax.scan(step, start, jnp.arange(config.num_steps))
            return reached, metrics.log_loss(held_out[0] @ weights, held_out[1])

        return jax.vmap(one)(shares, margins, rates)

    steps, losses = [], []
    for seed in range(2 * config.num_seeds):
        order = np.random.default_rng([config.seed, seed]).permutation(len(labels))
        parts = [(features[part], labels[part]) for part in (order[:half], order[half:])]
        reached, reached_loss = trained(*parts)
        steps.append(np.asarray(reached).reshape(shape))
        losses.append(np.asarray(reached_loss).reshape(shape))
    # A start that is right already has made no step; it counts as 1, so as to have a logarithm.
    return np.maximum(np.stack(steps), 1), np.stack(losses)


def tell_steps(
    config: Config, steps: np.ndarray, of_best: np.ndarray, best: np.ndarray, record: Record
) -> None:
    """Steps by loss and margin, `[seeds, losses, margins]`, and the ratio to cross-entropy's."""
    figure, (axes, *_) = new_axes()
    rows = []
    for place, name in enumerate(LOSSES):
        logs, half = interval(np.log(steps[:, place]), config.confidence)
        axes.errorbar(
            config.margins,
            np.exp(logs),
            yerr=np.stack([np.exp(logs) - np.exp(logs - half), np.exp(logs + half) - np.exp(logs)]),
            marker="os^"[place],
            markersize=5,
            linewidth=1.6,
            color=COLOURS[place],
            linestyle=DASHES[place],
            label=name,
        )
        ratio, ratio_half = interval(np.log(steps[:, place] / steps[:, 0]), config.confidence)
        for index, margin in enumerate(config.margins):
            key = f"{name.replace(' ', '_').replace('-', '_')}.margin_{margin:g}"
            arrived = int(np.sum(steps[:, place, index] < config.num_steps))
            at_best = np.exp(np.log(of_best[:, place, index]).mean())
            record.metric(f"{key}.steps", np.exp(logs[index]), "1")
            record.metric(f"{key}.arrived", arrived, "1")
            record.metric(f"{key}.steps_at_the_best_rate", at_best, "1")
            low, middle, high = np.exp(ratio[index] + np.array([-1, 0, 1]) * ratio_half[index])
            if place:
                record.metric(f"{key}.times_the_steps", middle, "1")
                record.metric(f"{key}.times_the_steps.low", low, "1")
                record.metric(f"{key}.times_the_steps.high", high, "1")
            rows.append(
                (
                    name,
                    f"{margin:g}",
                    f"{arrived}/{config.num_seeds}",
                    f"{np.exp(logs[index]):.0f}",
                    f"{middle:.1f} ({low:.1f} to {high:.1f})" if place else "1",
                    f"{at_best:.0f} at {config.rates[best[place, index]]:g}",
                )
            )
            if place and index == len(config.margins) // 2:
                what = f"steps of {name} for one of cross-entropy, {margin:g} nats wrong"
                record.headline(what, middle, low, high)
    axes.axhline(config.num_steps, color=COLOURS[-1], linewidth=0.8)
    axes.set_yscale("log")
    label(axes, "nats of confidence, wrong way round, at the start", "steps")
    legend(axes)
    record.figure(
        "steps",
        figure,
        f"Steps until {config.accuracy:.0%} of the training examples are decided right, at a rate "
        f"of {config.rates[0]:g}. The grey line is where waiting ended.",
    )
    record.table(
        f"Until {config.accuracy:.0%} are decided right, at a rate of {config.rates[0]:g}",
        ("", "start", "arrived", "steps", "times as many", "best rate"),
        rows,
        note=f"Geometric means and {config.confidence:.0%} intervals over {config.num_seeds} "
        f"seeds; those that did not arrive count {config.num_steps} steps, the least it can be. "
        "The last column: steps at the best of the rates.",
    )


def tell_losses(config: Config, losses: np.ndarray, record: Record) -> None:
    """Held-out log losses at the end, `[seeds, losses, margins]`."""
    middle, half = interval(losses, config.confidence)
    beyond, beyond_half = interval(losses - losses[:, :1], config.confidence)
    rows = []
    for index, margin in enumerate(config.margins):
        cells = [f"{margin:g}"]
        for place, name in enumerate(LOSSES):
            key = f"{name.replace(' ', '_').replace('-', '_')}.margin_{margin:g}.log_loss"
            record.metric(key, middle[place, index], "nat")
            record.metric(f"{key}.difference", beyond[place, index], "nat")
            record.metric(f"{key}.difference.half_width", beyond_half[place, index], "nat")
            differs = place > 0 and abs(beyond[place, index]) > beyond_half[place, index]
            star = "*" if differs else ""
            cells.append(f"{middle[place, index]:.3f} ± {half[place, index]:.3f}{star}")
        rows.append(tuple(cells))
    record.table(
        f"Log loss of the held-out half after {config.num_steps} steps",
        ("start", *LOSSES),
        rows,
        note=f"Nats, with {config.confidence:.0%} intervals over the seeds. An asterisk: differs "
        "from cross-entropy, in pairs.",
    )
