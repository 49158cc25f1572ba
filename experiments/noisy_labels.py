"""Where labels are wrong, what do the losses that are made for it do?

Command:  python -m experiments noisy_labels
Minutes:  6
Expect:   with a fifth of the labels wrong evenly, cross-entropy that is trained to the end decides
          91.5 % of the test images right, 94.1 % where it stops early, and generalised or
          symmetric cross-entropy 96 %, with a third of its log loss; the gain is larger where
          errors have a system (86.2 % and 96 %). Of people's mistakes (5 %) only stopping early
          is shown to decide better, and smoothing spoils the log loss everywhere.

Labels of the digits that scikit-learn carries are made wrong: evenly (any other digit) or by class
(each digit is taken for the next one), none of them, a fifth or two fifths. People's mistakes are
tried as well: an image of CIFAR-10 gets the answer of one of its people (CIFAR-10H), and its
features are what two published networks say of it; that part is left out where there are no data.

A small network learns from such labels with cross-entropy, generalised cross-entropy (Zhang and
Sabuncu 2018), symmetric cross-entropy (Wang et al. 2019), smoothed labels, and labels that are
mixed with what the network itself believes (Reed et al. 2015: soft and hard bootstrap, written out
here). Each has one number. All losses, all their numbers and all seeds of one kind of noise are
trained side by side in one compiled program, which serves all kinds of noise.

The number of each loss is chosen by its accuracy on validation labels that are as wrong as those
it learns from, on the mean over the seeds: nothing clean is looked at. Cross-entropy that stops
early, when the log loss of those wrong labels is least, stands beside them. Everything is judged on
test labels that are right (those of CIFAR-10 for people's mistakes), paired by image and by seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import jbce
from jbce import metrics, plots, training

from ._data import at_hand
from ._held_out import identifier
from ._over_seeds import compare_over_seeds
from ._record import Record
from .calibration import NETWORKS, published
from .soft_labels import HUMAN, LENET, WRN

Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
PLAIN, EARLY = "cross-entropy", "stopped early"


def soft_bootstrap(logits: jax.Array, labels: jax.Array, share: jax.Array) -> jax.Array:
    """Labels of which a share is what the network believes: the entropy of that, and it learns it.

    (Without a gradient through what is believed this would be cross-entropy, times 1 − share.)
    """
    given = jbce.softmax_cross_entropy_with_integer_labels(logits, labels)
    return (1 - share) * given + share * jbce.numerics.entropy(logits)


def hard_bootstrap(logits: jax.Array, labels: jax.Array, share: jax.Array) -> jax.Array:
    """Labels of which a share is the class that the network decides for."""
    # The cross-entropy is linear in the labels.
    given, decided = (
        jbce.softmax_cross_entropy_with_integer_labels(logits, which)
        for which in (labels, jnp.argmax(logits, axis=-1))
    )
    return (1 - share) * given + share * decided


LOSSES: dict[str, Loss] = {
    PLAIN: lambda logits, labels, _: jbce.softmax_cross_entropy_with_integer_labels(logits, labels),
    "generalised": lambda logits, labels, q: jbce.generalized_cross_entropy_with_integer_labels(
        logits, labels, q
    ),
    # The weight of the cross-entropy; the reverse one has what is left of 1.
    "symmetric": lambda logits, labels, alpha: jbce.symmetric_cross_entropy_with_integer_labels(
        logits, labels, alpha, 1 - alpha
    ),
    "smoothed": lambda logits, labels, alpha: jbce.softmax_cross_entropy_with_integer_labels(
        logits, labels, label_smoothing=alpha
    ),
    "soft bootstrap": soft_bootstrap,
    "hard bootstrap": hard_bootstrap,
}
NUMBERS: dict[str, tuple[float, ...]] = {
    PLAIN: (0.0,),
    "generalised": (0.3, 0.7, 1.0),
    "symmetric": (0.02, 0.1, 0.5),
    "smoothed": (0.1, 0.3, 0.6),
    "soft bootstrap": (0.2, 0.5, 0.8),
    "hard bootstrap": (0.2, 0.5, 0.8),
}


@dataclass(frozen=True)
class Config:
    """How wrong the labels are, and how to learn from them."""

    rates: tuple[float, ...] = (0.0, 0.2, 0.4)
    """Shares of labels that are made wrong."""
    people: bool = True
    """Whether to learn from people's mistakes too, where there are the data."""
    num_seeds: int = 10
    """Of the noise, the first weights and the order of the images."""
    num_epochs: int = 50
    """Of the network."""
    hidden_size: int = 64
    """Of its hidden layer."""
    batch_size: int = 80
    """Images in a step."""
    learning_rate: float = 5e-3
    """Of Adam."""
    num_learnt: int = 800
    """Images to learn from."""
    num_validated: int = 400
    """Images that choose, with labels as wrong as those that are learnt."""
    num_tested: int = 597
    """Images that judge, all that the digits have left."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the split."""


