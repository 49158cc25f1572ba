"""On tables, how good are small networks that are swept, beside scikit-learn's two standards?

Command:  python -m experiments tabular
Minutes:  15
Expect:   with the data of `JBCE_DATA_DIR` 20 sets, else 4 that scikit-learn carries; a lower log
          loss than LogisticRegression's on 16 of the 20, and than HistGradientBoosting's, or
          within the noise of it, on 18.

Of every set, each fifth is judged by models that learnt from the rest. The networks get nothing
more than that rest either: of it, each third validates, in turn, networks that learn from the other
two, and one setting of all (width, learning rate, weight decay, label smoothing) is chosen by the
validation log loss; the prediction is the mean of the probabilities of its networks. All settings
of a width are trained side by side in one compiled program. scikit-learn's models, with their
defaults, learn from the whole rest. Numbers are standardised, words are made columns of 0 and 1.
Of a set of more than `max_rows` rows a random part is used, the same for everybody.

Differences are paired, example by example; their intervals know the examples, not the folds.
"""

import functools
import os
import pathlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
import polars
import scipy.special
import sklearn.datasets
from flax import nnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

import jbce
from jbce import metrics, training

from ._data import File, path_of
from ._drawing import COLOURS, INK, label, legend, new_axes
from ._fitting import filled
from ._record import Record

OURS, LOGISTIC, BOOSTING = MODELS = (
    "networks",
    "LogisticRegression",
    "HistGradientBoosting",
)
_BASE = "https://raw.githubusercontent.com/jbrownlee/Datasets/master"


class Table(NamedTuple):
    """A set in a file: the column of its label, and those to leave out."""

    name: str
    sha256: str
    label: int = -1
    left_out: tuple[int, ...] = ()


TABLES = {
    "banknotes": Table(
        "banknote_authentication.csv",
        "d0539aaed2139ba7a587b3e34fb345ce503ff7d5d33dbf9912d8e195ce425cb9",
    ),
    "breast cancer, Wisconsin": Table(
        "breast-cancer-wisconsin.data",
        "402c585309c399237740f635ef9919dc512cca12cbeb20de5e563a4593f22b64",
        left_out=(0,),
    ),
    "E. coli": Table(
        "ecoli.csv", "26836c66779f5ce2b0c4d21c0667dcfb89f2a408e3cdac7e38dbc63e0abd5691"
    ),
    "German credit": Table(
        "german.csv", "ec12a88b9fc14d74ba646ea0410cf7ff4533bec2eb61652f8ad76796bbfec017"
    ),
    "glass": Table("glass.csv", "1b7039aa2d617c1827e790b55d45ac138dce06b5f2a3fb6c25f2f135b59ad2d0"),
    "Haberman": Table(
        "haberman.csv", "b4b7a32586a5668f9f4d6dc8be9d1bc8cd4822523affb1f6b5bfc350681ef3e2"
    ),
    "ionosphere": Table(
        "ionosphere.csv", "fd6dd7864b55d56dac0a1e6e24af9ccc35bf2555ac79af8ab9f3d1daa065ab83"
    ),
    "mammography": Table(
        "mammography.csv", "7d3dea3f075f30bbdbb8980e7725684059b4fe3d0f850fadd0f635f6993d8730"
    ),
    "thyroid": Table(
        "new-thyroid.csv", "b1e244cdb7764210cfbf2888c47a4a558c36acd3c5e25452c0255c09c0b2c0a0"
    ),
    "oil spills": Table(
        "oil-spill.csv",
        "acd090bfa475d6247183c53683a344235136e4e9133d99259ae7fe692870c0f0",
        left_out=(0,),
    ),
    "phonemes": Table(
        "phoneme.csv", "eacbb9f7a2b2135d067bff28ed7b9adb760f61f5e91f375f91e22e7e42ace24d"
    ),
    "Pima diabetes": Table(
        "pima-indians-diabetes.csv",
        "6bfe5d0f379d17a0e0819b996407e3c09bf80febd4287f2ed212190dfff154af",
    ),
    "sonar": Table("sonar.csv", "3079c09b5d2789a0f96aff82c28e5164fafe2495c5f8da96c6c256c1bd25763f"),
    "wheat seeds": Table(
        "wheat-seeds.csv", "8dbd1853a4439afc113cfe07f290422c7ce3fe48745d71f3f7eaa027cd38fd6e"
    ),
    "adult income": Table(
        "adult-train.csv", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"
    ),
}
# Carried by no collection that a program may rely on: used where the folder has them.
LOCAL = {
    "spam words": Table(
        "spambase.data", "b1ef93de71f97714d3d7d4f58fc9f718da7bbc8ac8a150eff2778616a8097b12"
    ),
}
CARRIED = {
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
    "breast cancer": sklearn.datasets.load_breast_cancer,
    "digits": sklearn.datasets.load_digits,
}


