"""On separable data margins grow for ever: how far does arithmetic let them?

Command:  python -m experiments implicit_bias
Minutes:  0.5
Expect:   in float32 the worst margin stops at 14 nats and the direction at 0.949 of the largest
          margin; float64 at 34 nats and 0.975; exact arithmetic in float32 goes on to 83 nats and
          0.997, the logarithm to 810 nats and 0.999 (and no end in sight). A fixed step gets to
          6.5 nats, where no arithmetic matters.

Where a linear model can get every example right, the mean cross-entropy has no minimum: the weights
grow without bound, and their direction turns towards the one of the largest margin (Soudry,
Hoffer, Nacson, Gunasekar and Srebro, The implicit bias of gradient descent on separable data, JMLR
2018). With a fixed step that takes exponentially long, since the gradient fades as the loss does;
with a step that is divided by the loss (Nacson et al., AISTATS 2019; Lyu and Li, ICLR 2020) it is
fast, and meets the arithmetic at once: a softmax cross-entropy in float32 is exactly 0 from a
margin of 16.6 nats on, and there is nothing left to divide.

Softmax regression without intercept on scikit-learn's wines, standardised: 178 wines of 3 kinds and
13 measurements, which can be told apart. Every run learns from another random half. The same
descent on log(mean loss) with four losses, and one with a fixed step:

    float32, float64   Optax's loss, in that arithmetic throughout
    exact              jbce's loss in float32: right to the smallest normal number, 87 nats
    logarithm          jbce.logdomain in float32: the logarithm itself, without bound
    fixed step         jbce's loss in float32, and a step that is not divided by the loss

The margin of a direction is min (w_y − w_j)·x / |W| over examples and other classes; the largest
that there is comes from scikit-learn's multi-class support vector machine without slack.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
import sklearn.datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

import jbce
from jbce import logdomain

from ._drawing import label, legend, new_rows, style_of
from ._over_seeds import interval
from ._record import Record

FLOAT32 = "float32"
MEASURES = ("margin", "share", "log_loss")


@dataclass(frozen=True)
class Config:
    """How to descend."""

    num_steps: int = 20_000
    """Of each run."""
    learning_rate: float = 0.1
    """Of the logarithm of the mean loss."""
    fixed_learning_rate: float = 1.0
    """Of the mean loss itself, for the run with a fixed step."""
    num_seeds: int = 20
    """Random halves of the wines."""
    num_times: int = 50
    """Measurements on the way, evenly on a logarithmic scale."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the halves."""


def run(config: Config, record: Record) -> None:
    """Every loss on every half, and what came of the margins."""
    halves = halves_of(config)
    largest = np.array([largest_margin(*half) for half in halves])
    times = np.unique(np.geomspace(1, config.num_steps, config.num_times).astype(int))
    curves = {}
    for name, (dtype, descend) in DESCENTS.items():
        with jax.enable_x64(dtype == "float64"):
            x, y = (jnp.asarray(np.stack(parts)) for parts in zip(*halves, strict=True))
            path = jax.jit(jax.vmap(partial(path_of, descend, config, times)))
            curves[name] = {
                measure: np.asarray(values) for measure, values in path(x.astype(dtype), y).items()
            }
            curves[name]["share"] = curves[name].pop("direction") / largest[:, None]
    tell(config, times, curves, record)


def halves_of(config: Config) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random halves of the wines, each with features of its own mean 0 and deviation 1."""
    features, labels = sklearn.datasets.load_wine(return_X_y=True)
    halves = []
    for seed in range(config.seed, config.seed + config.num_seeds):
        chosen = np.random.default_rng(seed).permutation(len(labels))[: len(labels) // 2]
        x = np.asarray(features)[chosen]
        halves.append(((x - x.mean(0)) / x.std(0), np.asarray(labels)[chosen].astype(np.int32)))
    return halves


def largest_margin(features: np.ndarray, labels: np.ndarray) -> float:
    """The largest margin of a unit matrix of weights, by Crammer and Singer's machine."""
    machine = LinearSVC(
        multi_class="crammer_singer", C=1e4, fit_intercept=False, tol=1e-10, max_iter=100_000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights = machine.fit(features, labels).coef_.T
    return float(smallest(features @ weights, labels) / np.linalg.norm(weights))


def smallest(logits: np.ndarray, labels: np.ndarray) -> np.floating:
    """The smallest margin of the label over another class."""
    of_label = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
    others = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits).max(1)
    return np.min(of_label - others)


Descent = Callable[[Config, Any, Any, Any], jax.Array]


def _divided(loss: Callable[..., Any], config: Config, weights: Any, x: Any, y: Any) -> jax.Array:
    """The step of descent on log(mean loss); none where the mean loss is 0."""
    value, gradient = jax.value_and_grad(lambda w: jnp.mean(loss(x @ w, y)))(weights)
    there_is = value > 0
    return -config.learning_rate * jnp.where(
        there_is, gradient / jnp.where(there_is, value, 1), jnp.zeros_like(gradient)
    )


