"""Sweeps: each trial is the training that it would have been alone, and the tables are true."""

import functools
import gc
import itertools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars
import pytest
import safetensors.numpy
import scipy.stats
from flax import nnx

import jbce
from jbce import metrics, training

pytestmark = pytest.mark.jax_defaults  # optax.adam does not run under strict dtype promotion

SETTINGS: dict[str, Any] = {"learning_rate": [0.01, 0.1], "gamma": [0.0, 2.0]}
CHOICE: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 16,
    "seeds": 2,
    "key": jax.random.key(1),
    "progress": False,
}


def make(rngs, learning_rate, gamma):
    loss = functools.partial(jbce.sigmoid_focal_loss, gamma=gamma)
    return training.Trial(
        training.MLP(3, [4], rngs=rngs), optax.adam(learning_rate), lambda x, y: loss(x, y)
    )


def _called(name):
    def metric(logits, labels, *, weights, where=True):
        return metrics.log_loss(logits, labels, weights=weights, where=where)

    metric.__name__ = name
    return metric


def examples(seed, number=40, num_classes=None):
    random = np.random.default_rng(seed)
    features = random.normal(size=(number, 3)).astype(np.float32)
    noisy = features[:, 0] + random.normal(size=number)
    if num_classes is None:
        return features, (noisy > 0).astype(np.int32)
    return features, np.digitize(noisy, [-0.5, 0.5]).astype(np.int32)


DATA, JUDGED = examples(0), examples(1, 30)


def sweep(make: Any, settings: Any, **changes: Any) -> Any:
    """With the choices of this file, but for the changes."""
    choice: dict[str, Any] = {"data": DATA, "validation": JUDGED, "metrics": [metrics.log_loss]}
    choice |= CHOICE | changes
    return training.sweep(make, settings, **choice)


@pytest.fixture(scope="module")
def swept():
    return sweep(make, SETTINGS, metrics=None)