@dataclass(frozen=True)
class Config:
    """What to sweep, and on what."""

    only: str = ""
    """The name of one set, or its beginning; empty for all."""
    num_folds: int = 5
    """Parts that are judged in turn."""
    num_inner_folds: int = 3
    """Parts of the rest that validate in turn."""
    hidden_sizes: tuple[int, ...] = (32, 128)
    """Widths of two hidden layers; a program each."""
    learning_rates: tuple[float, ...] = (0.003, 0.01)
    """Of AdamW."""
    weight_decays: tuple[float, ...] = (0.01, 0.3, 3.0)
    """Of AdamW, times the learning rate."""
    smoothings: tuple[float, ...] = (0.0, 0.02)
    """Of the labels: parameters of the loss."""
    num_steps: int = 400
    """Of training, about."""
    batch_size: int = 64
    """Examples in each step."""
    max_rows: int = 3000
    """Of a set, for all models."""
    models: str = ""
    """A folder for the fitted networks as safetensors; empty keeps none."""
    seed: int = 0
    """Of the folds, the first weights and the order of the examples."""


class Examples(NamedTuple):
    """A set, ready for every model."""

    features: np.ndarray
    """`[examples, features]`, not yet standardised."""
    labels: np.ndarray
    """`[examples]`, classes from 0."""


def run(config: Config, record: Record) -> None:
    """Every set, then how often who won."""
    names = [name for name in every_set() if name.startswith(config.only)]
    if not names:
        raise ValueError(f"`only` must begin one of {', '.join(every_set())}.")
    rows, differences, saved = [], {}, []
    for name in names:
        examples = load(name, config)
        logits = judged(examples, config, name, saved)
        labels = jnp.asarray(examples.labels)
        compared = metrics.compare(metrics.log_loss, jnp.asarray(logits), labels, baseline=0)
        key = "_".join(name.lower().replace(",", "").replace(".", "").split())
        for model, value in zip(MODELS, compared.estimate, strict=True):
            record.metric(f"log_loss.{key}.{model}", float(value), "nat")
        # The networks' loss less the others'.
        found = [
            (-float(compared.difference[i]), -float(compared.high[i]), -float(compared.low[i]))
            for i in (1, 2)
        ]
        differences[name] = found
        rows.append(
            (
                name,
                f"{len(labels):,} × {examples.features.shape[1]}, {labels.max() + 1}",
                *(f"{float(value):.4f}" for value in compared.estimate),
                *(_verdict(*of) for of in found),
            )
        )
    record.table(
        "Log loss of held-out examples, in nats",
        ("set", "size, classes", "networks", "Logistic", "Boosting", "Δ Logistic", "Δ Boosting"),
        rows,
        "Δ: the networks' loss less the other's with its 95 % interval; + better, ≈ within noise.",
    )
    _count(differences, record)
    record.metric("saved_models", len(saved), "1")
    record.metric("saved_models_with_bitwise_equal_logits", sum(saved), "1")
    record.say(
        f"{len(saved)} networks were written as safetensors and read again; {sum(saved)} gave the "
        "same logits, bit for bit."
    )
    record.figure("differences", _figure(differences), "The networks' log loss less the others'.")


def _verdict(difference: float, low: float, high: float) -> str:
    sign = "+" if high < 0 else ("≈" if low <= 0 else "−")
    return f"{difference:+.3f} ± {(high - low) / 2:.3f} {sign}"


