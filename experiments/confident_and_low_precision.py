"""Does exact arithmetic matter on an ordinary task, or only for those who look closely?

Command:  python -m experiments confident_and_low_precision
Minutes:  5
Expect:   no effect on training (test log loss, ours less Optax's: −0.000 ± 0.011 with float32
          logits, +0.015 ± 0.051 with bfloat16) although 90 % of Optax's bfloat16 losses are exactly
          0, and none on distillation. Ranking by the loss: 74 % of Optax's bfloat16 losses equal
          the median, so that pruning draws lots; none of ours. Membership inference does not
          suffer: the ties raise its AUROC from 0.606 to 0.631. Influence does: with bfloat16 logits
          Optax's gradients are off by 69 %, and their influence ranks examples with a correlation
          of 0.62 with the truth, ours of 0.9999; with float32 logits both are right. Long gradients
          find the wrong labels all the same (0.89).

Four places where a confident classifier might feel that its loss has lost its digits, on the
digits that scikit-learn carries; a tenth of the training labels are wrong, and are learnt by heart.

Training: the same networks with Optax's loss and with ours, of float32 logits and of logits rounded
to bfloat16 and float16, paired seed by seed. Ranking: the losses of one and the same network's
examples, as data pruning, hard-example mining and membership inference by the loss (Carlini et al.,
Membership inference attacks from first principles, 2022) use them: how many are equal, and how well
does minus the loss, or the log-odds, tell examples that were learnt from others? Influence: the
gradient gᵢ of each example that was learnt, and what leaving it out would do to the mean loss on
the test half, ḡᵀ(G + λI)⁻¹gᵢ (Koh and Liang, Understanding black-box predictions via influence
functions, ICML 2017; G the Gauss-Newton matrix and λ the mean of its eigenvalues, estimated by 32
random vectors, both in float64, so that only gradients differ), beside the same from float64; and
do long gradients point at the labels that are wrong (self-influence, Pruthi et al., Estimating
training data influence by tracing gradient descent, NeurIPS 2020)? Distillation: a student learns
from what a confident teacher says, as probabilities or as logits.

Intervals are Student's over the seeds; the seeds differ in the network's first weights, the order
and the split of the examples are the same, so they speak of these examples.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.scipy.sparse.linalg
import numpy as np
import optax
import scipy.stats
import sklearn.datasets
from flax import nnx

import jbce
from jbce import curvature, metrics, training

from ._over_seeds import mean_interval
from ._record import Record

OPTAX, OURS = LIBRARIES = ("Optax", "jbce")


@dataclass(frozen=True)
class Config:
    """How to train."""

    num_seeds: int = 10
    """Networks of each kind."""
    num_epochs: int = 200
    """Passes through the training half."""
    hidden_size: int = 128
    """Units of the hidden layer; of the student, an eighth."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    """Of the logits; the first is that of the networks that are ranked and that teach."""
    temperatures: tuple[int, ...] = (1, 4)
    """Of the distillation."""
    noise: float = 0.1
    """Share of the training labels that are replaced by others."""
    learning_rate: float = 1e-2
    """Of Adam."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the split, the noise and the first network."""


class Digits(NamedTuple):
    """Half of the images to learn from, with some wrong labels, and half to judge."""

    train: np.ndarray
    given: np.ndarray
    """Labels as they are learnt."""
    wrong: np.ndarray
    """Which of them are wrong."""
    test: np.ndarray
    test_labels: np.ndarray


def run(config: Config, record: Record) -> None:
    """Training, ranking, influence, distillation."""
    digits = load(config)
    logits, models = train(config, digits, record)
    rank(config, digits, logits, record)
    trace(config, digits, models, record)
    distil(config, digits, logits, record)


