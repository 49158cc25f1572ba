"""Is what people see in an image a better label than its name?

Command:  python -m experiments soft_labels
Minutes:  1
Expect:   calibration with names brings a network nearer to people too (a divergence of 0.62 nats
          becomes 0.31); a model that learns from people's answers comes nearer to unseen people
          than one that learns names, smoothed or not (0.397 nats, not 0.435), and pays for it in
          the log loss of names (0.260, not 0.241).

CIFAR-10H has about 50 people's answers for each of the 10,000 test images of CIFAR-10: a
distribution over the classes instead of a name (Peterson et al., Human uncertainty makes
classification more robust, ICCV 2019). Cross-entropy takes it as it is: its least value is the
entropy of the answers, and what a model has beyond that is the Kullback-Leibler divergence.

First, two networks that were trained on names (LeNet-5 and WRN-16-4, published with the package
netcal) are judged by both, with a temperature fitted to other images. Then a small network learns
from what the two say of an image, from names, from smoothed names that have as much doubt as people
have on the whole, and from people. Everything is judged on images that were held out.
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

import jbce
from jbce import calibration, metrics, plots, training

from ._data import File, path_of
from ._record import Record
from .calibration import NETWORKS, published

HUMAN = File(
    "cifar10h",
    "cifar10h-probs.npy",
    "436ae98620e00073f9d08585ac870573b588853e7af9f54eb1647408114af77d",
    "https://raw.githubusercontent.com/jcpeterson/cifar-10h/master/data/cifar10h-probs.npy",
)
LENET, WRN = "LeNet-5, CIFAR-10", "WRN-16-4, CIFAR-10"
NAMES, SMOOTHED, PEOPLE = TARGETS = ("names", "smoothed names", "people")


@dataclass(frozen=True)
class Config:
    """How to train and to judge."""

    num_folds: int = 5
    """Parts of the images, each of which is held out once."""
    num_epochs: int = 20
    """Of the small network."""
    hidden_size: int = 32
    """Of its hidden layer."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the folds and of the first weights."""


def run(config: Config, record: Record) -> None:
    """The networks beside people, then a network that learns from people."""
    networks = {name: published(NETWORKS[name]) for name in (LENET, WRN)}
    labels = networks[WRN].labels
    people = jnp.asarray(np.load(path_of(HUMAN), allow_pickle=False), jnp.float32)
    judges = {"names": metrics.log_loss, "people": partial(cross_entropy_of_people, people)}
    doubt = float(jnp.mean(jbce.numerics.entropy(jnp.log(people))))
    record.metric("entropy_of_people", doubt, "nat")
    record.say(
        f"The entropy of people's answers is {doubt:.4f} nats on the whole: no model has a smaller "
        "cross-entropy with them."
    )
    beside_people(config, networks, labels, judges, doubt, record)
    learn(config, networks, labels, people, judges, record)


def cross_entropy_of_people(
    people: jax.Array,
    logits: jax.Array,
    labels: jax.Array,
    *,
    weights: Any = 1.0,
    where: Any = True,
) -> jax.Array:
    """The mean cross-entropy of people's answers and a model; a metric like any other."""
    losses = jbce.softmax_cross_entropy(logits, people)
    return jbce.mean(losses, weights=weights, where=where)


def beside_people(
    config: Config,
    networks: Any,
    labels: jax.Array,
    judges: dict[str, Callable[..., jax.Array]],
    doubt: float,
    record: Record,
) -> None:
    """Two networks, as they are and with a temperature fitted to the names of other images."""
    rows = []
    crossed = jax.jit(
        partial(
            calibration.cross_fit,
            calibration.fit_temperature,
            num_folds=config.num_folds,
            key=jax.random.key(config.seed),
        )
    )
    for name, (logits, _) in networks.items():
        for how, judged in (("", logits), (", calibrated", crossed(logits, labels))):
            of_names, of_people = (
                metrics.confidence_interval(judge, judged, labels, confidence=config.confidence)
                for judge in judges.values()
            )
            key = f"{_identifier(name + how)}"
            record.metric(f"{key}.log_loss", of_names.estimate, "nat")
            record.metric(f"{key}.cross_entropy_of_people", of_people.estimate, "nat")
            rows.append(
                (
                    name.partition(",")[0] + how,
                    *(
                        f"{float(i.estimate):.4f} ± {float(i.estimate - i.low):.4f}"
                        for i in (of_names, of_people)
                    ),
                    f"{float(of_people.estimate) - doubt:.4f}",
                )
            )
    record.table(
        "Networks that learned names",
        ("", "log loss of names", "of people", "divergence from people"),
        rows,
        note=f"Nats, with {config.confidence:.0%} intervals.",
    )


