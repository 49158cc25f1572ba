"""What do batch size and learning rate do to the path of gradient descent?

Command:  python -m experiments gradient_descent_path
Minutes:  0.5
Expect:   the variance of a batch gradient is what theory says to 4 % at every batch size; at a
          small rate the loss of batches that are drawn anew rests within 5 % of η·tr(C)/(4b) above
          its least, and that of shuffled epochs, at batches of 32, a quarter as far above.

A logistic regression of two numbers, slope and intercept, of one feature of scikit-learn's
breast-cancer data (the mean radius of the nuclei, standardised): small enough to draw the mean loss
as a map, with the ways down on it. The whole data descend straight, and slowly where the valley is
flat; batches wander about the same way; single examples stagger; beyond 2/λ, with λ the largest
second derivative at the optimum, the whole data jump over the valley and do not settle.

The gradient of a batch of b of the n examples scatters about that of all by tr(C)/b if each is
drawn anew, and by tr(C)/b·(n − b)/(n − 1) if none is drawn twice, with C the covariance of the
gradients of the examples. Both are measured, at the optimum, with intervals over seeds.

The scatter has a price. Near the optimum, at a small rate η, the loss stays above its least value
by η·tr(C)/(4b) on the mean: half the rate or twice the batch is half the distance. That holds for
batches that are drawn anew each time. Whoever goes through the examples in shuffled order, as
training does, sees every example once in an epoch; its errors cancel, and it comes nearer.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer

import jbce
from jbce import training

from ._drawing import COLOURS, DASHES, INK, label, legend, new_axes
from ._over_seeds import interval
from ._record import Record

ANEW, SHUFFLED = "drawn anew", "shuffled"
START = np.array([-2.5, -3.0], np.float32)


@dataclass(frozen=True)
class Config:
    """How to descend."""

    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """Beside the whole data."""
    rates: tuple[float, ...] = (0.025, 0.05, 0.1)
    """Learning rates as parts of the largest at which the whole data settle; the last is drawn."""
    too_large: float = 1.1
    """Likewise, for the path that does not settle."""
    num_steps: int = 6000
    """Of each path, of which the second half is at rest."""
    num_drawn: int = 120
    """Steps that the map shows."""
    num_batches: int = 400
    """From which a seed measures the scatter of gradients."""
    num_seeds: int = 12
    """Of the batches."""
    confidence: float = 0.95
    """Of the intervals, over the seeds."""
    seed: int = 0
    """The first of the seeds."""


class Problem(NamedTuple):
    """The examples, and what is known of their loss at its least."""

    features: np.ndarray
    """`[examples]`."""
    labels: np.ndarray
    """`[examples]`."""
    optimum: np.ndarray
    """Slope and intercept."""
    limit: float
    """The learning rate 2/λ."""
    gradients: np.ndarray
    """`[examples, 2]`, of each example's loss at the optimum."""

    @property
    def scatter(self) -> float:
        """The trace of the covariance of the gradients."""
        return float(self.gradients.var(axis=0).sum())


def run(config: Config, record: Record) -> None:
    """The map, the scatter, and its price."""
    problem = breast_cancer()
    record.metric("largest_rate", problem.limit, "1")
    record.metric("scatter_of_one_example", problem.scatter, "1")
    drawn = {size: descend(config, problem, size) for size in config.batch_sizes}
    draw_map(config, problem, drawn, record)
    measure_scatter(config, problem, record)
    measure_price(config, problem, drawn, record)


def mean_loss(params: jax.Array, features: jax.Array, labels: jax.Array) -> jax.Array:
    """Of slope and intercept."""
    logits = params[0] * features + params[1]
    return jbce.mean(jbce.sigmoid_binary_cross_entropy(logits, labels))