def _of_logarithm(config: Config, weights: Any, x: Any, y: Any) -> jax.Array:
    def objective(weights: Any) -> jax.Array:
        losses = logdomain.softmax_cross_entropy_with_integer_labels(x @ weights, y)
        return logdomain.mean(losses)

    return -config.learning_rate * jax.grad(objective)(weights)


def _fixed(config: Config, weights: Any, x: Any, y: Any) -> jax.Array:
    losses = jbce.softmax_cross_entropy_with_integer_labels
    gradient = jax.grad(lambda w: jnp.mean(losses(x @ w, y)))(weights)
    return -config.fixed_learning_rate * gradient


_OPTAX = partial(_divided, optax.softmax_cross_entropy_with_integer_labels)
DESCENTS: dict[str, tuple[str, Descent]] = {
    FLOAT32: ("float32", _OPTAX),
    "float64": ("float64", _OPTAX),
    "exact": ("float32", partial(_divided, jbce.softmax_cross_entropy_with_integer_labels)),
    "logarithm": ("float32", _of_logarithm),
    "fixed step": ("float32", _fixed),
}


def path_of(descend: Descent, config: Config, times: np.ndarray, x: Any, y: Any) -> dict[str, Any]:
    """Margins and loss after each of the times, from weights of 0."""
    num_classes = 3

    def step(weights: jax.Array, _: None) -> tuple[jax.Array, None]:
        return weights + descend(config, weights, x, y), None

    def until(weights: jax.Array, number: int) -> jax.Array:
        return jax.lax.fori_loop(0, number, lambda _, w: step(w, None)[0], weights)

    def measured(weights: jax.Array, number: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        weights = until(weights, number)
        logits = x @ weights
        is_label = jax.nn.one_hot(y, num_classes, dtype=bool)
        of_label = jnp.max(jnp.where(is_label, logits, -jnp.inf), axis=-1)
        margin = jnp.min(of_label - jnp.max(jnp.where(is_label, -jnp.inf, logits), axis=-1))
        losses = logdomain.softmax_cross_entropy_with_integer_labels(logits, y)
        return weights, {
            "margin": margin,
            "direction": margin / jnp.linalg.norm(weights),
            "log_loss": logdomain.mean(losses),
        }

    numbers = np.diff(times, prepend=0)
    weights = jnp.zeros((x.shape[-1], num_classes), x.dtype)
    return jax.lax.scan(measured, weights, jnp.asarray(numbers, jnp.int32))[1]


def tell(
    config: Config, times: np.ndarray, curves: dict[str, dict[str, np.ndarray]], record: Record
) -> None:
    """A table of the ends, and the paths."""
    rows = []
    for name, found in curves.items():
        key = name.replace(" ", "_")
        ends = {measure: found[measure][:, -1].astype(float) for measure in MEASURES}
        differences = ends["share"] - curves[FLOAT32]["share"][:, -1].astype(float)
        mean, reach = interval(differences, config.confidence)
        for measure, unit in zip(MEASURES, ("nat", "1", "log nat"), strict=True):
            record.metric(f"{key}.{measure}", np.median(ends[measure]), unit)
        cell = ""
        if name != FLOAT32:
            record.metric(f"{key}.difference", mean, "1")
            record.metric(f"{key}.difference.low", mean - reach, "1")
            record.metric(f"{key}.difference.high", mean + reach, "1")
            record.headline(
                f"share of the largest margin, {name} less float32",
                *(mean, mean - reach, mean + reach),
                interval=f"{config.confidence:.0%}",
            )
            cell = f"{mean:+.3f} ({mean - reach:+.3f} to {mean + reach:+.3f})"
        rows.append(
            (
                name,
                f"{np.median(ends['margin']):.4g}",
                f"10^{np.median(ends['log_loss']) / math.log(10):.4g}",
                f"{np.median(ends['share']):.4f}",
                cell,
            )
        )
    record.table(
        f"After {config.num_steps:,} steps on {config.num_seeds} halves of the wines",
        ("loss", "margin", "mean loss", "share", "share − float32's"),
        rows,
        note="margin: of the worst example, in nats, and share: of the largest margin that any "
        "direction has; medians over the halves. The difference is the mean of paired ones with "
        f"its {config.confidence:.0%} interval.",
    )
    record.figure(
        "margins",
        figure(times, curves),
        "What is missing to the largest margin, and the margin of the worst example, over the "
        "steps; medians and quartiles over the halves.",
    )


def figure(times: np.ndarray, curves: dict[str, dict[str, np.ndarray]]) -> matplotlib.figure.Figure:
    """Directions and margins over the steps."""
    drawing, (upper, lower) = new_rows(2, sharex=True)
    for index, (name, found) in enumerate(curves.items()):
        for axes, measure in ((upper, "share"), (lower, "margin")):
            values = 1 - found[measure] if measure == "share" else found[measure]
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
            axes.plot(times, middle, label=name, **style_of(index))
            axes.fill_between(times, low, high, color=style_of(index)["color"], alpha=0.15)
    label(upper, "", "missing of the largest margin")
    label(lower, "step", "margin (nats)")
    upper.set(xscale="log", yscale="log", ylim=(3e-4, 2))
    lower.set(yscale="symlog", ylim=(-1, 2e3))
    legend(lower, loc="upper left")
    return drawing
