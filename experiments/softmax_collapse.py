"""Grokking that stalls: is it softmax, its arithmetic, or the size of its gradient?

Command:  python -m experiments softmax_collapse
Minutes:  120
Expect:   at the end of `ladder` a median test accuracy of 0.06 with float16, 0.21 with bfloat16,
          0.15 with float32, 0.31 with float64, 0.24 with exact arithmetic, 0.42 with that and
          losses scaled past Adam's underflow; none of 20 runs generalises. With the logarithm 18 of
          20 do, and 16 with exact arithmetic whose gradient may not scale the weights (orthogonal).
          So do all 20 of zero-sum, whose gradient is wrong, and all that have the same gradient of
          purpose (let go): what stalls is the collapse, and what keeps exact arithmetic slow is
          that it lowers the loss by growing, as fast as Adam lets a loss fall, where the others
          turn. In `drift` the mean output column turns against the mean feature in float32 (cosine
          −0.99) and not with exact arithmetic (−0.18). Of the published size with 60 % learnt,
          after 6,000 steps, the logarithm has 0.998, zero-sum 0.996, orthogonal 0.991, exact
          arithmetic 0.415, float32 0.201. With 40 % nothing gets beyond 0.002 in 10,000 steps but
          zero-sum (0.037, and 0.21 in 30,000) and weight decay: float32 0.995, exact arithmetic
          0.93, the logarithm 0.55.

A small network learns to add modulo a prime number from a part of all pairs, by full-batch Adam
without weight decay (but for three arms). Long after it knows its part by heart it may begin to be
right about the rest (it "groks"). Prieto, Barsbey, Mediano and Birdal (Grokking at the edge of
numerical stability, ICLR 2025, arXiv 2501.04697) found that softmax cross-entropy stops that: past
a margin of 16.6 nats the others vanish beside the label's 1 in float32, the loss of a confident
example is exactly 0 and so is the gradient at its label. Their figure 2 has the loss in float16,
float32 and float64: the more digits, the later the collapse and the better the end. Liu, Cao, Li
and Zhou (Grokking or glitching?, arXiv 2605.06152) found what the others' gradients do then: they
do not sum to zero, so the output weights drift together against the mean of the features (figure
1).

What both lack is the control: the same softmax with exact arithmetic. The arms here differ in the
loss, or in weight decay, and in nothing else (same first weights, same examples, same optimiser,
seed by seed):

    float16 ... float64   Optax's loss of logits rounded to that dtype
    exact                 jbce's loss of float32 logits; exact, bfloat16: of rounded ones
    float32 × 2^55, exact × 2^55
                          the loss times a constant, which changes nothing but Adam's epsilon and
                          the underflow of its second moments: the control for both
    zero-sum              Optax's loss in float32, and each row of its gradient less its mean
    exact, let go         jbce's loss, and once it is below 2^-24 for an example, its gradient at
                          the label left out and the row less its mean: what zero-sum does after
                          the collapse, of purpose
    exact, orthogonal     jbce's loss, and once its mean is below 2^-24, of the gradient of each
                          layer only what is orthogonal to its weights (Prieto et al.'s ⊥Grad):
                          what does not merely scale them
    logarithm             the logarithm of the mean exact loss: the same direction of descent as
                          exact, but a gradient that does not fade as the loss does
    float32, decay; exact, decay; logarithm, decay
                          the same with AdamW's decoupled weight decay, in `figure2_40` only

`drift` is figure 1 of Liu et al. and `ladder` figure 2 of Prieto et al. at sizes that a laptop can
repeat for 20 seeds; `figure2_40`, `figure2_60` and `figure2_70` are of the published size, half an
hour a run on a core. `--curves FOLDER` keeps each finished run and does not run it again.
"""

import io
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
import scipy.stats
from rich.progress import track

import jbce
from jbce import logdomain
from jbce._whole_file import write_whole

from ._drawing import label, legend, new_rows, style_of
from ._over_seeds import mean_interval
from ._record import Record