def load(config: Config) -> Digits:
    """A random half of the digits with noise in its labels, and the other half without."""
    data: Any = sklearn.datasets.load_digits()
    random = np.random.default_rng(config.seed)
    order = random.permutation(len(data.target))
    images, labels = (data.data[order] / 16).astype(np.float32), data.target[order].astype(np.int32)
    half = len(labels) // 2
    wrong = random.uniform(size=half) < config.noise
    given = np.where(wrong, (labels[:half] + random.integers(1, 10, half)) % 10, labels[:half])
    return Digits(images[:half], given.astype(np.int32), wrong, images[half:], labels[half:])


def loss_of(library: str, dtype: str, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss of rounded logits, as its user would call it.

    A cast alone may be left out by the compiler, which may keep more digits than are asked for. The
    gradient is that of a cast: `reduce_precision` would round it, too, and make subnormals 0.
    """
    info, fixed = jnp.finfo(dtype), jax.lax.stop_gradient(logits)
    rounded = jax.lax.reduce_precision(fixed, info.nexp, info.nmant) + (logits - fixed)
    rounded = rounded.astype(dtype)
    if library == OPTAX:
        losses = optax.softmax_cross_entropy_with_integer_labels(rounded, labels)
        return losses.astype(jnp.float32)
    return jbce.softmax_cross_entropy_with_integer_labels(rounded, labels)


# ---- training ------------------------------------------------------------------------------------


def train(config: Config, digits: Digits, record: Record) -> tuple[np.ndarray, list[nnx.Module]]:
    """Both libraries, every dtype; logits, [seeds, train and test, 10], and models of ours."""

    def make(rngs: nnx.Rngs, library: str, dtype: str) -> training.Trial:
        return training.Trial(
            training.MLP(64, [config.hidden_size], 10, rngs=rngs),
            optax.adam(config.learning_rate),
            partial(loss_of, library, dtype),
        )

    logits, models = swept(
        config,
        make,
        {"library": LIBRARIES, "dtype": config.dtypes},
        (digits.train, digits.given),
        digits.test,
        digits.test_labels,
    )
    half = len(digits.given)
    rows = []
    for library, dtype in logits:
        found = {
            who: _about(logits[who, dtype], digits, partial(loss_of, who, dtype))
            for who in LIBRARIES
        }
        cells = [f"{library}, {dtype}"]
        for measure, values in found[library].items():
            record.metric(f"{library}.{dtype}.{measure.replace(' ', '_')}", values.mean(), "1")
            cells.append(f"{values.mean():.4f}")
        if library == OURS:
            for measure in ("test accuracy", "test log loss"):
                apart = mean_interval(
                    found[OURS][measure] - found[OPTAX][measure], config.confidence
                )
                _keep(record, f"{measure}, {dtype} logits: jbce less Optax", apart)
                cells.append(_shown(apart))
        rows.append(tuple(cells) if library == OURS else (*cells, "", ""))
    record.table(
        f"{config.num_seeds} networks each, {config.num_epochs} epochs, {half} images to learn, "
        f"{config.noise:.0%} with a wrong label",
        ("loss", "learnt", "zero", "accuracy", "log loss", "Δ accuracy", "Δ log loss"),
        rows,
        note="learnt: accuracy on the labels that were learnt. zero: share of them whose loss is "
        "exactly 0 at the end. accuracy, log loss: on the other half. Δ: ours less Optax's, mean "
        f"of paired differences with its {config.confidence:.0%} interval.",
    )
    return logits[OURS, config.dtypes[0]], models[OURS, config.dtypes[0]]


def _about(logits: np.ndarray, digits: Digits, loss: Any) -> dict[str, np.ndarray]:
    half = len(digits.given)
    learnt, unseen = logits[:, :half], logits[:, half:]
    losses = np.asarray(jax.vmap(loss, in_axes=(0, None))(jnp.asarray(learnt), digits.given))
    of_test = jax.vmap(metrics.log_loss, in_axes=(0, None))(jnp.asarray(unseen), digits.test_labels)
    return {
        "learnt": (learnt.argmax(-1) == digits.given).mean(1),
        "losses of 0": (losses == 0).mean(1),
        "test accuracy": (unseen.argmax(-1) == digits.test_labels).mean(1),
        "test log loss": np.asarray(of_test, np.float64),
    }


def swept(
    config: Config,
    make: Any,
    settings: dict[str, Any],
    data: tuple[np.ndarray, np.ndarray],
    test: np.ndarray,
    test_labels: np.ndarray,
) -> tuple[dict[Any, np.ndarray], dict[Any, list[nnx.Module]]]:
    """By setting, logits of all examples, learnt ones first, [seeds, examples, 10], and models."""
    every = np.concatenate([data[0], test]), np.concatenate([data[1], test_labels])
    result = training.sweep(
        make,
        settings,
        seeds=range(config.seed, config.seed + config.num_seeds),
        data=data,
        validation=every,
        epochs=config.num_epochs,
        batch_size=64,
        metrics=[_nothing],
        key=jax.random.key(config.seed),
        progress=False,
    )
    columns = [result.trials[name].to_list() for name in settings]
    trials: dict[Any, list[int]] = {}
    for number, key in enumerate(zip(*columns, strict=True)):
        trials.setdefault(key, []).append(number)
    logits = {key: np.stack([result.logits[i] for i in of]) for key, of in trials.items()}
    return logits, {key: [result.models(i) for i in of] for key, of in trials.items()}


def _nothing(logits: jax.Array, labels: jax.Array, *, weights: Any = 1.0, where: Any = True) -> Any:
    """Here the sweep is there for its logits."""
    del labels, weights, where
    return jnp.mean(logits)


# ---- ranking -------------------------------------------------------------------------------------


def rank(config: Config, digits: Digits, logits: np.ndarray, record: Record) -> None:
    """Ties of losses, and what they cost an attack that asks who was learnt from."""
    labels = np.concatenate([digits.given, digits.test_labels])
    half = len(digits.given)
    member = np.arange(len(labels)) < half
    scores: dict[str, Any] = {
        f"{library}, {dtype}": partial(loss_of, library, dtype)
        for library in LIBRARIES
        for dtype in config.dtypes
    }
    scores["minus the log-odds"] = lambda x, y: -jbce.log_odds(x, y)
    x = jnp.asarray(logits)
    area = jax.jit(jax.vmap(metrics.roc_auc, in_axes=(0, None)))
    areas, rows = {}, []
    for name, score in scores.items():
        strict = {"xla_allow_excess_precision": False}  # each operation rounds, as eager ones do
        scored = jax.jit(jax.vmap(score, in_axes=(0, None)), compiler_options=strict)
        values = np.asarray(scored(x, labels))
        areas[name] = np.asarray(area(jnp.asarray(-values), member), np.float64)
        learnt = np.sort(values[:, :half], axis=1)
        distinct = 1 + (np.diff(learnt, axis=1) > 0).sum(1)
        middle = learnt[:, half // 2 : half // 2 + 1]
        undecided = (learnt == middle).mean(1)
        key = name.replace(", ", ".").replace(" ", "_")
        record.metric(f"ranking.{key}.distinct", distinct.mean() / half, "1")
        record.metric(f"ranking.{key}.tied_at_the_median", undecided.mean(), "1")
        record.metric(f"ranking.{key}.membership_auroc", areas[name].mean(), "1")
        cell = ""
        if name != "Optax, float32":
            apart = mean_interval(areas[name] - areas["Optax, float32"], config.confidence)
            cell = _shown(apart)
            if name in ("jbce, float32", "Optax, bfloat16"):
                _keep(record, f"membership AUROC: {name} less Optax, float32", apart)
        rows.append(
            (
                name,
                f"{distinct.mean() / half:.3f}",
                f"{undecided.mean():.3f}",
                f"{areas[name].mean():.4f}",
                cell,
            )
        )
    record.table(
        "The same networks' examples, ranked by their loss",
        ("loss of", "distinct", "tied", "AUROC", "Δ AUROC"),
        rows,
        note="distinct: different values among the losses that were learnt, by their number. "
        "tied: share of them that equal the median, between which pruning to one half has to draw "
        "lots. AUROC: of telling by minus the loss who was learnt from. Δ: less Optax, float32.",
    )


# ---- influence -----------------------------------------------------------------------------------

TRUTH = (OURS, "float64")


def trace(config: Config, digits: Digits, models: list[nnx.Module], record: Record) -> None:
    """Gradients of examples, and their influence, beside those of float64."""
    kinds = [(library, dtype) for library in LIBRARIES for dtype in config.dtypes]
    found: dict[Any, list[dict[str, float]]] = {kind: [] for kind in kinds}
    inputs = (digits.train, digits.given, digits.test, digits.test_labels)
    for model in models:
        graphdef, params = nnx.split(model)
        with jax.enable_x64(True):
            doubled = jax.tree.map(_double, (params, inputs))
            truth = np.asarray(_gradients(graphdef, TRUTH, *doubled[:1], *doubled[1][:2]))
            leaving = np.asarray(_leaving(graphdef, *doubled))
        for kind in kinds:
            gradients = np.asarray(_gradients(graphdef, kind, params, *inputs[:2]), np.float64)
            found[kind].append(_beside(gradients, truth, leaving, digits.wrong))
    by_kind = {
        kind: {name: np.array([one[name] for one in ones]) for name in ones[0]}
        for kind, ones in found.items()
    }
    rows = []
    for kind, measures in by_kind.items():
        for measure, values in measures.items():
            key = f"influence.{'.'.join(kind)}.{measure.replace(' ', '_')}"
            record.metric(key, values.mean(), "1")
        error, *others = (values.mean() for values in measures.values())
        rows.append((", ".join(kind), f"{error:.1e}", *(f"{value:.4f}" for value in others)))
        if kind[1] == "bfloat16":
            ranks = mean_interval(measures["rank of influence"], config.confidence)
            record.headline(f"influence, rank correlation with float64: {', '.join(kind)}", *ranks)
    record.table(
        "The same networks' gradients, example by example, beside those of float64",
        ("loss of", "error", "rank of |g|", "rank of influence", "wrong labels"),
        rows,
        note="error: |g − g₆₄|/|g₆₄|, median over the examples. rank: Spearman's correlation with "
        "the values of float64. wrong labels: AUROC of telling by |g| which labels are wrong.",
    )


def _beside(
    gradients: np.ndarray, truth: np.ndarray, leaving: np.ndarray, wrong: np.ndarray
) -> dict[str, float]:
    def rank(a: np.ndarray, b: np.ndarray) -> float:
        return float(scipy.stats.spearmanr(a, b).statistic)  # pyright: ignore[reportAttributeAccessIssue]

    lengths_here, lengths_there = (np.linalg.norm(rows, axis=1) for rows in (gradients, truth))
    scores = scipy.stats.rankdata(lengths_here).astype(np.float32)
    return {
        "error": float(np.median(np.linalg.norm(gradients - truth, axis=1) / lengths_there)),
        "rank of length": rank(lengths_here, lengths_there),
        "rank of influence": rank(gradients @ leaving, truth @ leaving),
        "wrong labels": float(metrics.roc_auc(jnp.asarray(scores), jnp.asarray(wrong))),
    }


def _double(leaf: Any) -> jax.Array:
    return jnp.asarray(leaf, jnp.float64 if jnp.issubdtype(leaf.dtype, jnp.floating) else None)


@partial(jax.jit, static_argnums=(0, 1))
def _gradients(
    graphdef: Any, kind: tuple[str, str], params: Any, images: jax.Array, labels: jax.Array
) -> jax.Array:
    """`[examples, parameters]`."""
    flat, unflatten = jax.flatten_util.ravel_pytree(params)

    def loss(weights: jax.Array, image: jax.Array, label: jax.Array) -> jax.Array:
        logits = nnx.merge(graphdef, unflatten(weights))(image)
        return loss_of(*kind, logits, label)

    return jax.vmap(jax.grad(loss), (None, 0, 0))(flat, images, labels)


@partial(jax.jit, static_argnums=0)
def _leaving(graphdef: Any, params: Any, inputs: Any) -> jax.Array:
    """(G + λI)⁻¹ḡ, whose product with an example's gradient is n times its influence."""
    train, _, test, test_labels = inputs
    flat, unflatten = jax.flatten_util.ravel_pytree(params)

    def logits_of(images: jax.Array, weights: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, unflatten(weights))(images)

    def product(vector: jax.Array) -> jax.Array:
        along = partial(logits_of, train)
        whole = curvature.gauss_newton_product(
            along, flat, vector, curvature.softmax_hessian_product
        )
        return whole / len(train)

    def of_test(weights: jax.Array) -> jax.Array:
        return jnp.mean(loss_of(*TRUTH, logits_of(test, weights), test_labels))

    probes = jax.random.rademacher(jax.random.key(0), (32, flat.size), flat.dtype)
    mean_eigenvalue = jnp.mean(jax.lax.map(lambda v: v @ product(v), probes)) / flat.size
    solution, _ = jax.scipy.sparse.linalg.cg(
        lambda v: product(v) + mean_eigenvalue * v, jax.grad(of_test)(flat), tol=1e-6, maxiter=2_000
    )
    return solution


# ---- distillation --------------------------------------------------------------------------------


def distil(config: Config, digits: Digits, logits: np.ndarray, record: Record) -> None:
    """Students of one confident teacher, by probabilities and by logits."""
    half = len(digits.given)
    teacher, of_test = logits[0, :half], logits[0, half:]

    def optax_loss(x: jax.Array, t: jax.Array, temperature: float) -> jax.Array:
        soft = jax.nn.softmax(t / temperature)
        return temperature**2 * optax.softmax_cross_entropy(x / temperature, soft)

    def our_loss(x: jax.Array, t: jax.Array, temperature: float) -> jax.Array:
        return jbce.distillation_loss(x, t, temperature)

    losses = {OPTAX: optax_loss, OURS: our_loss}

    def make(rngs: nnx.Rngs, library: str, temperature: int) -> training.Trial:
        return training.Trial(
            training.MLP(64, [max(config.hidden_size // 8, 1)], 10, rngs=rngs),
            optax.adam(config.learning_rate),
            partial(losses[library], temperature=float(temperature)),
        )

    students, _ = swept(
        config,
        make,
        {"library": LIBRARIES, "temperature": config.temperatures},
        (digits.train, teacher),
        digits.test,
        of_test,
    )
    found = {
        key: (student[:, half:].argmax(-1) == digits.test_labels).mean(1)
        for key, student in students.items()
    }
    rows = []
    for (library, temperature), accuracy in found.items():
        record.metric(f"distilled.{library}.temperature_{temperature}", accuracy.mean(), "1")
        cell = ""
        if library == OURS:
            apart = mean_interval(accuracy - found[OPTAX, temperature], config.confidence)
            cell = _shown(apart)
            record.metric(f"distilled.difference.temperature_{temperature}", apart[0], "1")
        rows.append((f"{library}, temperature {temperature}", f"{accuracy.mean():.4f}", cell))
    margin = np.sort(teacher, axis=1)
    record.table(
        "Students of a confident teacher, from its logits",
        ("loss", "test accuracy", "jbce less Optax"),
        rows,
        note=f"The teacher's median lead is {np.median(margin[:, -1] - margin[:, -2]):.1f} nats; "
        f"{config.num_seeds} students each, paired.",
    )


def _keep(record: Record, what: str, found: tuple[float, float, float]) -> None:
    key = what.lower().replace(", ", " ").replace(": ", " ").replace(" ", "_")
    for end, value in zip(("", ".low", ".high"), found, strict=True):
        record.metric(f"difference.{key}{end}", value, "1")
    if ", float16" not in what:
        record.headline(what, *found)


def _shown(found: tuple[float, float, float]) -> str:
    mean, low, _ = found
    return f"{mean:+.4f} ± {mean - low:.4f}"
