"""Where 2 % of the examples are positive, do weights, focal loss or resampling help?

Command:  python -m experiments imbalanced
Minutes:  3
Expect:   nothing is shown to rank better than plain cross-entropy (AUROC 0.951, average precision
          0.72), and undersampling ranks worse. A weight of 42 on the positives takes the log loss
          from 0.046 to 0.201; a shift of all logits that is known beforehand takes it back to
          0.052. As many positives are found by moving the threshold of the plain network: balanced
          accuracy 0.907, and 0.908 with the weight.

Mammography (Woods et al. 1993): 11,183 spots in X-ray images by 6 numbers, 260 of them calcified.
The same small network is trained by plain cross-entropy and by what is advised against imbalance:
a weight on the positives, an adjustment of the logits by the log-odds of the classes (Menon et al.,
Long-tail learning via logit adjustment, ICLR 2021), focal loss (Lin et al., ICCV 2017), and samples
that are balanced. Weights, adjustments and focuses are numbers of one loss, and train side by side
in one compiled program, from the same first weights, with the examples in the same order. Over- and
undersampling are weights of the examples: of the positives so large, or of random negatives 0, that
both classes weigh the same. (Of a batch few examples are then left, as many steps are made, and
the gradient is noisy: undersampling is at its worst here.)

Every fifth is judged by networks that learnt from the rest. There are three questions. Ranking: is
a positive above a negative? Calibration: is the probability right, as it is, and after a line
through the logits (Platt) that is fitted to the other half of the held-out examples? Decisions:
with the threshold at one half, or at the one that was best for the other half.

A weight w adds log w to the log-odds of whoever learns them perfectly, and so does an adjustment by
−log w: the shift that would undo it is known beforehand, and is judged too. The rate and the number
of epochs were chosen for plain cross-entropy, on a quarter of the training examples of the first
fold; the numbers of the methods are those of their papers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import jbce
from jbce import calibration, metrics, plots, training

from . import tabular
from ._fitting import filled
from ._held_out import HeldOut, identifier, judge, stratified_folds
from ._over_seeds import compare_over_seeds
from ._record import Record

PLAIN, ADJUSTED, UNDONE = "cross-entropy", "moved afterwards", "weight 42, moved back"
WEIGHTED = "weight 42"
PEERS: dict[str, Callable[[], Any]] = {
    "Logistic": lambda: LogisticRegression(max_iter=1000),
    "Logistic, balanced": lambda: LogisticRegression(max_iter=1000, class_weight="balanced"),
    "Boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    "Boosting, balanced": lambda: HistGradientBoostingClassifier(
        random_state=0, class_weight="balanced"
    ),
}
RANKING: dict[str, Callable[..., jax.Array]] = {
    "AUROC": metrics.roc_auc,
    "avg prec": metrics.average_precision,
}
PROBABILITIES: dict[str, Callable[..., jax.Array]] = {
    "log loss": metrics.log_loss,
    "Brier": metrics.brier_score,
    "smooth ECE": metrics.smooth_calibration_error,
}
DECISIONS: dict[str, Callable[..., jax.Array]] = {
    "F1": metrics.f1_score,
    "balanced": metrics.balanced_accuracy,
}


@dataclass(frozen=True)
class Config:
    """What to train, and how to judge it."""

    num_folds: int = 5
    """Parts that are held out in turn."""
    num_seeds: int = 5
    """Networks of each method in each fold."""
    num_epochs: int = 30
    """Of the networks."""
    hidden_size: int = 32
    """Units of each of two hidden layers."""
    batch_size: int = 128
    """Examples in each step."""
    learning_rate: float = 3e-3
    """Of AdamW."""
    gammas: tuple[float, ...] = (1.0, 2.0, 5.0)
    """Of focal loss."""
    resampling: bool = True
    """Whether to train on balanced samples too: a second program."""
    max_rows: int = 20_000
    """Of the data; fewer for a trial."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the folds, and of what undersampling leaves out."""


def run(config: Config, record: Record) -> None:
    """Trains every method on every fold, and judges what was held out."""
    examples = tabular.load("mammography", tabular.Config(max_rows=config.max_rows))
    labels = examples.labels
    ratio = float(np.sum(labels == 0) / np.sum(labels == 1))
    trained = held_out_logits(config, examples.features, labels, ratio)
    # What is done afterwards needs no training: both move all logits by a known number.
    logits = {PLAIN: trained.pop(PLAIN)}
    logits[ADJUSTED] = logits[PLAIN] + np.float32(np.log(ratio))
    logits |= {WEIGHTED: trained.pop(WEIGHTED)}
    logits[UNDONE] = logits[WEIGHTED] - np.float32(np.log(ratio))
    logits |= trained
    first = {name: logits[name][0] for name in (PLAIN, "Logistic", "Boosting")}
    about = HeldOut("Mammography", first, labels, ("none", "calcified"), lambda i: f"spot {i}")
    judge(about, record, confidence=config.confidence, seed=config.seed)
    stacked = np.stack([*logits.values()])
    halves = stratified_folds(labels, 2, config.seed)
    compare(config, [*logits], stacked, labels, [*halves], record)


