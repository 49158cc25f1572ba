"""As a network learns, where does its loss curve, and how much do its examples agree?

Command:  python -m experiments gradient_noise_and_curvature
Minutes:  1.5
Expect:   when half of the loss is learnt, 9 eigenvalues of the Hessian (one fewer than classes)
          stand apart from the others; |H − G|²/|H|² falls from 0.60 to 0.03, the noise scale
          rises from 31 to 6,000 examples, and EL2N comes to rank the gradients (0.99). In float32
          H·v of Optax's loss is off by 18 % at a mean loss of e^−18 and by 56 % at e^−53, ours by
          1e-6 and 3e-6.

A network of 32 tanh units on scikit-learn's digits, trained on log(mean loss) by full-batch Adam:
the direction of descent is that of the loss, and does not fade as the loss does, so that one run
goes from nothing learnt to every digit known by heart at margins that no float32 softmax holds.
On the way, at a few times that are even on a logarithmic scale:

    curvature    the Hessian H of the mean loss in all parameters by Lanczos' method, products of H
                 with vectors alone (full reorthogonalisation; seed 0 beside the eigenvalues of the
                 whole matrix), and the Gauss-Newton matrix G = mean Jᵀ(diag p − ppᵀ)J by
                 `jbce.curvature`. H − G is what the network's own second derivatives add; it is
                 weighed by the residuals p − y, and should die with them. Of G at most 9 directions
                 per example count; Sagun et al. (1706.04454) and Papyan (1901.08244) find as many
                 outliers in H as there are classes.

    noise        gradients of single examples: the noise scale tr Σ/|ḡ|² of McCandlish et al.
                 (1812.06162), about the batch from which on larger ones help little; the share of
                 Σ|g_i|² that the tenth of the examples with the largest has; and whether the norm
                 of the gradient in the logits, which costs nothing and which data pruning ranks by
                 (EL2N, Paul et al. 2107.07075), has the same order.

    arithmetic   the same products H·v with Optax's loss and with ours in float32, beside float64:
                 what is left of the curvature where 1 − p is rounding error?

`shares` are of the squared Frobenius norm, |H − G|²/|H|², by Rademacher vectors that both share.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
import scipy.linalg
import scipy.stats
import sklearn.datasets

import jbce
from jbce import curvature, logdomain

from ._drawing import label, legend, new_axes, new_rows, style_of
from ._over_seeds import interval, mean_interval
from ._record import Record

NUM_CLASSES = 10


@dataclass(frozen=True)
class Config:
    """How to train, and what to look at."""

    num_hidden: int = 32
    """Units of the network."""
    num_steps: int = 1_000
    """Of Adam."""
    learning_rate: float = 3e-3
    """Of Adam."""
    num_times: int = 9
    """At which to look, the first before any training."""
    num_vectors: int = 120
    """Of Lanczos' method."""
    num_probes: int = 8
    """Random vectors of the norms."""
    num_seeds: int = 10
    """Networks."""
    confidence: float = 0.95
    """Of the intervals over networks."""
    whole: bool = True
    """Hold Lanczos' method against the eigenvalues of the whole matrix, for the first network."""
    seed: int = 0
    """Of the first network."""


def run(config: Config, record: Record) -> None:
    """Train and look, network by network."""
    x, y = digits()
    first = np.unique(np.geomspace(1, config.num_steps, config.num_times - 1).astype(int))
    times = np.array([0, *first])
    found = [look(config, seed, times, x, y) for seed in seeds(config)]
    stacked = {name: np.stack([one[name] for one in found]) for name in found[0]}
    tell(config, times, stacked, record)
    if config.whole:
        middle = len(times) // 2
        params = snapshots(config, config.seed, times, x, y)[middle]
        tell_whole(config, int(times[middle]), params, x, y, record)


def seeds(config: Config) -> range:
    """Of the networks."""
    return range(config.seed, config.seed + config.num_seeds)


def digits() -> tuple[jax.Array, jax.Array]:
    """Images with pixels from −1 to 1, and which digit each shows."""
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    return jnp.asarray(images / 8 - 1, jnp.float32), jnp.asarray(labels, jnp.int32)