def breast_cancer() -> Problem:
    """569 tumours by the mean radius of their nuclei; 1 is malignant."""
    data: Any = load_breast_cancer()
    radius = data.data[:, 0]
    features = ((radius - radius.mean()) / radius.std()).astype(np.float32)
    labels = (data.target == 0).astype(np.float32)
    fitted = training.fit_logistic_regression(features[:, None], labels)
    optimum = np.asarray([fitted.kernel[0], fitted.bias])

    @jax.jit
    def about(params: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_each = jax.vmap(jax.grad(mean_loss), in_axes=(None, 0, 0))
        return of_each(params, features, labels), jax.hessian(mean_loss)(params, features, labels)

    gradients, hessian = (np.asarray(a, np.float64) for a in about(optimum))
    return Problem(features, labels, optimum, 2 / np.linalg.eigvalsh(hessian)[-1], gradients)


@jax.jit
def paths(problem: Problem, rates: jax.Array, batches: jax.Array) -> jax.Array:
    """Slope and intercept `[rates, seeds, steps, 2]`, by indices `[seeds, steps, batch]`."""

    def path(rate: jax.Array, indices: jax.Array) -> jax.Array:
        def step(params: jax.Array, batch: jax.Array) -> tuple[jax.Array, jax.Array]:
            examples = problem.features[batch], problem.labels[batch]
            return params - rate * jax.grad(mean_loss)(params, *examples), params

        return jax.lax.scan(step, jnp.asarray(START), indices)[1]

    return jax.vmap(jax.vmap(path, in_axes=(None, 0)), in_axes=(0, None))(rates, batches)


def descend(config: Config, problem: Problem, size: int) -> dict[str, np.ndarray]:
    """Paths `[rates, seeds, steps, 2]` of batches that are drawn anew, and of shuffled ones."""
    count, steps = len(problem.labels), config.num_steps
    random = np.random.default_rng(config.seed)
    per_epoch = count // size
    shuffled = [
        np.concatenate(
            [
                random.permutation(count)[: per_epoch * size].reshape(per_epoch, size)
                for _ in range(-(-steps // per_epoch))
            ]
        )[:steps]
        for _ in range(config.num_seeds)
    ]
    batches = {
        ANEW: random.integers(0, count, (config.num_seeds, steps, size)),
        SHUFFLED: np.stack(shuffled),
    }
    rates = np.asarray(config.rates, np.float32) * np.float32(problem.limit)
    held = jax.tree.map(jnp.float32, problem)
    return {
        how: np.asarray(paths(held, jnp.asarray(rates), jnp.asarray(indices, jnp.int32)))
        for how, indices in batches.items()
    }


def draw_map(config: Config, problem: Problem, drawn: dict[int, Any], record: Record) -> None:
    """The mean loss over slope and intercept, and four ways down."""
    shares = np.array([config.rates[-1], config.too_large], np.float32)
    whole = np.broadcast_to(
        np.arange(len(problem.labels), dtype=np.int32), (1, config.num_drawn, len(problem.labels))
    )
    held = jax.tree.map(jnp.float32, problem)
    rates = jnp.asarray(shares * np.float32(problem.limit))
    straight, jumping = np.asarray(paths(held, rates, jnp.asarray(whole)))[:, 0]
    below = excess(problem, straight[-1:])[0]
    record.metric("whole_data.excess_at_the_end", below, "nat")
    # The least of the last steps: it jumps from side to side.
    beyond = excess(problem, jumping[-config.num_drawn // 4 :]).min()
    record.metric("too_large_a_rate.excess_at_the_end", beyond, "nat")
    ways = {
        f"all {len(problem.labels)} examples": straight,
        **{
            f"batches of {size}" if size > 1 else "single examples": drawn[size][ANEW][-1, 0]
            for size in (config.batch_sizes[-1], config.batch_sizes[0])
        },
        f"all, rate {config.too_large:g} times the largest": jumping,
    }
    slopes, intercepts = np.linspace(-3.5, 8, 120), np.linspace(-4.5, 4, 100)
    grid = np.stack(np.meshgrid(slopes, intercepts), axis=-1).reshape(-1, 2)
    heights = (excess(problem, grid) + least(problem)).reshape(100, 120)
    figure, (axes, *_) = new_axes(height=4.4)
    axes.contour(
        *(slopes, intercepts, heights),
        levels=np.geomspace(least(problem) * 1.02, heights.max(), 14),
        colors=[INK],
        linewidths=0.6,
        alpha=0.45,
    )
    for (name, path), colour, dashes in zip(ways.items(), COLOURS, DASHES, strict=False):
        shown = path[: config.num_drawn]
        axes.plot(*shown.T, color=colour, linestyle=dashes, linewidth=1.3, label=name)
    axes.plot(*problem.optimum, marker="+", markersize=12, color=INK)
    axes.set_xlim(slopes[0], slopes[-1])
    axes.set_ylim(intercepts[0], intercepts[-1])
    label(axes, "slope", "intercept")
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    record.figure(
        "paths",
        figure,
        f"The mean loss over slope and intercept, and the first {config.num_drawn} steps from the "
        f"same start, at {config.rates[-1]:g} of the largest rate. The cross is the optimum.",
    )
    record.say(
        f"The whole data settle at rates below 2/λ = {problem.limit:.1f}. At {config.rates[-1]:g} "
        f"of it they are {below:.1e} nats above the least loss after {config.num_drawn} steps; at "
        f"{config.too_large:g} times the largest rate they stay {beyond:.3f} above it and more."
    )


def measure_scatter(config: Config, problem: Problem, record: Record) -> None:
    """The variance of the gradient over batches of every size."""
    count = len(problem.labels)
    sizes = [2**power for power in range(count.bit_length())]
    measured = np.zeros((2, config.num_seeds, len(sizes)))
    center = problem.gradients.mean(axis=0)
    for seed in range(config.num_seeds):
        random = np.random.default_rng([config.seed, seed])
        for _ in range(config.num_batches):
            order = random.permutation(count)
            for how, indices in enumerate((random.integers(0, count, sizes[-1]), order)):
                sums = np.cumsum(problem.gradients[indices], axis=0)
                means = np.stack([sums[size - 1] / size for size in sizes])
                measured[how, seed] += np.sum((means - center) ** 2, axis=-1) / config.num_batches
    without = (count - np.array(sizes)) / (count - 1)
    theory = problem.scatter / np.array(sizes) * np.stack([np.ones(len(sizes)), without])
    figure, (axes, *_) = new_axes()
    rows = []
    for how, name in enumerate((ANEW, "none twice")):
        middle, half = interval(measured[how], config.confidence)
        axes.plot(sizes, theory[how], color=COLOURS[how], linestyle=DASHES[how], linewidth=1.2)
        axes.errorbar(
            *(sizes, middle, half), color=COLOURS[how], fmt="os"[how], markersize=4, label=name
        )
        ratio, off = interval(np.mean(measured[how] / theory[how], axis=1), config.confidence)
        record.headline(
            f"scatter of batch gradients over theory, {name}", ratio, ratio - off, ratio + off
        )
        record.metric(f"scatter_over_theory.{name.replace(' ', '_')}", ratio, "1")
        rows.append(middle / theory[how])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    label(axes, "examples in a batch", "variance of the gradient")
    legend(axes)
    record.figure(
        "scatter",
        figure,
        "The variance of the gradient at the optimum (sum over slope and intercept), measured with "
        f"{config.confidence:.0%} intervals over the seeds, and what theory says: tr(C)/b (solid), "
        "and the same times (n − b)/(n − 1) (dashed).",
    )
    record.table(
        "Measured variance of the gradient over what theory says",
        ("examples in a batch", ANEW, "none twice"),
        [
            (f"{size}", f"{a:.3f}", f"{b:.3f}")
            for size, a, b in zip(sizes, rows[0], rows[1], strict=True)
        ],
    )


def measure_price(config: Config, problem: Problem, drawn: dict[int, Any], record: Record) -> None:
    """How far above the least loss the paths rest, beside η·tr(C)/(4b)."""
    rows = []
    for size, of_size in drawn.items():
        for place, share in enumerate(config.rates):
            theory = share * problem.limit * problem.scatter / (4 * size)
            cells = []
            for how in (ANEW, SHUFFLED):
                resting = of_size[how][place, :, config.num_steps // 2 :: 10]
                above = np.stack([excess(problem, path).mean() for path in resting])
                middle, half = interval(above, config.confidence)
                key = f"excess.batch_{size}.rate_{share:g}.{how.replace(' ', '_')}"
                record.metric(key, middle, "nat")
                record.metric(f"{key}.half_width", half, "nat")
                cells.append(f"{middle:.2e} ± {half:.0e}")
            record.metric(f"excess.batch_{size}.rate_{share:g}.theory", theory, "nat")
            rows.append((f"{size}", f"{share:g}", f"{theory:.2e}", *cells))
    record.table(
        "Nats above the least loss, at rest",
        ("batch", "rate", "η·tr(C)/(4b)", *(f"{how}" for how in (ANEW, SHUFFLED))),
        rows,
        note="Rates as parts of the largest at which the whole data settle; "
        f"{config.confidence:.0%} intervals over {config.num_seeds} seeds.",
    )
    size, share = config.batch_sizes[-1], config.rates[0]
    theory = share * problem.limit * problem.scatter / (4 * size)
    for how in (ANEW, SHUFFLED):
        resting = drawn[size][how][0, :, config.num_steps // 2 :: 10]
        above = np.stack([excess(problem, path).mean() for path in resting]) / theory
        middle, half = interval(above, config.confidence)
        what = f"excess loss over theory, batches of {size}, {how}"
        record.headline(what, middle, middle - half, middle + half)


def excess(problem: Problem, params: np.ndarray) -> np.ndarray:
    """Mean losses of `params` `[points, 2]` above the least, in float64."""
    return _mean_losses(problem, params) - least(problem)


def least(problem: Problem) -> float:
    """The least mean loss."""
    return float(_mean_losses(problem, problem.optimum[None])[0])


def _mean_losses(problem: Problem, params: np.ndarray) -> np.ndarray:
    slope, intercept = np.asarray(params, np.float64).T
    signs = np.where(problem.labels == 1, -1.0, 1.0)
    logits = slope[:, None] * problem.features.astype(np.float64) + intercept[:, None]
    return np.logaddexp(0, signs * logits).mean(axis=1)