def test_a_trial_is_the_training_alone(swept):
    """`fit` with the same first weights and order of examples gives the same model."""
    rows = swept.trials.to_dicts()
    assert [row["seed"] for row in rows] == [0, 1] * 4
    for number in (0, 3, 7):
        row = rows[number]
        order = jax.random.fold_in(CHOICE["key"], row["seed"])
        init, noise = jax.random.split(jax.random.fold_in(order, 0))
        rngs = nnx.Rngs(params=init, default=noise)
        trial = make(rngs, row["learning_rate"], row["gamma"])
        alone = training.fit(
            trial.model,
            DATA,
            loss=trial.loss,
            optimizer=trial.optimizer,
            epochs=3,
            batch_size=16,
            key=order,
        )
        found = swept.models(number)
        for a, b in zip(
            jax.tree.leaves(nnx.state(found)), jax.tree.leaves(nnx.state(alone.model)), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(row["training_loss"], alone.history.loss[-1], rtol=1e-5)
        logits = found(jnp.asarray(JUDGED[0]))
        np.testing.assert_allclose(swept.logits[number], logits, rtol=1e-4, atol=1e-5)


def test_metrics_are_those_of_the_logits(swept):
    for row, logits in zip(swept.trials.to_dicts(), swept.logits, strict=True):
        for metric in (metrics.log_loss, metrics.brier_score, metrics.accuracy, metrics.roc_auc):
            np.testing.assert_allclose(
                row[metric.__name__], metric(jnp.asarray(logits), JUDGED[1]), rtol=1e-5
            )
        losses = np.logaddexp(0, -np.where(JUDGED[1] == 1, logits, -logits))
        error = losses.std(ddof=0) / np.sqrt(len(losses))
        np.testing.assert_allclose(row["log_loss.standard_error"], error, rtol=1e-3)


def test_settings_are_means_over_seeds_best_first(swept):
    summary = swept.settings
    losses = summary["log_loss"].to_numpy()
    assert (np.diff(losses) >= 0).all()
    means = swept.trials.group_by("learning_rate", "gamma").agg(polars.col("log_loss").mean())
    joined = summary.join(means, on=["learning_rate", "gamma"], suffix=".mean")
    np.testing.assert_allclose(joined["log_loss"], joined["log_loss.mean"], rtol=1e-6)
    np.testing.assert_allclose(summary["log_loss.difference"], losses - losses[0], atol=1e-7)
    assert summary["log_loss.p_value"][0] == 1
    assert (summary["log_loss.low"] <= summary["log_loss.difference"]).all()
    assert (summary["log_loss.difference"] <= summary["log_loss.high"]).all()


def test_the_interval_of_a_difference_is_of_examples_and_seeds(swept):
    """By the definition, in float64 numpy, of the first and the last setting."""
    logits = swept.logits.astype(np.float64).reshape(4, 2, -1)
    losses = np.logaddexp(0, -np.where(JUDGED[1] == 1, logits, -logits))
    order = np.argsort(losses.mean((1, 2)))
    differences = losses[order[-1]] - losses[order[0]]  # [seeds, examples]
    variances = np.array(
        [differences.mean(0).var(ddof=1) / 30, differences.mean(1).var(ddof=1) / 2]
    )
    row = swept.settings.to_dicts()[-1]
    reach = (row["log_loss.high"] - row["log_loss.low"]) / 2
    quantiles = scipy.stats.t.ppf(1 - 0.05 / (2 * 6), [29, 1])  # six pairs of settings
    np.testing.assert_allclose(reach, np.sqrt(variances @ quantiles**2), rtol=1e-4)


class Keeping(nnx.Module):
    """Whose rest holds the streams that it was made with, and a 16-bit number."""

    def __init__(self, rngs):
        self.rngs = rngs
        self.dense = nnx.Linear(3, 1, rngs=rngs)
        self.bend = nnx.Param(jnp.full([3], 0.5, jnp.bfloat16))
        self.shift = nnx.BatchStat(jnp.asarray(0.25))

    def __call__(self, features):
        bent = features + self.bend[...].astype(jnp.float32)
        return self.dense(bent)[..., 0] + self.shift[...]


def test_a_model_that_keeps_streams_and_16_bits_comes_back_from_a_folder(tmp_path):
    def kept(rngs, learning_rate):
        return training.Trial(Keeping(rngs), optax.sgd(learning_rate))

    choice: dict[str, Any] = {"folder": tmp_path, "seeds": 1}
    first = sweep(kept, {"learning_rate": [0.1, 0.3]}, **choice)
    from jbce.training import _sweep_runner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sweep_runner.Runner, "run", None)  # nothing is left to run
        again = sweep(kept, {"learning_rate": [0.1, 0.3]}, **choice)
    for result, number in ((first, 1), (again, 0), (again, 1)):
        model = result.models(number)
        assert model.bend[...].dtype == jnp.bfloat16
        logits = model(jnp.asarray(JUDGED[0]))
        np.testing.assert_allclose(logits, result.logits[number], rtol=1e-4, atol=1e-5)


def test_another_model_than_was_trained_is_refused():
    width = [4]

    def changing(rngs, learning_rate):
        return training.Trial(training.MLP(3, width, rngs=rngs), optax.sgd(learning_rate))

    result = sweep(changing, {"learning_rate": [0.1]}, seeds=1)
    width[0] = 5
    with pytest.raises(
        ValueError, match=r"`make` makes another model .*float32\[5\].*float32\[4\]"
    ):
        result.models(0)


def test_what_wraps_a_metric_changes_neither_its_name_nor_what_is_best():
    result = sweep(make, SETTINGS, metrics=[functools.partial(jax.jit(metrics.accuracy))], seeds=1)
    assert result.settings["accuracy"].is_sorted(descending=True)


def test_without_patience_nothing_judges_between_epochs():
    """Labels that a score of one's own reads are refused only where another would judge."""

    def score(logits, labels, *, weights, where=True):
        del labels, weights
        return jnp.mean(logits, where=where)

    def ignoring(rngs, learning_rate):
        loss = functools.partial(jbce.softmax_cross_entropy_with_integer_labels, ignore=-100)
        return training.Trial(training.MLP(3, [], 3, rngs=rngs), optax.sgd(learning_rate), loss)

    features, labels = examples(0, 30, 3)
    labels[::7] = -100
    own: dict[str, Any] = {"data": (features, labels), "validation": (features, labels)}
    own |= {"metrics": [score], "seeds": 1}
    plain = sweep(ignoring, {"learning_rate": [0.1]}, **own)
    assert np.isfinite(plain.logits).all()
    sweep(ignoring, {"learning_rate": [0.1]}, patience=1, score=score, **own)
    for judged_by_default in ({"patience": 1}, {"metrics": None}):
        with pytest.raises(ValueError, match="validation labels"):
            sweep(ignoring, {"learning_rate": [0.1]}, **own | judged_by_default)