class Layers(NamedTuple):
    """Weights of the network."""

    kernel: jax.Array
    bias: jax.Array
    output: jax.Array
    output_bias: jax.Array


def initial(num_hidden: int, key: jax.Array) -> Layers:
    """Random weights."""
    first, second = jax.random.split(key)
    return Layers(
        jax.random.normal(first, (64, num_hidden)) / 8,
        jnp.zeros(num_hidden),
        jax.random.normal(second, (num_hidden, NUM_CLASSES)) / np.sqrt(num_hidden),
        jnp.zeros(NUM_CLASSES),
    )


def logits_of(layers: Layers, x: jax.Array) -> jax.Array:
    """The network."""
    hidden = jnp.tanh(x @ layers.kernel + layers.bias)
    return hidden @ layers.output + layers.output_bias


@partial(jax.jit, static_argnums=(0, 2))
def _snapshots(config: Config, key: jax.Array, times: tuple[int, ...], x: Any, y: Any) -> Layers:
    optimizer = optax.adam(config.learning_rate)

    def objective(layers: Layers) -> jax.Array:
        losses = logdomain.softmax_cross_entropy_with_integer_labels(logits_of(layers, x), y)
        return logdomain.mean(losses)

    def step(_: Any, state: Any) -> Any:
        layers, moments = state
        updates, moments = optimizer.update(jax.grad(objective)(layers), moments)
        return optax.apply_updates(layers, updates), moments

    def until(state: Any, number: Any) -> Any:
        state = jax.lax.fori_loop(0, number, step, state)
        return state, state[0]

    layers = initial(config.num_hidden, key)
    numbers = jnp.asarray(np.diff(times, prepend=0), jnp.int32)
    return jax.lax.scan(until, (layers, optimizer.init(layers)), numbers)[1]


def snapshots(config: Config, seed: int, times: np.ndarray, x: Any, y: Any) -> list[Layers]:
    """The weights at each of the times."""
    stacked = _snapshots(config, jax.random.key(seed), tuple(times.tolist()), x, y)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(len(times))]


# ---- products of the matrices with vectors -------------------------------------------------------

Product = Callable[[jax.Array], jax.Array]
EXACT = jbce.softmax_cross_entropy_with_integer_labels
USUAL = optax.softmax_cross_entropy_with_integer_labels


def hessian_product(loss: Any, layers: Layers, scale: Any, x: Any, y: Any) -> Product:
    """v ↦ H·v of the mean loss times a scale, forward over reverse."""
    flat, unflatten = jax.flatten_util.ravel_pytree(layers)
    gradient = jax.grad(lambda w: jnp.mean(scale * loss(logits_of(unflatten(w), x), y)))
    return lambda v: jax.jvp(gradient, (flat,), (v,))[1]


def gauss_newton_product(layers: Layers, scale: Any, x: jax.Array) -> Product:
    """v ↦ G·v of the mean loss times a scale."""
    flat, unflatten = jax.flatten_util.ravel_pytree(layers)

    def of_mean(logits: jax.Array, vectors: jax.Array) -> jax.Array:
        return curvature.softmax_hessian_product(logits, vectors) * (scale / len(x))

    return lambda v: curvature.gauss_newton_product(
        lambda w: logits_of(unflatten(w), x), flat, v, of_mean
    )


def lanczos(product: Product, start: jax.Array, number: int) -> tuple[jax.Array, jax.Array]:
    """Diagonal and off-diagonal of the matrix in the basis of Lanczos, orthogonal to rounding.

    Where the space is exhausted, what is left is rounding error and the last entries are 0.
    """

    def step(state: Any, i: jax.Array) -> Any:
        basis, vector, before = state
        basis = basis.at[i].set(vector)
        moved = product(vector)
        diagonal = moved @ vector
        for _ in range(2):
            moved = moved - basis.T @ (basis @ moved)
        size = jnp.linalg.norm(moved)
        there_is = size > 1e-6 * jnp.maximum(before, jnp.abs(diagonal))
        following = jnp.where(there_is, moved / jnp.where(there_is, size, 1), 0)
        largest = jnp.maximum(before, jnp.abs(diagonal))
        return (basis, following, largest), (diagonal, jnp.where(there_is, size, 0))

    start = start / jnp.linalg.norm(start)
    state = (jnp.zeros((number, start.size), start.dtype), start, jnp.zeros((), start.dtype))
    _, (diagonal, beside) = jax.lax.scan(step, state, jnp.arange(number))
    return diagonal, beside[:-1]


