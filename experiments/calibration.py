"""Can the probabilities of modern networks be believed, and what mends them?

Command:  python -m experiments calibration
Minutes:  5
Expect:   one temperature takes the calibration error of a DenseNet on CIFAR-100 from 0.142 to 0.013
          without changing a decision; but that of a wide residual network only from 0.058 to 0.042.
          Maps with a number for each class gain more in log loss, those with a matrix gain or lose.

Guo et al. (On calibration of modern neural networks, ICML 2017) found that networks have become
accurate and overconfident, and that one number, a temperature, mends most of it. Here their methods
and later ones are fitted to the probabilities of five networks for the 10,000 test images of
CIFAR-10 and CIFAR-100 (computed by others and published with the package netcal), and to a network
that is trained here on scikit-learn's digits until it makes no error on its training images.

Every image is judged by a map that was fitted to others: the images are dealt to folds, and those
of a fold are calibrated by what the other folds say. Every metric stands beside that of the
probabilities as they were, with the interval of the difference on the same images; an asterisk is a
difference that holds, with multiplicity over the methods, at the confidence asked for.

The published probabilities are looked for in JBCE_DATA_DIR, then in a cache, and downloaded at last
(13 MB); `--data digits` does without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from jbce import calibration, metrics, plots, training

from ._data import File, path_of
from ._record import Record

_RECORDS = (
    "https://raw.githubusercontent.com/EFS-OpenSource/calibration-framework/main/"
    "examples/classification/records"
)
NETWORKS = {
    "LeNet-5, CIFAR-10": File(
        "calib_netcal",
        "lenet-5-cifar-10.npz",
        "2fea8ab231920142ebf1fb90ec07677681f0ea64aef1a328e1d45898978e3c90",
        f"{_RECORDS}/cifar10/lenet-5-cifar-10.npz",
    ),
    "WRN-16-4, CIFAR-10": File(
        "calib_netcal",
        "wideresnet-16-4-cifar-10.npz",
        "ce2bafe1fa22e8da7b132cb45556b5d154bd50bbec5d91913bba2e04fbd76182",
        f"{_RECORDS}/cifar10/wideresnet-16-4-cifar-10.npz",
    ),
    "LeNet-5, CIFAR-100": File(
        "calib_netcal",
        "lenet-5-cifar-100.npz",
        "45807c28708ba788ef3e4d9f9d25f59ebe93a2eb5d4dd5fa8380095636a244a0",
        f"{_RECORDS}/cifar100/lenet-5-cifar-100.npz",
    ),
    "WRN-16-4, CIFAR-100": File(
        "calib_netcal",
        "wideresnet-16-4-cifar-100.npz",
        "ab3ce671b234521fe346977df2bb1c755a2c96b1781c350cef76be0ad36e5e12",
        f"{_RECORDS}/cifar100/wideresnet-16-4-cifar-100.npz",
    ),
    "DenseNet-BC, CIFAR-100": File(
        "calib_netcal",
        "densenet-bc-100-cifar-100.npz",
        "6b8c33de93bdf1ae7de335f485c73c9f7198b359f85de6b1f21066a7e7c6379e",
        f"{_RECORDS}/cifar100/densenet-bc-100-cifar-100.npz",
    ),
}
DIGITS = "MLP, digits"
AS_IT_IS = "as it is"
Fit = Callable[..., Any]
METHODS: dict[str, Fit] = {
    "temperature": calibration.fit_temperature,
    "vector": calibration.fit_vector,
    # At 100 classes, 1 instead of 100 makes the log loss twice that of no calibration at all.
    "Dirichlet": partial(calibration.fit_dirichlet, off_diagonal_penalty=1e2, bias_penalty=1e2),
    # Two more examples a class, or a single surprise costs an infinite log loss.
    "isotonic": partial(calibration.fit_isotonic, prior_weight=1.0),
}
METRICS: dict[str, Callable[..., jax.Array]] = {
    "log loss": metrics.log_loss,
    "Brier": metrics.brier_score,
    "accuracy": metrics.accuracy,
    "ECE": metrics.expected_calibration_error,
    "classes": partial(metrics.expected_calibration_error, of="classes"),
    "smooth": metrics.smooth_calibration_error,
}


@dataclass(frozen=True)
class Config:
    """What to calibrate, and how to judge it."""

    data: Literal["all", "digits"] = "all"
    """The published networks and the one that is trained here, or the latter alone."""
    methods: tuple[str, ...] = ("temperature", "vector", "Dirichlet", "isotonic")
    """Maps to fit."""
    num_folds: int = 2
    """Each is calibrated by the others; Guo et al. keep one half to calibrate the other."""
    num_epochs: int = 60
    """Of the network on the digits."""
    hidden_size: int = 256
    """Units of each of its two hidden layers."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the folds and of the network's first weights."""