class Parts(NamedTuple):
    """Features, labels that are right, and where labels that may be wrong come from."""

    features: np.ndarray
    labels: np.ndarray
    noisy: Callable[[np.random.Generator], np.ndarray]


def run(config: Config, record: Record) -> None:
    """Every kind of noise."""
    images, digits = load_digits(return_X_y=True)
    images, digits = (images / 16).astype(np.float32), digits.astype(np.int32)

    def wrong(rate: float, by_class: bool) -> Callable[[np.random.Generator], np.ndarray]:
        def noisy(random: np.random.Generator) -> np.ndarray:
            shift = np.ones(len(digits)) if by_class else random.integers(1, 10, len(digits))
            return (digits + shift * (random.random(len(digits)) < rate)) % 10

        return noisy

    kinds: dict[str, Parts] = {}
    for rate in config.rates:
        for by_class in (False, True) if rate else (False,):
            how = ("by class" if by_class else "evenly") if rate else "none"
            name = f"digits, {rate:.0%} wrong, {how}" if rate else "digits, none wrong"
            kinds[name] = Parts(images, digits, wrong(rate, by_class))
    path = at_hand(HUMAN) if config.people else None
    if path is not None:
        kinds["CIFAR-10, labels of people"] = from_people(np.load(path, allow_pickle=False))
    for name, parts in kinds.items():
        judge(config, name, parts, record)


def from_people(people: np.ndarray) -> Parts:
    """Images by what two networks say of them; a label is the answer of one person."""
    networks = [published(NETWORKS[name]) for name in (LENET, WRN)]
    said = [np.asarray(jax.nn.log_softmax(network.logits)) for network in networks]
    features = np.concatenate(said, axis=-1)
    upper = np.cumsum(people / people.sum(axis=-1, keepdims=True), axis=-1)

    def noisy(random: np.random.Generator) -> np.ndarray:
        return np.minimum((random.random((len(people), 1)) > upper).sum(axis=-1), 9)

    labels = np.asarray(networks[1].labels)
    return Parts((features / features.std()).astype(np.float32), labels, noisy)


def judge(config: Config, name: str, parts: Parts, record: Record) -> None:
    """Trains on labels of one kind, chooses, and judges on labels that are right."""
    order = np.random.default_rng(config.seed).permutation(len(parts.labels))
    ends = np.cumsum([config.num_learnt, config.num_validated])
    learnt, validated, test = np.split(order, ends)
    test = test[: config.num_tested]
    settings = [
        {"loss": float(place), "number": number}
        for place, loss in enumerate(LOSSES)
        for number in NUMBERS[loss]
    ]
    shape = (len(settings), config.num_seeds)
    accuracy, logits = np.zeros(shape), np.zeros((*shape, len(test), 10), np.float32)
    early = np.zeros((1, *logits.shape[1:]), np.float32)
    wrong = []
    make = maker(config, parts.features.shape[1])
    for seed in range(config.num_seeds):
        labels = parts.noisy(np.random.default_rng([config.seed, seed])).astype(np.int32)
        wrong.append(np.mean(labels[learnt] != parts.labels[learnt]))
        # The images of the test come along to be answered; their weight is 0.
        asked = np.concatenate([validated, test])
        counts = np.arange(len(asked)) < len(validated)
        for chosen, patience in ((settings, None), (settings[:1], config.num_epochs)):
            swept = training.sweep(
                make,
                chosen,
                data=(parts.features[learnt], labels[learnt]),
                validation=training.Data(
                    parts.features[asked], labels[asked], counts.astype(np.float32)
                ),
                seeds=[seed],
                epochs=config.num_epochs,
                batch_size=config.batch_size,
                patience=patience,
                metrics=[metrics.accuracy],
                key=jax.random.key(config.seed),
                progress=False,
            )
            of_test = swept.logits[:, len(validated) :]
            if patience is None:
                accuracy[:, seed], logits[:, seed] = swept.trials["accuracy"].to_numpy(), of_test
            else:
                early[0, seed] = of_test[0]
    means, best = accuracy.mean(axis=1), []
    for place, _ in enumerate(LOSSES):
        own = [i for i, setting in enumerate(settings) if setting["loss"] == place]
        best.append(max(own, key=lambda i: means[i]))
    found = np.concatenate([logits[best[:1]], early, logits[best[1:]]])
    plain, *others = LOSSES
    numbers = [None, None, *(settings[i]["number"] for i in best[1:])]
    names = [plain, EARLY, *others]
    tell(config, name, names, numbers, found, parts.labels[test], float(np.mean(wrong)), record)