def ritz(diagonal: Any, beside: Any) -> np.ndarray:
    """Eigenvalues in the basis of Lanczos, from the largest down."""
    values: Any = scipy.linalg.eigvalsh_tridiagonal(np.asarray(diagonal), np.asarray(beside))
    return values[::-1]


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's."""
    found: Any = scipy.stats.spearmanr(a, b)
    return float(found.statistic)


# ---- what is seen at one time --------------------------------------------------------------------


@partial(jax.jit, static_argnums=(0,))
def _curvature(
    config: Config, layers: Layers, scale: Any, key: jax.Array, x: Any, y: Any
) -> dict[str, Any]:
    flat, _ = jax.flatten_util.ravel_pytree(layers)
    hessian = hessian_product(EXACT, layers, scale, x, y)
    gauss_newton = gauss_newton_product(layers, scale, x)
    probes = jax.random.rademacher(key, (config.num_probes, flat.size), flat.dtype)
    of_hessian, of_gauss_newton = (jax.lax.map(f, probes) for f in (hessian, gauss_newton))
    start = jax.random.normal(key, flat.shape, flat.dtype)
    return {
        "tridiagonal": lanczos(hessian, start, config.num_vectors),
        "share": jnp.sum((of_hessian - of_gauss_newton) ** 2) / jnp.sum(of_hessian**2),
        "trace": jnp.mean(jnp.sum(probes * of_hessian, axis=1)),
    }


@partial(jax.jit, static_argnums=(0,))
def _products(loss: Any, layers: Layers, scale: Any, probes: Any, x: Any, y: Any) -> jax.Array:
    return jax.lax.map(hessian_product(loss, layers, scale, x, y), probes)