class Predictions(NamedTuple):
    """What a network says, and what is the case."""

    logits: jax.Array
    labels: jax.Array


def run(config: Config, record: Record) -> None:
    """Every network, every method, every metric."""
    networks = {DIGITS: digits(config)}
    if config.data == "all":
        networks = {name: published(file) for name, file in NETWORKS.items()} | networks
    for name, predictions in networks.items():
        judge(config, name, predictions, record)


def published(file: File) -> Predictions:
    """Probabilities that others have computed, as logits: their logarithms."""
    with np.load(path_of(file), allow_pickle=False) as arrays:
        probs = arrays["predictions"].astype(np.float64)
        labels = arrays["ground_truth"].astype(np.int32)
    return Predictions(jnp.asarray(np.log(probs), jnp.float32), jnp.asarray(labels))


def digits(config: Config) -> Predictions:
    """Held-out logits of networks that are trained until they make no error, from two folds."""
    data: Any = load_digits()
    images = (data.data / 16).astype(np.float32)
    labels = data.target.astype(np.int32)
    fold = np.random.default_rng(config.seed).permutation(len(labels)) % 2
    logits = np.zeros((len(labels), 10), np.float32)
    optimizer = optax.adam(1e-3)
    for held_out in range(2):
        train, test = fold != held_out, fold == held_out
        sizes = [config.hidden_size] * 2
        model = training.MLP(64, sizes, 10, rngs=nnx.Rngs(config.seed))
        fitted = training.fit(
            model,
            (images[train], labels[train]),
            optimizer=optimizer,
            epochs=config.num_epochs,
            batch_size=32,
            key=jax.random.key(config.seed),
            progress=False,
        )
        logits[test] = np.asarray(fitted.model(jnp.asarray(images[test])))
    return Predictions(jnp.asarray(logits), jnp.asarray(labels))


def judge(config: Config, name: str, predictions: Predictions, record: Record) -> None:
    """A table of methods and metrics, and the diagrams before and after."""
    logits, labels = predictions
    key = jax.random.key(config.seed)
    calibrated = {AS_IT_IS: logits}
    for method in config.methods:
        fit = METHODS[method]
        crossed = jax.jit(partial(calibration.cross_fit, fit, num_folds=config.num_folds, key=key))
        calibrated[method] = crossed(logits, labels)
    models = jnp.stack(list(calibrated.values()))
    found = {
        metric: metrics.compare(
            call,
            models,
            labels,
            baseline=0,
            confidence=config.confidence,
        )
        for metric, call in METRICS.items()
    }
    rows = []
    for index, method in enumerate(calibrated):
        cells = [method]
        for metric, comparison in found.items():
            value = float(comparison.estimate[index])
            real = float(comparison.adjusted_p_value[index]) < 1 - config.confidence
            cells.append(f"{value:.4f}{'*' if index and real else ''}")
            for what, array in (
                ("", comparison.estimate),
                (".difference", comparison.difference),
                (".low", comparison.adjusted_low),
                (".high", comparison.adjusted_high),
            ):
                key_of = f"{_identifier(name)}.{_identifier(method)}.{_identifier(metric)}{what}"
                record.metric(key_of, array[index], "nat" if metric == "log loss" else "1")
        rows.append(tuple(cells))
    ece = found["ECE"]
    place = list(calibrated).index("temperature")
    record.headline(
        f"ECE, {name}: by a temperature",
        ece.difference[place],
        ece.adjusted_low[place],
        ece.adjusted_high[place],
    )
    temperature = float(calibration.fit_temperature(logits, labels).temperature)
    record.metric(f"{_identifier(name)}.temperature", temperature, "1")
    record.table(
        f"{name}: {labels.size:,} images, {logits.shape[-1]} classes",
        ("", *found),
        rows,
        note=f"An asterisk: differs from {AS_IT_IS!r}, p < {1 - config.confidence:.2g} with "
        f"multiplicity over the methods. The temperature of all images is {temperature:.3f}.",
    )
    after = "temperature"
    record.figure(
        f"reliability_{_identifier(name)}",
        plots.reliability_diagram(
            {m: metrics.reliability(calibrated[m], labels) for m in (AS_IT_IS, after)}
        ),
        f"{name}: of the decisions made with a given confidence, how many were right.",
    )
    record.figure(
        f"differences_{_identifier(name)}",
        plots.metric_differences(
            {m: found[m] for m in ("log loss", "Brier", "smooth")}, list(calibrated)
        ),
        f"{name}: what calibration changes, with {config.confidence:.0%} intervals, each for "
        "itself and (thin) all at once.",
    )


def _identifier(name: str) -> str:
    return name.lower().replace(", ", "_").replace(" ", "_").replace("-", "_")