def held_out_logits(
    config: Config, features: np.ndarray, labels: np.ndarray, ratio: float
) -> dict[str, np.ndarray]:
    """Log-odds by method, `[seeds, examples]`, of networks and peers that saw the other folds."""
    log_ratio = float(np.log(ratio))
    settings = {
        PLAIN: {},
        "weight 6.5": {"weight": ratio**0.5},
        WEIGHTED: {"weight": ratio},
        "adjustment ½": {"adjustment": -0.5 * log_ratio},
        "adjustment 1": {"adjustment": -log_ratio},
        **{f"focal {gamma:g}": {"gamma": gamma} for gamma in config.gammas},
    }
    nothing = {"weight": 1.0, "adjustment": 0.0, "gamma": 0.0}
    make = maker(config, features.shape[1])
    resampled = ("oversampled", "undersampled") if config.resampling else ()
    names = [*settings, *resampled, *PEERS]
    found = {name: np.zeros((config.num_seeds, len(labels)), np.float32) for name in names}
    random = np.random.default_rng(config.seed)
    folds = [*stratified_folds(labels, config.num_folds, config.seed)]
    # Of the same size, filled with examples of weight 0: one program serves all folds.
    sizes = [max(len(fold[part]) for fold in folds) for part in (0, 1)]
    for rest, held_out in folds:
        center, spread = features[rest].mean(axis=0), features[rest].std(axis=0)
        standard = ((features - center) / spread).astype(np.float32)
        positive = labels[rest] == 1
        kept = random.permutation(np.flatnonzero(~positive))[: positive.sum()]
        few = positive | np.isin(np.arange(len(rest)), kept)
        samples = {
            "": (np.ones(len(rest)), settings),
            "oversampled": (np.where(positive, ratio, 1.0), {"oversampled": {}}),
            "undersampled": (few.astype(float), {"undersampled": {}}),
        }
        for sample in ("", *resampled):
            weights, chosen = samples[sample]
            swept = training.sweep(
                make,
                [nothing | setting for setting in chosen.values()],
                seeds=config.num_seeds,
                data=filled(standard[rest], labels[rest], sizes[0], weights),
                # Judges only: nothing is chosen by it, all train to the last epoch.
                validation=filled(standard[held_out], labels[held_out], sizes[1]),
                epochs=config.num_epochs,
                batch_size=config.batch_size,
                metrics=[metrics.log_loss],
                key=jax.random.key(config.seed),
                progress=False,
            )
            said = swept.logits.reshape(len(chosen), config.num_seeds, -1)
            for name, each in zip(chosen, said, strict=True):
                found[name][:, held_out] = each[:, : len(held_out)]
        for name, peer in PEERS.items():
            fitted = peer().fit(standard[rest], labels[rest])
            found[name][:, held_out] = fitted.decision_function(standard[held_out])
    return found


def maker(config: Config, num_features: int) -> Callable[..., training.Trial]:
    """The network and its loss, of which three numbers are swept."""

    def make(rngs: nnx.Rngs, weight: Any, adjustment: Any, gamma: Any) -> training.Trial:
        def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
            # With a focus of 0 this is the plain cross-entropy.
            losses = jbce.sigmoid_focal_loss(
                logits, labels, gamma=gamma, logit_adjustment=adjustment
            )
            return jnp.where(labels == 1, weight, 1.0) * losses

        sizes = [config.hidden_size] * 2
        return training.Trial(
            training.MLP(num_features, sizes, rngs=rngs),
            optax.adamw(config.learning_rate, weight_decay=0.01),
            loss,
        )

    return make