def learn(
    config: Config,
    networks: Any,
    labels: jax.Array,
    people: jax.Array,
    judges: dict[str, Callable[..., jax.Array]],
    record: Record,
) -> None:
    """The same small network from three kinds of labels."""
    features = np.concatenate(
        [np.asarray(jax.nn.log_softmax(logits)) for logits, _ in networks.values()], axis=-1
    )
    features = (features / features.std()).astype(np.float32)
    names = np.eye(people.shape[-1], dtype=np.float32)[np.asarray(labels)]
    # As much mass off the name as people put there, spread evenly.
    doubt = 1 - float(np.sum(names * np.asarray(people), axis=-1).mean())
    smoothing = doubt / (1 - 1 / people.shape[-1])
    targets = {
        NAMES: names,
        SMOOTHED: np.asarray(jbce.smooth_labels(jnp.asarray(names), smoothing)),
        PEOPLE: np.asarray(people),
    }
    fold = np.random.default_rng(config.seed).permutation(len(names)) % config.num_folds
    optimizer = optax.adam(3e-3)
    held_out = {name: np.zeros_like(names) for name in TARGETS}
    for index in range(config.num_folds):
        train, test = fold != index, fold == index
        for name, target in targets.items():
            model = training.MLP(
                features.shape[1],
                [config.hidden_size],
                names.shape[1],
                rngs=nnx.Rngs(config.seed),
            )
            fitted = training.fit(
                model,
                (features[train], target[train]),
                loss=jbce.softmax_cross_entropy,
                optimizer=optimizer,
                epochs=config.num_epochs,
                batch_size=200,
                key=jax.random.key(config.seed),
                progress=False,
            )
            held_out[name][test] = np.asarray(fitted.model(jnp.asarray(features[test])))
    models = jnp.stack([jnp.asarray(held_out[name]) for name in TARGETS])
    chosen = {
        "log loss of names": judges["names"],
        "of people": judges["people"],
        "accuracy": metrics.accuracy,
        "smooth ECE": metrics.smooth_calibration_error,
    }
    found = {
        title: metrics.compare(judge, models, labels, baseline=0, confidence=config.confidence)
        for title, judge in chosen.items()
    }
    rows = []
    for index, name in enumerate(TARGETS):
        cells = [f"from {name}"]
        for title, comparison in found.items():
            value, p_value = comparison.estimate[index], comparison.adjusted_p_value[index]
            real = index and float(p_value) < 1 - config.confidence
            cells.append(f"{float(value):.4f}{'*' if real else ''}")
            key = f"from_{_identifier(name)}.{_identifier(title)}"
            unit = "nat" if title in ("log loss of names", "of people") else "1"
            record.metric(key, value, unit)
            record.metric(f"{key}.difference", comparison.difference[index], unit)
            record.metric(f"{key}.adjusted_p_value", p_value, "1")
            if index and unit == "nat":
                record.headline(
                    f"{title}: {name} less {NAMES}",
                    comparison.difference[index],
                    comparison.adjusted_low[index],
                    comparison.adjusted_high[index],
                    unit=unit,
                )
        rows.append(tuple(cells))
    record.table(
        f"A network that learns from {NAMES}, {SMOOTHED} or {PEOPLE}",
        ("", *found),
        rows,
        note=f"On held-out images. An asterisk: differs from {NAMES!r}, "
        f"p < {1 - config.confidence:.2g} with multiplicity.",
    )
    record.figure(
        "differences",
        plots.metric_differences(
            {title: found[title] for title in ("log loss of names", "of people")}, list(TARGETS)
        ),
        f"What the labels change, with {config.confidence:.0%} intervals, each for itself and "
        "(thin) all at once.",
    )


def _identifier(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "_").replace("-", "_")