def _count(differences: dict[str, Any], record: Record) -> None:
    number = len(differences)
    for index, model in enumerate((LOGISTIC, BOOSTING)):
        found = [of[index] for of in differences.values()]
        lower = sum(difference < 0 for difference, _, _ in found)
        surely = sum(high < 0 for _, _, high in found)
        not_worse = sum(low <= 0 for _, low, _ in found)
        record.metric(f"sets_with_lower_loss_than.{model}", lower, "1")
        record.metric(f"sets_surely_better_than.{model}", surely, "1")
        record.metric(f"sets_better_or_within_noise_of.{model}", not_worse, "1")
        record.headline(f"of {number} sets, lower log loss than {model}", lower)
        record.headline(f"of {number} sets, better or within the noise of {model}", not_worse)
        record.say(
            f"Beside {model}: a lower loss on {lower} of {number} sets, surely so on {surely}; "
            f"better or within the noise on {not_worse}."
        )
    record.metric("sets", number, "1")


def every_set() -> list[str]:
    """The names of the sets at hand."""
    named = os.environ.get("JBCE_DATA_DIR")
    if not named:
        return [*CARRIED]
    local = [n for n, t in LOCAL.items() if (pathlib.Path(named) / "tabular" / t.name).is_file()]
    return [*CARRIED, *TABLES, *local]


def load(name: str, config: Config) -> Examples:
    """A set by its name, without classes of fewer than 10 examples."""
    if name in CARRIED:
        features, words = CARRIED[name](return_X_y=True)
    else:
        features, words = _from_file((TABLES | LOCAL)[name])
    classes, labels = np.unique(words, return_inverse=True)
    frequent = np.flatnonzero(np.bincount(labels, minlength=len(classes)) >= 10)
    kept = np.isin(labels, frequent)
    features, labels = features[kept], np.searchsorted(frequent, labels[kept])
    if len(labels) > config.max_rows:
        some = np.random.default_rng(config.seed).permutation(len(labels))[: config.max_rows]
        features, labels = features[some], labels[some]
    return Examples(np.asarray(features, np.float64), labels.astype(np.int32))


def _from_file(table: Table) -> tuple[np.ndarray, np.ndarray]:
    path = path_of(File("tabular", table.name, table.sha256, f"{_BASE}/{table.name}"))
    text = "\n".join(
        ",".join(cell.strip() for cell in line.split(","))
        for line in path.read_text().splitlines()
        if line.strip()
    )
    frame = polars.read_csv(
        text.encode(), has_header=False, null_values=["?"], infer_schema_length=None
    )
    names = [name for place, name in enumerate(frame.columns) if place not in table.left_out]
    label = frame.columns[table.label]
    columns = []
    for name in names:
        if name == label:
            continue
        column = frame[name]
        if column.dtype.is_numeric():
            columns.append(column.fill_null(column.median()).to_numpy().astype(float)[:, None])
        else:
            values = column.fill_null("?").to_numpy()
            columns.append((values[:, None] == np.unique(values)[None]).astype(float))
    return np.concatenate(columns, axis=1), frame[label].to_numpy()


def judged(examples: Examples, config: Config, name: str, saved: list[bool]) -> np.ndarray:
    """Log-probabilities of every example by models that have not seen it, [models, n, classes]."""
    features, labels = examples
    num_classes = int(labels.max()) + 1
    result = np.zeros((len(MODELS), len(labels), num_classes))
    split = StratifiedKFold(config.num_folds, shuffle=True, random_state=config.seed)
    make = _maker(features.shape[1], num_classes)
    for number, (rest, held_out) in enumerate(split.split(features, labels)):
        standard = _standardised(features, rest)
        given, target = standard[rest], labels[rest]
        probs, models = _networks(make, given, target, standard[held_out], config)
        result[0, held_out] = np.log(probs)
        saved += _saved(models, standard[held_out], config, f"{name}-{number}")
        for place, peer in enumerate(
            (LogisticRegression(max_iter=5000), HistGradientBoostingClassifier(random_state=0)), 1
        ):
            scores = peer.fit(given, target).decision_function(standard[held_out])
            if scores.ndim == 1:
                scores = np.stack([np.zeros_like(scores), scores], axis=-1)
            # The logarithms of their probabilities, which predict_proba rounds to 0 and 1.
            result[place, held_out] = scipy.special.log_softmax(scores, axis=-1)
    return result.astype(np.float32)