FLOAT32, ZERO_SUM, EXACT, LOGARITHM = "float32", "zero-sum", "exact", "logarithm"
LET_GO, ORTHOGONAL = "exact, let go", "exact, orthogonal"
SCALE = 2.0**55
_UNSEEN = 2.0**-24  # what a float32 sum of exponentials no longer sees beside the label's 1
NAMES = {
    "test_accuracy": "test accuracy",
    "zero_losses": "learnt pairs of loss 0",
    "cosine": "cosine of output and feature",
    "mean_feature": "length of the mean feature",
}
HEADLINES = ("float64", ZERO_SUM, EXACT, LET_GO, ORTHOGONAL, "exact × 2^55", LOGARITHM)
GENERALISES = 0.95
"""Test accuracy from which on a run counts as one that has grokked."""


class Recipe(NamedTuple):
    """A task, a network and its training."""

    modulus: int
    width: int
    train_share: float
    learning_rate: float
    num_steps: int
    arms: tuple[str, ...]
    drawn: tuple[str, str] = ("test_accuracy", "zero_losses")
    """Two measures."""


class Arm(NamedTuple):
    """A loss per example, and how the losses become what is minimised."""

    losses: Callable[[jax.Array, jax.Array], jax.Array]
    objective: Callable[[jax.Array], jax.Array] = jnp.mean
    dtype: Any = jnp.float32
    """In which a softmax of the logits collapses, or would."""
    weight_decay: float = 0.0
    """Decoupled, as AdamW's: the share of a weight that a step takes is this times its rate."""
    orthogonal_below: float = 0.0
    """The mean loss from which on the part of a gradient along its weights is left out."""


def _ordinary(dtype: Any, logits: jax.Array, labels: jax.Array) -> jax.Array:
    rounded = logits.astype(dtype)
    losses = optax.softmax_cross_entropy_with_integer_labels(rounded, labels)
    return losses.astype(jnp.float32)