def test_a_score_that_is_never_finite_leaves_the_last_model():
    settings = {"learning_rate": [0.1], "gamma": [0.0]}

    def never(logits, labels, *, weights):
        del logits, labels, weights
        return jnp.asarray(jnp.nan)

    found = sweep(make, settings, patience=3, score=never, seeds=1)
    plain = sweep(make, settings, seeds=1)
    np.testing.assert_allclose(found.logits, plain.logits, rtol=1e-5, atol=1e-6)
    assert found.trials["best_epoch"].to_list() == found.trials["epochs"].to_list() == [3]


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_chunks_change_nothing(swept, chunk):
    again = sweep(make, SETTINGS, chunk=chunk)
    np.testing.assert_allclose(again.logits, swept.logits, rtol=1e-4, atol=1e-6)


def test_what_is_no_float_makes_a_program_of_its_own():
    traces = []

    def several(rngs, width, learning_rate):
        traces.append(width)
        return training.Trial(training.MLP(3, [width], 3, rngs=rngs), optax.sgd(learning_rate))

    data = examples(2, num_classes=3)
    result = sweep(
        several,
        [
            {"width": 4, "learning_rate": 0.1},
            {"width": 2, "learning_rate": 0.1},
            {"width": 4, "learning_rate": 0.3},
        ],
        data=data,
        validation=data,
        metrics=[metrics.accuracy],
    )
    assert result.trials["width"].to_list() == [4, 4, 2, 2, 4, 4]
    models: list[Any] = [result.models(number) for number in range(6)]
    shapes = [model.hidden[0].kernel.shape for model in models]
    assert shapes == [(3, 4), (3, 4), (3, 2), (3, 2), (3, 4), (3, 4)]
    assert result.settings["accuracy"].is_sorted(descending=True)
    before = len(traces)
    sweep(
        several,
        {"width": [4], "learning_rate": [0.2, 0.5]},
        data=data,
        validation=data,
        metrics=[metrics.accuracy],
    )
    assert len(traces) == before + 2  # the check, and a trial's size: the program is there


def test_patience_keeps_the_best_epoch():
    """A rate far too large: the validation loss is least at the start of the training."""
    result = sweep(
        make,
        {"learning_rate": [0.01, 3.0], "gamma": [0.0]},
        patience=20,
        epochs=20,
    )
    for number, row in enumerate(result.trials.to_dicts()):
        losses = np.logaddexp(0, -np.where(JUDGED[1] == 1, 1, -1) * result.logits[number])
        np.testing.assert_allclose(row["log_loss"], losses.mean(), rtol=1e-5)
        assert 1 <= row["best_epoch"] <= row["epochs"] == 20
    assert min(result.trials["best_epoch"].to_list()) < 20


def test_several_labels_per_example_are_one_example():
    """Two copies of a label say no more than one: the same intervals."""

    def twice(rngs, learning_rate):
        return training.Trial(training.MLP(3, [], 2, rngs=rngs), optax.sgd(learning_rate))

    def stacked(data):
        return data[0], np.stack([data[1], data[1]], axis=-1)

    result = sweep(
        twice,
        {"learning_rate": [0.1, 0.5]},
        data=stacked(DATA),
        validation=stacked(JUDGED),
        metrics=[metrics.log_loss],
    )
    labels = np.stack([JUDGED[1]] * 2, axis=-1)
    for row, logits in zip(result.trials.to_dicts(), result.logits, strict=True):
        losses = np.logaddexp(0, -np.where(labels == 1, logits, -logits)).mean(-1)
        np.testing.assert_allclose(row["log_loss"], losses.mean(), rtol=1e-5)
        error = losses.std(ddof=0) / np.sqrt(len(losses))
        np.testing.assert_allclose(row["log_loss.standard_error"], error, rtol=1e-3)
    with pytest.raises(ValueError, match="`metrics` are needed"):
        soft = (DATA[0], np.full([40, 2], 0.5, np.float32))
        sweep(twice, {"learning_rate": [0.1]}, data=soft, validation=soft, metrics=None)