def compare(
    config: Config,
    names: list[str],
    logits: np.ndarray,
    labels: np.ndarray,
    halves: list[Any],
    record: Record,
) -> None:
    """Ranking, probabilities and decisions of every method beside plain cross-entropy."""
    crossed = jax.jit(
        jax.vmap(
            partial(
                calibration.cross_fit,
                calibration.fit_platt,
                num_folds=2,
                key=jax.random.key(config.seed),
            ),
            in_axes=(0, None),
        )
    )
    flat = jnp.asarray(logits.reshape(-1, len(labels)))
    calibrated = np.asarray(crossed(flat, jnp.asarray(labels))).reshape(logits.shape)
    decided = logits - best_thresholds(logits, labels, halves)
    judged = {
        **{title: (metric, logits) for title, metric in (RANKING | PROBABILITIES).items()},
        **{f"{title}, Platt": (metric, calibrated) for title, metric in PROBABILITIES.items()},
        **{f"{title} at ½": (metric, logits) for title, metric in DECISIONS.items()},
        **{f"{title}, best": (metric, decided) for title, metric in DECISIONS.items()},
    }
    found = {
        title: compare_over_seeds(metric, models, labels, confidence=config.confidence)
        for title, (metric, models) in judged.items()
    }
    for title, comparison in found.items():
        unit = "nat" if title.startswith("log loss") else "1"
        for index, name in enumerate(names):
            key = f"methods.{identifier(name)}.{identifier(title)}"
            record.metric(key, comparison.estimate[index], unit)
            if index:
                record.metric(f"{key}.difference", comparison.difference[index], unit)
                record.metric(f"{key}.low", comparison.adjusted_low[index], unit)
                record.metric(f"{key}.high", comparison.adjusted_high[index], unit)
    conclude(config, names, logits, labels, found, record)
    tables = {
        "Ranking and probabilities": ("AUROC", "avg prec", "log loss", "Brier", "smooth ECE"),
        "After a line through the logits": [f"{title}, Platt" for title in PROBABILITIES],
        "Decisions": [title for title in found if title.startswith((*DECISIONS,))],
    }
    for title, columns in tables.items():
        record.table(
            f"{title}, means over {config.num_seeds} seeds",
            ("", *columns),
            [
                (name, *(cell(found[c], index, config.confidence) for c in columns))
                for index, name in enumerate(names)
            ],
            note=f"An asterisk: differs from the first row, p < {1 - config.confidence:.2g} with "
            "multiplicity, paired by example and seed.",
        )
    shown = {t: found[t] for t in ("avg prec", "log loss", "log loss, Platt", "F1, best")}
    record.figure(
        "differences",
        plots.metric_differences(shown, names),
        f"Beside {PLAIN}, with {config.confidence:.0%} intervals, each for itself and (thin) all "
        "at once.",
    )


def conclude(
    config: Config,
    names: list[str],
    logits: np.ndarray,
    labels: np.ndarray,
    found: dict[str, metrics.Comparison],
    record: Record,
) -> None:
    """What a large weight does to ranking, to probabilities, and beside a threshold."""
    weighted = names.index(WEIGHTED)
    for title, metric in (("AUROC", "AUROC"), ("log loss", "log loss")):
        of, unit = found[metric], "nat" if title == "log loss" else "1"
        record.headline(
            f"{title}, weight 42 less plain",
            *(of.difference[weighted], of.adjusted_low[weighted], of.adjusted_high[weighted]),
            unit=unit,
        )
    pair = compare_over_seeds(
        metrics.balanced_accuracy,
        logits[[names.index(ADJUSTED), weighted]],
        labels,
        confidence=config.confidence,
    )
    ends = pair.difference[1], pair.low[1], pair.high[1]
    record.headline("balanced accuracy, weight 42 less a moved threshold", *ends)
    record.metric("methods.weight_42.balanced_less_a_moved_threshold", ends[0], "1")
    record.say(
        "A weight of 42 beside the plain network with its threshold moved by log 42: the balanced "
        f"accuracy differs by {float(ends[0]):+.4f} ({float(ends[1]):+.4f} to "
        f"{float(ends[2]):+.4f})."
    )


def cell(comparison: metrics.Comparison, index: int, confidence: float) -> str:
    """A metric of a method, with an asterisk where it differs."""
    differs = index > 0 and float(comparison.adjusted_p_value[index]) < 1 - confidence
    return f"{float(comparison.estimate[index]):.4f}{'*' if differs else ''}"


def best_thresholds(logits: np.ndarray, labels: np.ndarray, halves: list[Any]) -> np.ndarray:
    """For each example the threshold of the best F1 of the half that it is not in."""
    result = np.zeros(logits.shape, np.float32)
    for chosen_by, used_for in halves:
        some, positive = logits[..., chosen_by], labels[chosen_by] == 1
        order = np.argsort(-some, axis=-1, kind="stable")
        hits = np.cumsum(positive[order], axis=-1)
        f1 = 2 * hits / (np.arange(1, len(positive) + 1) + positive.sum())
        best = np.argmax(f1[..., :-1], axis=-1)[..., None]
        ordered = np.take_along_axis(some, order, axis=-1)
        # Halfway to the next one below.
        pair = [np.take_along_axis(ordered, best + step, axis=-1) for step in (0, 1)]
        result[..., used_for] = (pair[0] + pair[1]) / 2
    return result