def _exact(dtype: Any, logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jbce.softmax_cross_entropy_with_integer_labels(logits.astype(dtype), labels)


@jax.custom_vjp
def _zero_sum(logits: jax.Array) -> jax.Array:
    return logits


def _less_its_mean(_: None, gradient: jax.Array) -> tuple[jax.Array]:
    return (gradient - jnp.mean(gradient, axis=-1, keepdims=True),)


_zero_sum.defvjp(lambda logits: (logits, None), _less_its_mean)


@jax.custom_vjp
def _let_go(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return logits


def _sure(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return logits, (_exact(jnp.float32, logits, labels) < _UNSEEN, labels)


def _without_label(known: tuple[jax.Array, jax.Array], gradient: jax.Array) -> Any:
    sure, labels = known
    is_label = jax.nn.one_hot(labels, gradient.shape[-1], dtype=bool)
    (projected,) = _less_its_mean(None, jnp.where(is_label, 0, gradient))
    return jnp.where(sure[:, None], projected, gradient), None


_let_go.defvjp(_sure, _without_label)


def _exact_let_go(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return _exact(jnp.float32, _let_go(logits, labels), labels)


def _scaled(losses: jax.Array) -> jax.Array:
    return SCALE * jnp.mean(losses)


_PLAIN = {
    "float16": Arm(partial(_ordinary, jnp.float16), dtype=jnp.float16),
    "bfloat16": Arm(partial(_ordinary, jnp.bfloat16), dtype=jnp.bfloat16),
    FLOAT32: Arm(partial(_ordinary, jnp.float32)),
    "float32 × 2^55": Arm(partial(_ordinary, jnp.float32), _scaled),
    "float64": Arm(partial(_ordinary, "float64"), dtype="float64"),
    ZERO_SUM: Arm(lambda logits, labels: _ordinary(jnp.float32, _zero_sum(logits), labels)),
    EXACT: Arm(partial(_exact, jnp.float32)),
    LET_GO: Arm(_exact_let_go),
    ORTHOGONAL: Arm(partial(_exact, jnp.float32), orthogonal_below=_UNSEEN),
    "exact, bfloat16": Arm(partial(_exact, jnp.bfloat16), dtype=jnp.bfloat16),
    "exact × 2^55": Arm(partial(_exact, jnp.float32), _scaled),
    LOGARITHM: Arm(logdomain.softmax_cross_entropy_with_integer_labels, logdomain.mean),
}
_DECAYED = {
    f"{arm}, decay": _PLAIN[arm]._replace(weight_decay=1.0) for arm in (FLOAT32, EXACT, LOGARITHM)
}
ARMS = _PLAIN | _DECAYED
_PUBLISHED = (
    *("float16", FLOAT32, "float64", ZERO_SUM),
    *(EXACT, ORTHOGONAL, "exact × 2^55", LOGARITHM),
)
RECIPES = {
    "drift": Recipe(
        31,
        100,
        0.7,
        1e-3,
        3_500,
        (FLOAT32, "float64", ZERO_SUM, EXACT),
        ("cosine", "mean_feature"),
    ),
    "ladder": Recipe(47, 128, 0.8, 5e-4, 8_000, tuple(_PLAIN)),
    "figure2_40": Recipe(113, 200, 0.4, 5e-4, 20_000, (*_PUBLISHED, *_DECAYED)),
    "figure2_60": Recipe(113, 200, 0.6, 5e-4, 20_000, _PUBLISHED),
    "figure2_70": Recipe(113, 200, 0.7, 5e-4, 20_000, _PUBLISHED),
}
Name = Literal["drift", "ladder", "figure2_40", "figure2_60", "figure2_70"]
MEASURES = (
    *("train_accuracy", "test_accuracy", "log_loss", "zero_losses", "zero_label_gradients"),
    *("collapsed", "row_sum", "cosine", "mean_feature", "largest_logit", "margin"),
)


@dataclass(frozen=True)
class Config:
    """What to train."""

    recipes: tuple[Name, ...] = ("ladder", "drift")
    """Tasks with their networks."""
    arms: tuple[str, ...] = ()
    """Losses to train with, of those of the recipe; none stands for all."""
    num_seeds: int = 20
    """Runs of each loss, paired by their examples and first weights."""
    num_steps: int = 0
    """Of a run; 0 stands for those of the recipe."""
    every: int = 250
    """Steps from one measurement to the next."""
    modulus: int = 0
    """Of the addition; 0 stands for that of the recipe."""
    curves: str = ""
    """A folder where finished runs are kept and found again; empty keeps none."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the first run; the others follow."""


def run(config: Config, record: Record) -> None:
    """Every recipe, every loss, every seed."""
    for name in config.recipes:
        recipe = RECIPES[name]
        num_steps = config.num_steps or recipe.num_steps
        if unknown := set(config.arms) - set(recipe.arms):
            raise ValueError(
                f"`arms` of {name} are {', '.join(map(repr, recipe.arms))}, but "
                f"{', '.join(map(repr, sorted(unknown)))} came."
            )
        if num_steps % config.every:
            raise ValueError(
                f"`num_steps` must be a multiple of `every`, but {num_steps} and {config.every} "
                "came."
            )
        recipe = recipe._replace(
            num_steps=num_steps,
            modulus=config.modulus or recipe.modulus,
            arms=tuple(arm for arm in recipe.arms if not config.arms or arm in config.arms),
        )
        curves = {arm: curves_of(name, recipe, arm, config) for arm in recipe.arms}
        describe(name, recipe, curves, config, record)


# ---- training ------------------------------------------------------------------------------------


class Task(NamedTuple):
    """All pairs, some of which are learnt."""

    train: np.ndarray
    """`[examples]`, numbers of pairs (a, b): a·modulus + b."""
    test: np.ndarray
    weights: tuple[np.ndarray, ...]
    """Of three layers without biases, before training."""


def task_of(recipe: Recipe, seed: int) -> Task:
    """The examples and first weights of a seed, the same for every loss.

    Weights are uniform within ±1/√fan_in, as PyTorch's are.
    """
    random = np.random.default_rng(seed)
    pairs = random.permutation(recipe.modulus**2)
    number = int(recipe.train_share * len(pairs))
    sizes = (2 * recipe.modulus, recipe.width, recipe.width, recipe.modulus)
    weights = (
        random.uniform(-(fan_in**-0.5), fan_in**-0.5, (fan_in, fan_out)).astype(np.float32)
        for fan_in, fan_out in itertools.pairwise(sizes)
    )
    return Task(pairs[:number].astype(np.int32), pairs[number:].astype(np.int32), tuple(weights))


def features_of(weights: Any, pairs: jax.Array, modulus: int) -> jax.Array:
    """What the last layer sees; the first one's one-hot inputs are a choice of rows."""
    first, second, _ = weights
    hidden = jax.nn.relu(first[pairs // modulus] + first[pairs % modulus + modulus])
    return jax.nn.relu(hidden @ second)


def labels_of(pairs: jax.Array, modulus: int) -> jax.Array:
    """The sums."""
    return (pairs // modulus + pairs % modulus) % modulus


def _less_along(gradient: jax.Array, weights: jax.Array) -> jax.Array:
    share = jnp.vdot(weights, gradient) / jnp.vdot(weights, weights)
    return gradient - share * weights


def trained(recipe: Recipe, arm: Arm, every: int, task: Task) -> dict[str, jax.Array]:
    """What is measured before training and after each `every` steps, `[times]` each."""
    optimizer = optax.chain(
        optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-25),
        optax.add_decayed_weights(arm.weight_decay) if arm.weight_decay else optax.identity(),
        optax.scale_by_learning_rate(recipe.learning_rate),
    )
    train, test = jnp.asarray(task.train), jnp.asarray(task.test)
    labels = labels_of(train, recipe.modulus)

    def objective(weights: Any) -> jax.Array:
        logits = features_of(weights, train, recipe.modulus) @ weights[-1]
        return arm.objective(arm.losses(logits, labels))

    def step(state: Any, _: None) -> tuple[Any, None]:
        weights, moments = state
        loss, gradient = jax.value_and_grad(objective)(weights)
        if arm.orthogonal_below:
            across = jax.tree.map(_less_along, gradient, weights)
            gradient = jax.tree.map(
                partial(jnp.where, loss < arm.orthogonal_below), across, gradient
            )
        updates, moments = optimizer.update(gradient, moments, weights)
        return (optax.apply_updates(weights, updates), moments), None

    def some_steps(state: Any, _: None) -> tuple[Any, dict[str, jax.Array]]:
        found = measured(recipe, arm, state[0], train, test)
        return jax.lax.scan(step, state, None, length=every)[0], found

    weights = tuple(jnp.asarray(leaf) for leaf in task.weights)
    state = (weights, optimizer.init(weights))
    state, found = jax.lax.scan(some_steps, state, None, length=recipe.num_steps // every)
    last = measured(recipe, arm, state[0], train, test)
    return {name: jnp.append(values, last[name]) for name, values in found.items()}


def measured(
    recipe: Recipe, arm: Arm, weights: Any, train: jax.Array, test: jax.Array
) -> dict[str, jax.Array]:
    """The numbers that are told of a network."""
    labels = labels_of(train, recipe.modulus)
    features = features_of(weights, train, recipe.modulus)
    logits = features @ weights[-1]
    unseen = features_of(weights, test, recipe.modulus) @ weights[-1]
    is_label = jax.nn.one_hot(labels, recipe.modulus, dtype=bool)
    gradient = jax.grad(lambda logits: arm.objective(arm.losses(logits, labels)))(logits)
    others = jnp.max(jnp.where(is_label, -jnp.inf, logits), axis=-1)
    # As softmax sees them: does the sum of exponentials differ from the largest, which is 1?
    rounded = logits.astype(arm.dtype)
    powers = jnp.exp(rounded - jnp.max(rounded, axis=-1, keepdims=True))
    mean_column = jnp.mean(weights[-1], axis=-1)
    mean_feature = jnp.mean(features, axis=0)
    at_label = jnp.sum(jnp.where(is_label, gradient, 0), axis=-1)
    exact = jbce.softmax_cross_entropy_with_integer_labels(logits, labels)
    # Gradients may be as small as 1e-30: relative to the largest, sums of them do not underflow.
    relative = gradient / jnp.maximum(jnp.max(jnp.abs(gradient)), jnp.finfo(jnp.float32).tiny)
    found = {
        "train_accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == labels),
        "test_accuracy": jnp.mean(jnp.argmax(unseen, axis=-1) == labels_of(test, recipe.modulus)),
        "log_loss": jbce.mean(exact),
        "zero_losses": jnp.mean(arm.losses(logits, labels) == 0),
        "zero_label_gradients": jnp.mean(at_label == 0),
        "collapsed": jnp.mean(jnp.sum(powers, axis=-1) == 1),
        "row_sum": jnp.sum(jnp.abs(jnp.sum(relative, axis=-1))) / jnp.sum(jnp.abs(relative)),
        "cosine": jnp.vdot(mean_column, mean_feature)
        / (jnp.linalg.norm(mean_column) * jnp.linalg.norm(mean_feature)),
        "mean_feature": jnp.linalg.norm(mean_feature),
        "largest_logit": jnp.max(jnp.abs(logits)),
        "margin": jnp.median(jnp.max(jnp.where(is_label, logits, -jnp.inf), axis=-1) - others),
    }
    return {name: value.astype(jnp.float32) for name, value in found.items()}


def curves_of(name: str, recipe: Recipe, arm: str, config: Config) -> dict[str, np.ndarray]:
    """By measure, `[seeds, times]`."""
    seeds = range(config.seed, config.seed + config.num_seeds)
    rows = [*track(_rows(name, recipe, arm, config, seeds), f"{name}, {arm}", len(seeds))]
    return {measure: np.stack([row[measure] for row in rows]) for measure in MEASURES}


def _rows(
    name: str, recipe: Recipe, arm: str, config: Config, seeds: range
) -> Iterator[dict[str, np.ndarray]]:
    # Each operation of 16 bits rounds, where XLA may otherwise keep more digits.
    strict = {"xla_allow_excess_precision": False}
    compiled = jax.jit(partial(trained, recipe, ARMS[arm], config.every), compiler_options=strict)
    for seed in seeds:
        path = Path(config.curves) / _file_of(name, recipe, arm, config.every, seed)
        if config.curves and path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                yield {measure: kept[measure] for measure in MEASURES}
            continue
        with jax.enable_x64(ARMS[arm].dtype == "float64"):
            found = jax.tree.map(np.asarray, compiled(task_of(recipe, seed)))
        if config.curves:
            path.parent.mkdir(parents=True, exist_ok=True)
            contents = io.BytesIO()
            np.savez(contents, **found)
            write_whole(path, contents.getvalue(), overwrite=False)
        yield found


def _file_of(name: str, recipe: Recipe, arm: str, every: int, seed: int) -> str:
    """Of a finished run, by all that it depends on."""
    numbers = (recipe.modulus, recipe.width, recipe.train_share, recipe.learning_rate)
    parts = (name, *numbers, ARMS[arm].weight_decay, recipe.num_steps, every, arm, seed)
    text = "-".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)
    return text.replace(" ", "").replace("×", "x") + ".npz"


# ---- the report ----------------------------------------------------------------------------------


def describe(
    name: str,
    recipe: Recipe,
    curves: dict[str, dict[str, np.ndarray]],
    config: Config,
    record: Record,
) -> None:
    """Tables and figures of a recipe, and the differences that its pairs of runs show."""
    title = (
        f"{name}: addition modulo {recipe.modulus}, {recipe.train_share:.0%} of the pairs learnt, "
        f"width {recipe.width}, {recipe.num_steps:,} steps of {recipe.learning_rate:g}, "
        f"{config.num_seeds} seeds"
    )
    rows, mechanics = [], []
    for arm, found in curves.items():
        key = f"{name}.{arm.replace(' × ', '_times_').replace(', ', '_').replace('^', '_')}"
        test = found["test_accuracy"][:, -1]
        successes = int(np.sum(test >= GENERALISES))
        low, high = proportion_interval(successes, len(test), config.confidence)
        difference = paired_interval(test, curves, config.confidence)
        for measure in MEASURES:
            record.metric(f"{key}.{measure}", np.median(found[measure][:, -1]), "1")
        record.metric(f"{key}.generalised", successes / len(test), "1")
        record.metric(f"{key}.generalised.low", low, "1")
        record.metric(f"{key}.generalised.high", high, "1")
        if difference is not None and arm != FLOAT32:
            for end, value in zip(("", ".low", ".high"), difference, strict=True):
                record.metric(f"{key}.difference{end}", value, "1")
            if arm in HEADLINES and name != "drift":
                record.headline(f"{name}: test accuracy, {arm} less float32", *difference)
        rows.append(
            (
                arm,
                f"{np.median(test):.3f}",
                f"{test.min():.3f} to {test.max():.3f}",
                "" if difference is None or arm == FLOAT32 else _shown(difference),
                f"{successes}/{len(test)} ({low:.2f} to {high:.2f})",
                _half_collapsed(found, config),
            )
        )
        mechanics.append(
            (
                arm,
                *(
                    f"{np.median(found[measure][:, -1]):.2g}"
                    for measure in (
                        *("log_loss", "zero_losses", "zero_label_gradients"),
                        *("row_sum", "cosine", "mean_feature", "largest_logit"),
                    )
                ),
            )
        )
    percent = f"{config.confidence:.0%}"
    record.table(
        title,
        ("loss", "test", "range", "− float32", f"≥ {GENERALISES:.0%}", "collapse"),
        rows,
        note="test: accuracy on the pairs that were not learnt, at the end, median over seeds, and "
        f"range. − float32: mean paired difference with its {percent} interval (Student's). "
        f"≥ {GENERALISES:.0%}: runs that end there, with the {percent} interval of the share "
        "(Wilson's). collapse: the median step at which half of the learnt pairs have collapsed in "
        "the dtype of the logits, or would with an ordinary softmax.",
    )
    record.table(
        f"{name}: what happened inside, at the last step, median over seeds",
        ("loss", "log loss", "0 loss", "0 label", "Σ row", "cos", "|mean|", "logit"),
        mechanics,
        note="log loss: exact, of the learnt pairs. 0 loss, 0 label: shares of them whose loss, or "
        "gradient at the label, is exactly 0. Σ row: |sum| of each row of the logits' gradient "
        "relative to the sum of |entries|. cos: of the mean output column and the mean feature; "
        "|mean|: length of the latter. logit: the largest.",
    )
    for arm in (FLOAT32, EXACT):
        if name == "drift" and arm in curves and config.num_seeds > 1:
            cosines = curves[arm]["cosine"][:, -1].astype(float)
            record.headline(
                f"{name}: cosine of the mean output column and the mean feature, {arm}",
                *mean_interval(cosines, config.confidence),
            )
    record.figure(name, figure(recipe, curves, config), f"{title}. Median and quartiles.")


def paired_interval(
    test: np.ndarray, curves: dict[str, dict[str, np.ndarray]], confidence: float
) -> tuple[float, float, float] | None:
    """The mean difference from float32's final test accuracy over the seeds, and its interval."""
    if FLOAT32 not in curves or len(test) < 2:
        return None
    differences = test.astype(float) - curves[FLOAT32]["test_accuracy"][:, -1]
    return mean_interval(differences, confidence)


def proportion_interval(successes: int, number: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a proportion."""
    interval = scipy.stats.binomtest(successes, number).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _shown(difference: tuple[float, float, float]) -> str:
    mean, low, high = difference
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def _half_collapsed(found: dict[str, np.ndarray], config: Config) -> str:
    steps = [
        config.every * int(np.argmax(row >= 0.5)) if (row >= 0.5).any() else math.inf
        for row in found["collapsed"]
    ]
    median = float(np.median(steps))
    return f"{median:,.0f}" if math.isfinite(median) else "never"


def figure(
    recipe: Recipe, curves: dict[str, dict[str, np.ndarray]], config: Config
) -> matplotlib.figure.Figure:
    """The two measures that the recipe is about, over the steps."""
    drawing, both = new_rows(2, sharex=True)
    for index, (arm, found) in enumerate(curves.items()):
        steps = config.every * np.arange(found["test_accuracy"].shape[1])
        for axes, measure in zip(both, recipe.drawn, strict=True):
            low, middle, high = np.quantile(found[measure], (0.25, 0.5, 0.75), axis=0)
            axes.plot(steps, middle, label=arm, **style_of(index))
            axes.fill_between(steps, low, high, color=style_of(index)["color"], alpha=0.12)
    for axes, measure in zip(both, recipe.drawn, strict=True):
        label(axes, "step" if axes is both[-1] else "", NAMES[measure])
        if measure == "mean_feature":
            axes.set_yscale("log")
    if len(curves) <= 6:
        legend(both[0], ncols=2, loc="best", fontsize=7)
    else:
        lines = both[0].get_lines()
        legend(drawing, handles=lines, loc="outside upper left", ncols=4, fontsize=7)
    return drawing