def test_a_trial_that_diverges_disturbs_no_other(swept):
    rates = [0.01, 1e38, 0.1]
    with jax.debug_nans(False):
        result = sweep(
            make,
            {"learning_rate": rates, "gamma": [0.0, 2.0]},
        )
    diverged = result.trials.filter(polars.col("learning_rate") == 1e38)["diverged"]
    assert diverged.all() and result.trials["diverged"].sum() == 4
    kept = [0, 1, 2, 3, 8, 9, 10, 11]
    np.testing.assert_allclose(result.logits[kept], swept.logits, rtol=1e-4, atol=1e-6)


def test_a_sweep_goes_on_from_the_chunks_that_are_finished(swept, tmp_path, monkeypatch):
    from jbce.training import _sweep_runner

    choice: dict[str, Any] = {"chunk": 2, "folder": tmp_path / "sweep"}
    trained, run, tickets = [], _sweep_runner.Runner.run, itertools.count()

    def dies(self, program, part):
        if next(tickets) == 3:
            raise KeyboardInterrupt  # while other cores still train, whose chunks are kept
        trained.append(part.name)
        return run(self, program, part)

    monkeypatch.setattr(_sweep_runner.Runner, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        sweep(make, SETTINGS, **choice)
    (tmp_path / "sweep" / f"trials-{trained[0]}.safetensors").write_bytes(b"torn")
    trained[:] = trained[:1]
    monkeypatch.setattr(
        _sweep_runner.Runner, "run", lambda *a: (trained.append(a[-1].name), run(*a))[1]
    )
    with pytest.warns(training.CheckpointWarning, match=rf"trials-{trained[0]}.* trained again"):
        result = sweep(make, SETTINGS, **choice)
    assert len(trained) == 1 + 2 and trained[1] == trained[0]  # the torn one, and the missing one
    np.testing.assert_allclose(result.logits, swept.logits, rtol=1e-4, atol=1e-6)
    for other in ({"epochs": 4}, {"key": jax.random.key(2)}):
        with pytest.raises(ValueError, match=f"another sweep, with other .*{next(iter(other))}"):
            sweep(make, SETTINGS, **(choice | other))

    def faster(rngs, learning_rate, gamma):
        return make(rngs, 2 * learning_rate, gamma)

    faster.__qualname__ = make.__qualname__
    with pytest.raises(ValueError, match="with other programs"):
        sweep(faster, SETTINGS, **choice)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt"):
        sweep(make, SETTINGS, **(choice | {"folder": tmp_path}))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_sweep_goes_on_in_chunks_of_another_size(swept, tmp_path, monkeypatch):
    from jbce.training import _sweep_runner

    sweep(make, SETTINGS, chunk=2, folder=tmp_path)
    (tmp_path / "trials-2-3-seeds-0-0.safetensors").unlink()
    trained, run = [], _sweep_runner.Runner.run
    monkeypatch.setattr(
        _sweep_runner.Runner, "run", lambda *a: (trained.extend(a[-1].trials), run(*a))[1]
    )
    again = sweep(make, SETTINGS, chunk=3, folder=tmp_path)
    assert sorted(trained) == [(0, 0), (1, 0), (2, 0), (3, 0)]  # the chunks 0 to 2, and 3
    np.testing.assert_allclose(again.logits, swept.logits, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("memory", "at_once"), [(8_000, 3), (2_999, 2), (1_999, 1)])
def test_cores_train_chunks_side_by_side(swept, monkeypatch, memory, at_once):
    from jbce.training import _sweep_runner

    monkeypatch.setattr(_sweep_runner, "_num_cores", lambda: 3)
    monkeypatch.setattr(_sweep_runner, "_CACHED", 1)
    monkeypatch.setattr(_sweep_runner.Runner, "bytes_of", lambda *_: 1_000)
    run, tickets = _sweep_runner.Runner.run, itertools.count()
    together, running = threading.Barrier(at_once), []

    def watched(self, program, part):
        assert part.shape == (1, 1)
        running.append(part)
        assert len(running) <= at_once
        if next(tickets) < at_once:
            together.wait(60)  # fails where fewer run at once
        found = run(self, program, part)
        running.remove(part)
        return found

    monkeypatch.setattr(_sweep_runner.Runner, "run", watched)
    result = sweep(make, SETTINGS, memory=memory)
    np.testing.assert_allclose(result.logits, swept.logits, rtol=1e-4, atol=1e-6)


def with_factor(factor: Any) -> Any:
    """A loss that an array in a closure multiplies."""

    def weighted(rngs, learning_rate):
        def loss(logits, labels):
            return jbce.sigmoid_binary_cross_entropy(logits, labels) * jnp.asarray(factor).sum()

        return training.Trial(
            training.LogisticRegression(3, rngs=rngs), optax.sgd(learning_rate), loss
        )

    return weighted


def test_settings_are_told_apart_by_what_they_are():
    """Not by their text, which leaves numbers out, or an address that another may come to."""

    def scaled(rngs, factor, learning_rate):
        size = factor.sum() if isinstance(factor, np.ndarray) else factor(1.0)
        return with_factor(size)(rngs, learning_rate)

    ones = np.ones(2000, np.float32)
    tens = ones.copy()
    tens[1000] = 18_001
    arrays = [{"factor": f, "learning_rate": 1e-9} for f in (ones, tens)]
    losses = sweep(scaled, arrays, seeds=1).trials["training_loss"].to_numpy()
    np.testing.assert_allclose(losses[1] / losses[0], 10, rtol=1e-2)

    def loss_of(size):
        row = [{"factor": lambda x: x * size, "learning_rate": 1e-9}]
        found = sweep(scaled, row, seeds=1).trials["training_loss"][0]
        gc.collect()
        return found

    first, *others = (loss_of(size) for size in (1.0, 10.0, 100.0))
    np.testing.assert_allclose(np.array(others) / first, [10, 100], rtol=1e-2)


def test_the_folder_of_a_sweep_knows_the_arrays_of_its_program(tmp_path):
    settings = {"learning_rate": [0.1]}
    sweep(with_factor(np.ones(4, np.float32)), settings, folder=tmp_path)
    with pytest.raises(ValueError, match="with other programs"):
        sweep(with_factor(np.full(4, 9, np.float32)), settings, folder=tmp_path)


def test_settings_that_are_functions_or_arrays_are_found_again(tmp_path, monkeypatch):
    from jbce.training import _sweep_runner

    def chosen(rngs, act, scale, learning_rate):
        model = training.MLP(3, [4], rngs=rngs, activation=act)
        return training.Trial(
            model, optax.sgd(learning_rate), lambda x, y: scale.sum() * plain(x, y)
        )

    plain = jbce.sigmoid_binary_cross_entropy
    rows = [
        {"act": act, "scale": np.full(3, 2, np.float32), "learning_rate": 0.1}
        for act in (jnp.tanh, jax.nn.relu)
    ]
    sweep(chosen, rows, folder=tmp_path, seeds=1)
    assert " at 0x" not in (tmp_path / "sweep.json").read_text()
    monkeypatch.setattr(_sweep_runner.Runner, "run", None)  # nothing is left to run
    assert sweep(chosen, rows, folder=tmp_path, seeds=1).trials.height == 2


def test_what_repeats_itself_is_trained_again():
    def plain(rngs, width):
        return training.Trial(training.MLP(3, [width], rngs=rngs), optax.sgd(0.1))

    result = sweep(plain, {"width": [4, 4]})
    np.testing.assert_array_equal(result.logits[:2], result.logits[2:])


def test_a_damaged_chunk_is_trained_again(tmp_path):
    choice: dict[str, Any] = {"seeds": 1, "folder": tmp_path, "chunk": 1}
    settings = {"learning_rate": [0.1, 0.2, 0.3]}
    make = with_factor(1.0)
    whole = sweep(make, settings, **choice)
    flipped, other, missing = sorted(tmp_path.glob("trials-*"))
    contents = bytearray(flipped.read_bytes())
    contents[-5] ^= 4
    flipped.write_bytes(contents)
    arrays = safetensors.numpy.load(other.read_bytes())
    safetensors.numpy.save_file({"settings": arrays["settings"]}, other)
    missing.unlink()
    (tmp_path / "trials-9-9-seeds-0-0.safetensors").mkdir()  # no file at all
    with pytest.warns(training.CheckpointWarning) as warned:
        again = sweep(make, settings, **choice)
    np.testing.assert_array_equal(again.logits, whole.logits)
    reasons = ("not those that were written", "digest", "directory")
    for warning, reason in zip(warned, reasons, strict=True):
        assert reason in str(warning.message)


@pytest.mark.parametrize(
    ("size", "num_settings", "num_seeds", "num_devices"),
    [(s, a, b, d) for d in (1, 2, 4) for a in (1, 3, 5, 8) for b in (1, 2, 5) for s in (1, 4, 7)],
)
def test_chunks_spread_evenly_and_are_no_larger_than_asked(
    size, num_settings, num_seeds, num_devices
):
    from jbce.training._sweep_parts import shape_of

    total = num_settings * num_seeds
    for wanted in {min(size, total), total}:
        seeds, settings = shape_of(wanted, num_settings, num_seeds, num_devices)
        if wanted < total:
            assert seeds * settings <= wanted
        else:
            assert seeds >= num_seeds and settings >= num_settings
        even = seeds % num_devices == 0 or settings % num_devices == 0
        assert even or seeds * settings <= num_devices


def test_memory_is_foreseen(swept):
    with pytest.raises(MemoryError, match=r"One trial alone needs [\d,]+ bytes, but 100 may"):
        sweep(make, SETTINGS, chunk=4, memory=100)
    with pytest.raises(MemoryError, match=r"chunk of 8 trials needs [\d,]+ bytes.*chunk=\d+ would"):
        sweep(make, SETTINGS, chunk=8, memory=12_000, **CHOICE)
    with pytest.raises(MemoryError, match=r"One trial alone needs [\d,]+ bytes, but 100 may"):
        sweep(make, SETTINGS, memory=100)
    small = sweep(make, SETTINGS, memory=12_000)
    np.testing.assert_allclose(small.logits, swept.logits, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"settings": {}}, TypeError, "missing"),
        ({"settings": []}, ValueError, "`settings` must hold"),
        ({"settings": [{"a": 1}, {"b": 1}]}, ValueError, r"\['a'\] and \['b'\]"),
        ({"settings": {"learning_rate": [0.1, 1e39]}}, ValueError, "within float32, but 1e[+]39"),
        ({"seeds": 0}, ValueError, "`seeds`"),
        ({"seeds": [1, 1]}, ValueError, r"`seeds` .* \[1, 1\]"),
        ({"seeds": [2**31]}, ValueError, r"32 bits.* \[2147483648\]"),
        ({"seeds": [1.5]}, TypeError, r"`seeds` .* \[1\.5\]"),
        ({"settings": {"log_loss.low": [1.0]}}, ValueError, "'log_loss.low'"),
        ({"settings": {"seed": [1]}}, ValueError, "'seed'"),
        ({"settings": {"log_loss": [1.0]}}, ValueError, "'log_loss'"),
        ({"metrics": [metrics.log_loss] * 2}, ValueError, r"\['log_loss', 'log_loss'\]"),
        ({"metrics": [metrics.confusion_matrix]}, ValueError, "confusion_matrix gives .*2,2"),
        ({"metrics": metrics.log_loss}, TypeError, "`metrics` must be a list"),
        ({"metrics": ["log_loss"]}, TypeError, "`metrics` must be a list"),
        ({"metrics": [_called("diverged")]}, ValueError, r"none of .* but \['diverged'\]"),
        ({"settings": {"learning_rate": [0.1, float("nan")]}}, ValueError, "but nan came"),
        ({"settings": {"learning_rate": [0.1, 1e-50]}}, ValueError, "but 1e-50 came"),
        ({"settings": {"learning_rate": 0.1}}, TypeError, "must be a list"),
        ({"key": 1}, TypeError, "`key` must be a key"),
        ({"epochs": 0}, ValueError, "`epochs`"),
        ({"make": lambda rngs, **_: None}, TypeError, "a NoneType came"),
        ({"data": (DATA[0], DATA[1][:5])}, ValueError, r"int32\[5\]"),
        ({"data": (DATA[0][:, :2], DATA[1])}, TypeError, "dot_general"),
    ],
)
def test_bad_input_is_named_and_shown(change, error, says):
    choice: dict[str, Any] = CHOICE | {"make": make, "settings": SETTINGS, "data": DATA} | change
    with pytest.raises(error, match=says):
        sweep(choice.pop("make"), choice.pop("settings"), validation=JUDGED, **choice)
