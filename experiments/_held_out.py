"""What every application says of its predictions for examples that were held out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jbce
from jbce import calibration, metrics, plots

from ._record import Record

CALIBRATED = "calibrated"
RULE_OF_THUMB = ((0.05, "great"), (0.20, "good"), (0.30, "fair"), (1.00, "not ideal"))
"""Upper ends of log losses in nats, as introductions to log loss grade them."""


@dataclass(frozen=True)
class HeldOut:
    """Predictions for examples that the models have not seen."""

    name: str
    """Of the data, in few words."""
    logits: Mapping[str, np.ndarray]
    """By model, `[n]` if binary, else `[n, classes]`; the first is the one that is about."""
    labels: np.ndarray
    """`[n]`, class indices."""
    classes: tuple[str, ...]
    """What the classes are."""
    describe: Callable[[int], str] = str
    """An example by its index, in few words."""
    id: str = ""
    """What names of numbers and figures begin with; empty where an experiment has one data set."""

    @property
    def is_binary(self) -> bool:
        """Whether there is one logit per example, that of the second class."""
        return len(self.classes) == 2

    def key(self, *parts: str) -> str:
        """The name of a number."""
        return ".".join(identifier(part) for part in (self.id, *parts) if part)


def judge(
    held_out: HeldOut,
    record: Record,
    *,
    num_worst: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, metrics.Comparison]:
    """Metrics with intervals, the rule of thumb, a reliability diagram, and the worst cases."""
    calibrated = with_calibrated(held_out, seed)
    compared = compare(held_out, calibrated, record, confidence)
    grade(held_out, record, confidence)
    draw(held_out, calibrated, record)
    show_worst(held_out, record, num_worst)
    return compared


def with_calibrated(held_out: HeldOut, seed: int) -> dict[str, np.ndarray]:
    """The models, and the first once more: each half calibrated by what the other half says."""
    fit = calibration.fit_platt if held_out.is_binary else calibration.fit_temperature
    crossed = jax.jit(partial(calibration.cross_fit, fit, num_folds=2, key=jax.random.key(seed)))
    first = jnp.asarray(next(iter(held_out.logits.values())))
    found = np.asarray(crossed(first, jnp.asarray(held_out.labels)))
    name, *others = held_out.logits
    return {
        name: held_out.logits[name],
        CALIBRATED: found,
        **{other: held_out.logits[other] for other in others},
    }


def judges_of(is_binary: bool) -> dict[str, Callable[..., jax.Array]]:
    """The metrics of every application, by title."""
    return {
        "log loss": metrics.log_loss,
        "Brier": metrics.brier_score,
        "accuracy": metrics.accuracy,
        **({"AUROC": metrics.roc_auc} if is_binary else {}),
    }


def compare(
    held_out: HeldOut, models: Mapping[str, np.ndarray], record: Record, confidence: float
) -> dict[str, metrics.Comparison]:
    """A table of the models, each metric beside that of the first."""
    judges = judges_of(held_out.is_binary) | {"smooth ECE": metrics.smooth_calibration_error}
    stacked = jnp.stack([jnp.asarray(logits, jnp.float32) for logits in models.values()])
    labels = jnp.asarray(held_out.labels)
    found = {
        title: metrics.compare(metric, stacked, labels, baseline=0, confidence=confidence)
        for title, metric in judges.items()
    }
    rows = []
    for index, model in enumerate(models):
        cells = [model]
        for title, comparison in found.items():
            value, p_value = comparison.estimate[index], comparison.adjusted_p_value[index]
            differs = index > 0 and float(p_value) < 1 - confidence
            cells.append(f"{float(value):.4f}{'*' if differs else ''}")
            unit = "nat" if title == "log loss" else "1"
            record.metric(held_out.key(title, model), value, unit)
            if index:
                key = held_out.key(title, model, "difference")
                record.metric(key, comparison.difference[index], unit)
                record.metric(f"{key}.low", comparison.adjusted_low[index], unit)
                record.metric(f"{key}.high", comparison.adjusted_high[index], unit)
        rows.append(tuple(cells))
    first = next(iter(models))
    record.table(
        f"{held_out.name}: {len(labels):,} examples that were held out",
        ("", *found),
        rows,
        note=f"Log loss in nats. An asterisk: differs from the first row, p < {1 - confidence:.2g} "
        f"with multiplicity, paired by example. {CALIBRATED}: {first}, each half by the other.",
    )
    return found


def grade(held_out: HeldOut, record: Record, confidence: float) -> None:
    """The log loss beside the rule of thumb, and both beside the base rate."""
    first = next(iter(held_out.logits))
    interval = metrics.confidence_interval(
        metrics.log_loss,
        jnp.asarray(held_out.logits[first], jnp.float32),
        jnp.asarray(held_out.labels),
        confidence=confidence,
    )
    loss, low, high = (float(number) for number in (interval.estimate, interval.low, interval.high))
    shares = np.bincount(held_out.labels, minlength=len(held_out.classes)) / len(held_out.labels)
    knows_nothing = float(-np.sum(shares[shares > 0] * np.log(shares[shares > 0])))
    record.metric(held_out.key("log_loss.low"), low, "nat")
    record.metric(held_out.key("log_loss.high"), high, "nat")
    record.metric(held_out.key("log_loss_of_the_base_rate"), knows_nothing, "nat")
    record.metric(held_out.key("share_of_the_base_rate"), loss / knows_nothing, "1")
    record.headline(
        f"log loss, {held_out.name}", loss, low, high, unit="nat", interval=f"{confidence:.0%}"
    )
    record.say(
        f"{held_out.name}: {first} has a log loss of {loss:.4f} nats ({confidence:.0%} interval "
        f"{low:.4f} to {high:.4f}), by the rule of thumb {rule_of_thumb(loss)!r}. Whoever knows "
        f"only how common the classes are has {knows_nothing:.4f}, which the rule calls "
        f"{rule_of_thumb(knows_nothing)!r}: of what there was to know, "
        f"{1 - loss / knows_nothing:.0%} is known."
    )


def rule_of_thumb(loss: float) -> str:
    """The word that introductions to log loss have for one."""
    return next((word for limit, word in RULE_OF_THUMB if loss < limit), "very poor")


def draw(held_out: HeldOut, models: Mapping[str, np.ndarray], record: Record) -> None:
    """How honest the first model's probabilities are, before and after calibration."""
    first = next(iter(models))
    labels = jnp.asarray(held_out.labels)
    record.figure(
        "_".join(part for part in (identifier(held_out.id), "reliability") if part),
        plots.reliability_diagram(
            {
                name: metrics.reliability(jnp.asarray(models[name], jnp.float32), labels)
                for name in (first, CALIBRATED)
            }
        ),
        f"{held_out.name}: of the decisions made with a given confidence, how many were right. On "
        "the diagonal the confidence is honest.",
    )