def maker(config: Config, num_features: int) -> Callable[..., training.Trial]:
    """The network, and its loss by place and number, both of which are swept."""

    def make(rngs: nnx.Rngs, loss: Any, number: Any) -> training.Trial:
        def chosen(logits: jax.Array, labels: jax.Array) -> jax.Array:
            # All losses are taken and one is kept: beside the network they cost little, and one
            # program serves them all.
            every = [each(logits, labels, number) for each in LOSSES.values()]
            places = [loss == place for place in range(len(every))]
            return jnp.select(places, every)

        return training.Trial(
            training.MLP(num_features, [config.hidden_size], 10, rngs=rngs),
            optax.adam(config.learning_rate),
            chosen,
        )

    return make


def tell(
    config: Config,
    name: str,
    names: list[str],
    numbers: list[float | None],
    logits: np.ndarray,
    labels: np.ndarray,
    wrong: float,
    record: Record,
) -> None:
    """Accuracy and log loss beside cross-entropy, `[losses, seeds, images, classes]`."""
    judges: dict[str, Callable[..., jax.Array]] = {
        "accuracy": metrics.accuracy,
        "log loss": metrics.log_loss,
    }
    found = {
        title: compare_over_seeds(metric, logits, labels, confidence=config.confidence)
        for title, metric in judges.items()
    }
    rows = []
    for index, (method, number) in enumerate(zip(names, numbers, strict=True)):
        cells = [method if number is None else f"{method}, {number:g}"]
        for title, comparison in found.items():
            key = ".".join(identifier(part) for part in (name, method, title))
            unit = "nat" if title == "log loss" else "1"
            value, difference = comparison.estimate[index], comparison.difference[index]
            low, high = comparison.adjusted_low[index], comparison.adjusted_high[index]
            record.metric(key, value, unit)
            percent = title == "accuracy"
            cells.append(f"{float(value):.1%}" if percent else f"{float(value):.3f}")
            if index:
                record.metric(f"{key}.difference", difference, unit)
                record.metric(f"{key}.low", low, unit)
                record.metric(f"{key}.high", high, unit)
                real = (
                    "*" if float(comparison.adjusted_p_value[index]) < 1 - config.confidence else ""
                )
                half = float(high - low) / 2
                shown = (
                    f"{100 * float(difference):+.1f} ± {100 * half:.1f}"
                    if percent
                    else f"{float(difference):+.3f} ± {half:.3f}"
                )
                cells.append(f"{shown}{real}")
            else:
                cells.append("")
        rows.append(tuple(cells))
    record.metric(f"{identifier(name)}.wrong_labels", wrong, "1")
    record.table(
        f"{name}: {wrong:.1%} of the labels that are learnt",
        ("", "accuracy", "difference", "log loss", "difference"),
        rows,
        note=f"Behind each loss its number. {len(labels)} test images with right labels, "
        f"{config.num_seeds} seeds; differences from the first row with simultaneous "
        f"{config.confidence:.0%} intervals, an asterisk where they are real.",
    )
    if "evenly" in name and f"{max(config.rates):.0%}" in name:
        place = names.index("generalised")
        for title, comparison in found.items():
            record.headline(
                f"{title}, generalised less plain, {max(config.rates):.0%} wrong evenly",
                comparison.difference[place],
                comparison.adjusted_low[place],
                comparison.adjusted_high[place],
                unit="nat" if title == "log loss" else "1",
            )
        record.figure(
            "differences",
            plots.metric_differences(found, names),
            f"{name}: what the losses change, with {config.confidence:.0%} intervals, each for "
            "itself and (thin) all at once.",
        )