def _standardised(features: np.ndarray, rest: np.ndarray) -> np.ndarray:
    spread = features[rest].std(axis=0)
    return ((features - features[rest].mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(
        np.float32
    )


@functools.cache
def _maker(num_features: int, num_classes: int) -> Any:
    """One and the same function for all folds, which then share their compilation."""

    def make(
        rngs: nnx.Rngs, hidden_size: int, learning_rate: Any, weight_decay: Any, smoothing: Any
    ) -> training.Trial:
        return training.Trial(
            training.MLP(num_features, [hidden_size] * 2, num_classes, rngs=rngs),
            optax.adamw(learning_rate, weight_decay=weight_decay),
            functools.partial(
                jbce.softmax_cross_entropy_with_integer_labels, label_smoothing=smoothing
            ),
        )

    return make


def _networks(
    make: Any, given: np.ndarray, target: np.ndarray, asked: np.ndarray, config: Config
) -> tuple[np.ndarray, list[Any]]:
    """The mean probabilities of the networks of the best setting, and the networks."""
    inner = StratifiedKFold(config.num_inner_folds, shuffle=True, random_state=config.seed)
    parts = [*inner.split(given, target)]
    # All parts of the same size, filled with examples of weight 0: one program serves all.
    most = [-(-len(target) // config.num_inner_folds) + 8]
    most = [len(target) - len(target) // config.num_inner_folds + 8, *most]
    steps_per_epoch = -(-most[0] // config.batch_size)
    settings = {
        "hidden_size": config.hidden_sizes,
        "learning_rate": config.learning_rates,
        "weight_decay": config.weight_decays,
        "smoothing": config.smoothings,
    }
    epochs = max(config.num_steps // steps_per_epoch, 1)
    sweeps = [
        training.sweep(
            make,
            settings,
            data=filled(given[learns], target[learns], most[0]),
            validation=filled(given[judges], target[judges], most[1]),
            epochs=epochs,
            batch_size=config.batch_size,
            patience=epochs,
            metrics=[metrics.log_loss],
            key=jax.random.key(config.seed),
            progress=False,
        )
        for learns, judges in parts
    ]
    best = int(np.argmin(sum(found.trials["log_loss"].to_numpy() for found in sweeps)))
    models = [found.models(best) for found in sweeps]
    with jax.enable_x64(True):
        logits = [np.asarray(model(jnp.asarray(asked)), np.float64) for model in models]
        return np.mean([np.asarray(jax.nn.softmax(each, axis=-1)) for each in logits], 0), models


def _saved(models: list[Any], features: np.ndarray, config: Config, name: str) -> Iterator[bool]:
    """Whether each network, written and read again, gives the same logits."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(config.models or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for number, model in enumerate(models):
            path = folder / f"{name.replace(' ', '-')}-{number}.safetensors"
            training.save_model(path, model)
            again = training.load_model(path)
            given = jnp.asarray(features)
            yield bool(np.array_equal(np.asarray(model(given)), np.asarray(again(given))))


def _figure(differences: dict[str, Any]) -> matplotlib.figure.Figure:
    drawing, (axes,) = new_axes(height=0.32 * len(differences) + 1.4)
    places = np.arange(len(differences))[::-1]
    for index, (model, shift) in enumerate(((LOGISTIC, 0.14), (BOOSTING, -0.14))):
        found = np.array([of[index] for of in differences.values()])
        axes.errorbar(
            found[:, 0],
            places + shift,
            xerr=np.stack([found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]]),
            fmt="o" if index == 0 else "s",
            markersize=4,
            color=COLOURS[index],
            label=f"beside {model}",
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [*differences])
    axes.set_xscale("symlog", linthresh=0.05)
    ticks = (-0.5, -0.2, -0.05, 0, 0.05, 0.2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    label(axes, "networks' log loss less the others', nats", "")
    legend(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return drawing