def show_worst(held_out: HeldOut, record: Record, num_worst: int) -> None:
    """The examples that cost the first model most."""
    with jax.enable_x64(True):
        logits = jnp.asarray(next(iter(held_out.logits.values())), jnp.float64)
        labels = jnp.asarray(held_out.labels)
        if held_out.is_binary:
            losses = jbce.sigmoid_binary_cross_entropy(logits, labels)
            decided = (logits > 0).astype(int)
        else:
            losses = jbce.softmax_cross_entropy_with_integer_labels(logits, labels)
            decided = jnp.argmax(logits, axis=-1)
        losses, decided = np.asarray(losses), np.asarray(decided)
        corrected = np.exp(-losses)
    worst = np.argsort(-losses, kind="stable")[:num_worst]
    share = float(losses[worst].sum() / losses.sum())
    record.metric(held_out.key("worst_cases.share_of_loss"), share, "1")
    record.table(
        f"{held_out.name}: the {len(worst)} worst cases",
        ("example", "actual", "decided", "corrected", "ln(corrected)", "loss"),
        [
            (
                held_out.describe(int(example)),
                held_out.classes[held_out.labels[example]],
                held_out.classes[decided[example]],
                f"{corrected[example]:.4g}",
                f"{-losses[example]:.4f}",
                f"{losses[example]:.4f}",
            )
            for example in worst
        ],
        note="corrected: the probability that the model gave to what was the case. These "
        f"{len(worst)} of {len(losses):,} examples carry {share:.1%} of the whole loss.",
    )


def identifier(name: str) -> str:
    """A name as a part of the name of a number: `log_loss`."""
    return "_".join("".join(c if c.isalnum() or c == "." else " " for c in name.lower()).split())


def stratified_folds(labels: np.ndarray, num_folds: int, seed: int) -> Any:
    """Pairs of indices, (seen, held out), each class spread evenly over the folds."""
    from sklearn.model_selection import StratifiedKFold

    split = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    return split.split(np.zeros(len(labels)), labels)