@jax.jit
def _gradients(layers: Layers, x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
    flat, unflatten = jax.flatten_util.ravel_pytree(layers)

    def loss(w: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        return EXACT(logits_of(unflatten(w), x), y)

    gradients = jax.vmap(jax.grad(loss), (None, 0, 0))(flat, x, y)
    # relative to the largest, so that no square underflows
    scale = jnp.max(jnp.abs(gradients))
    gradients = gradients / jnp.where(scale > 0, scale, 1)
    squares = jnp.sum(gradients**2, axis=1)
    mean = jnp.mean(gradients, axis=0)
    of_mean = jnp.sum(mean**2)
    logits = logits_of(layers, x)
    return {
        "squares": squares,
        # unbiased for examples that were drawn
        "noise": (jnp.mean(squares) - of_mean) * len(x) / (len(x) - 1) / of_mean,
        "in logits": curvature.softmax_gradient_norm_with_integer_labels(logits, y),
        "log_loss": logdomain.mean(logdomain.softmax_cross_entropy_with_integer_labels(logits, y)),
    }


def look(config: Config, seed: int, times: np.ndarray, x: Any, y: Any) -> dict[str, np.ndarray]:
    """Everything that one network shows, by time."""
    rows = []
    for layers in snapshots(config, seed, times, x, y):
        key, seen = jax.random.key(1_000 + seed), _gradients(layers, x, y)
        # in units of the mean loss, so that no square of a curvature underflows
        scale = jnp.exp(-seen["log_loss"])
        bent = _curvature(config, layers, scale, key, x, y)
        values = ritz(*bent["tridiagonal"])
        squares = np.sort(np.asarray(seen["squares"], np.float64))[::-1]
        rows.append(
            {
                "log_loss": float(seen["log_loss"]),
                "values": values,
                "share of H − G": float(bent["share"]),
                "share of ten": values[:NUM_CLASSES].sum() / float(bent["trace"]),
                "most negative": -values[-1] / values[0],
                "noise": float(seen["noise"]),
                "share of a tenth": squares[: len(squares) // 10].sum() / squares.sum(),
                "rank": rank_correlation(seen["in logits"], seen["squares"]),
            }
            | errors_of_products(layers, scale, key, x, y)
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def errors_of_products(
    layers: Layers, scale: jax.Array, key: jax.Array, x: Any, y: Any
) -> dict[str, float]:
    """How far H·v in float32 is from float64, relative to its length."""
    flat, _ = jax.flatten_util.ravel_pytree(layers)
    probes = jax.random.rademacher(key, (2, flat.size), jnp.float32)
    with jax.enable_x64(True):
        doubles = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (layers, scale, probes, x))
        truth = np.asarray(_products(EXACT, *doubles, y))
    found = {
        name: np.asarray(_products(loss, layers, scale, probes, x, y), np.float64)
        for name, loss in (("error of jbce", EXACT), ("error of Optax", USUAL))
    }
    return {
        name: float(np.linalg.norm(product - truth) / np.linalg.norm(truth))
        for name, product in found.items()
    }


# ---- what to tell --------------------------------------------------------------------------------
MEASURES = (
    ("log_loss", "log loss", "log nat"),
    ("largest", "largest eigenvalue of H over the loss", "1"),
    ("share of ten", "share of the ten largest in tr H", "1"),
    ("most negative", "most negative, of the largest", "1"),
    ("share of H − G", "|H − G|²/|H|²", "1"),
    ("noise", "noise scale", "examples"),
    ("share of a tenth", "share of the steepest tenth", "1"),
    ("rank", "rank correlation with EL2N", "1"),
    ("error of Optax", "error of H·v, Optax", "1"),
    ("error of jbce", "error of H·v, jbce", "1"),
)
HEADLINES = ("share of ten", "share of H − G", "noise", "share of a tenth", "rank")


TABLES = {
    "Curvature of the mean loss": {
        "log_loss": "log loss",
        "largest": "λ₁/loss",
        "share of ten": "ten/tr H",
        "gap": "gap after",
        "most negative": "−λₙ/λ₁",
        "share of H − G": "H − G",
    },
    "Noise of its gradient, and what arithmetic leaves of H·v": {
        "noise": "noise scale",
        "share of a tenth": "tenth",
        "rank": "rank",
        "error of Optax": "Optax",
        "error of jbce": "jbce",
    },
}
NOTES = {
    "Curvature of the mean loss": "Log loss: the logarithm of the mean loss. λ: eigenvalues of H. "
    "Ten: the ten largest. Gap after: so many of the 20 largest come before the largest ratio of "
    "neighbours. H − G: |H − G|²/|H|².",
    "Noise of its gradient, and what arithmetic leaves of H·v": "Noise scale: in examples. Tenth: "
    "its share of the squared lengths of all examples' gradients. Rank: correlation of these with "
    "EL2N. Optax, jbce: relative error of H·v in float32.",
}


def gap(values: np.ndarray) -> np.ndarray:
    """After how many eigenvalues, of the 20 largest, the ratio to the next is largest."""
    return np.argmax(values[..., :20] / np.abs(values[..., 1:21]), axis=-1) + 1


def tell(config: Config, times: np.ndarray, found: dict[str, np.ndarray], record: Record) -> None:
    """A table over the times, the numbers to remember, and the figures."""
    found = found | {"largest": found["values"][..., 0], "gap": gap(found["values"])}
    for name, _, unit in MEASURES:
        for time, of_seeds in zip(times, found[name].T, strict=True):
            record.metric(f"{name.replace(' ', '_')}.step_{time}", np.median(of_seeds), unit)
    ends = ((0, "before training"), (-1, f"after {times[-1]:,} steps"))
    for name, words, unit in MEASURES:
        if name in HEADLINES:
            for place, when in ends:
                mean = mean_interval(found[name][:, place], config.confidence)
                record.headline(f"{words}, {when}", *mean, unit=unit)
    for name, words, _ in MEASURES[-2:]:
        record.headline(f"{words}, {ends[1][1]}", np.median(found[name][:, -1]))
    for title, names in TABLES.items():
        record.table(
            title,
            ("step", *names.values()),
            [
                (f"{time:,}", *(f"{np.median(found[name][:, place]):.3g}" for name in names))
                for place, time in enumerate(times)
            ],
            note=f"Medians over {config.num_seeds} networks. " + NOTES[title],
        )
    record.figure(
        "eigenvalues",
        figure_of_eigenvalues(times, found["values"]),
        "The 30 largest eigenvalues of the Hessian over the largest, by step; medians over the "
        "networks. The line: one fewer than there are classes.",
    )
    record.figure(
        "noise",
        figure_of_noise(config, times, found),
        "What is not Gauss-Newton in the Hessian, and the noise scale of the gradient; means with "
        f"{config.confidence:.0%} intervals.",
    )
    record.figure(
        "arithmetic",
        figure_of_errors(times, found),
        "How far products of the Hessian in float32 are from those in float64, relative to their "
        "length, over what is left of the loss; every network and time.",
    )


def tell_whole(
    config: Config, time: int, layers: Layers, x: jax.Array, y: jax.Array, record: Record
) -> None:
    """Lanczos' method beside the eigenvalues of the whole matrix."""
    flat, _ = jax.flatten_util.ravel_pytree(layers)
    product = jax.jit(hessian_product(EXACT, layers, 1.0, x, y))
    matrix = np.asarray(jax.lax.map(product, jnp.eye(flat.size), batch_size=64), np.float64)
    whole = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1]
    start = jax.random.normal(jax.random.key(1_000 + config.seed), flat.shape)
    number = min(config.num_vectors, flat.size)
    values = ritz(*jax.jit(partial(lanczos, product, number=number))(start))
    worst = np.max(np.abs(values[:NUM_CLASSES] / whole[:NUM_CLASSES] - 1))
    record.metric("lanczos.worst_of_ten", worst, "1")
    record.say(
        f"At step {time:,} the first network's ten largest eigenvalues by Lanczos' method are "
        f"within {worst:.1e} of those of the whole matrix of {flat.size:,} parameters, of which "
        f"{np.mean(np.abs(whole) > 1e-3 * whole[0]):.1%} are above a thousandth of the largest."
    )


def figure_of_eigenvalues(times: np.ndarray, values: np.ndarray) -> matplotlib.figure.Figure:
    """The largest eigenvalues by their number."""
    drawing, (axes,) = new_axes()
    middle = len(times) // 2
    chosen = sorted({0, middle, min(middle + 1, len(times) - 1), len(times) - 1})
    for index, place in enumerate(chosen):
        of_time = np.median(values[:, place, :30] / values[:, place, :1], axis=0)
        axes.plot(
            np.arange(1, len(of_time) + 1),
            of_time,
            label=f"step {times[place]:,}",
            **style_of(index),
        )
    axes.axvline(NUM_CLASSES - 1, color="#808080", linewidth=0.8)
    axes.set(yscale="log")
    label(axes, "number of the eigenvalue", "over the largest")
    legend(axes)
    return drawing


def figure_of_noise(
    config: Config, times: np.ndarray, found: dict[str, np.ndarray]
) -> matplotlib.figure.Figure:
    """Shares and the noise scale over the steps."""
    drawing, (upper, lower) = new_rows(2, sharex=True)
    names = ("share of H − G", "share of a tenth", "share of ten")
    words = dict((name, words) for name, words, _ in MEASURES)
    for index, (axes, name) in enumerate([*((upper, name) for name in names), (lower, "noise")]):
        mean, reach = interval(found[name], config.confidence)
        axes.plot(times, mean, label=words[name], **style_of(index))
        axes.fill_between(
            times, mean - reach, mean + reach, color=style_of(index)["color"], alpha=0.15
        )
    label(upper, "", "share")
    label(lower, "step", "noise scale (examples)")
    lower.set(xscale="symlog", yscale="log")
    upper.set(ylim=(0, None))
    legend(upper)
    return drawing


def figure_of_errors(times: np.ndarray, found: dict[str, np.ndarray]) -> matplotlib.figure.Figure:
    """Errors of products over the loss."""
    drawing, (axes,) = new_axes()
    for index, name in enumerate(("error of Optax", "error of jbce")):
        loss = found["log_loss"] / np.log(10)
        axes.plot(
            loss.ravel(),
            found[name].ravel(),
            linestyle="none",
            marker="os"[index],
            markersize=3,
            color=style_of(index)["color"],
            label=name.removeprefix("error of "),
        )
    axes.set(yscale="log")
    axes.invert_xaxis()
    label(axes, "mean loss (powers of 10, nats)", "relative error of H·v")
    legend(axes)
    return drawing
