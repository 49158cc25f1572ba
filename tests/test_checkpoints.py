"""Runs that die: the same call goes on, to the same bits; nothing is lost and nothing overwritten.

Kills at random moments are `experiments/survival`, which tests/test_experiments.py runs.
"""

import json
import os
import signal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jbce
from jbce import training

pytestmark = pytest.mark.jax_defaults  # optax.adam does not run under strict dtype promotion

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(40, 3)).astype(np.float32)
LABELS = (FEATURES[:, 0] > 0.1).astype(np.int32)
ADAM = optax.adam(0.05)


class Death(Exception):
    """Of the process, as far as a run can tell."""


def dies_after(epoch):
    def callback(report):
        if report.epoch >= epoch:
            raise Death

    return callback


def fit(**changes: Any):
    choice: dict[str, Any] = {
        "epochs": 6,
        "batch_size": 16,
        "key": jax.random.key(3),
        "optimizer": ADAM,
        "data": (FEATURES[:30], LABELS[:30]),
        "validation": (FEATURES[30:], LABELS[30:]),
        "patience": 6,
        "model": training.MLP(3, [4], rngs=nnx.Rngs(0), dropout=0.2),
    } | changes
    return training.fit(choice.pop("model"), choice.pop("data"), **choice)


def leaves(result):
    state = nnx.state(result.model, nnx.Param)
    return [np.asarray(leaf) for leaf in (*jax.tree.leaves(state), *result.history)]


@pytest.fixture(scope="module")
def alone():
    return leaves(fit())


def everything(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_same(result, wanted):
    for found, right in zip(leaves(result), wanted, strict=True):
        np.testing.assert_array_equal(found, right)


def test_a_run_that_dies_goes_on_to_the_same_bits(alone, tmp_path):
    kept = training.Checkpoints(tmp_path / "run", seconds=0, keep=2)
    log = training.JSONLines(tmp_path / "log.jsonl")
    for epoch in (2, 4):
        with pytest.raises(Death):  # the callback comes before the checkpoint of its epoch
            fit(checkpoints=kept, callbacks=[log, dies_after(epoch)])
        log = training.JSONLines(tmp_path / "log.jsonl")
    result = fit(checkpoints=kept, callbacks=[log])
    assert_same(result, alone)
    assert len(list((tmp_path / "run").iterdir())) == 2
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(
        np.array([row["loss"] for row in rows], np.float32), result.history.loss
    )
    # A run that is done is done, and one may ask for more.
    assert_same(fit(checkpoints=kept), alone)
    assert fit(checkpoints=kept, epochs=8).history.loss.shape == (8,)


def test_a_torn_checkpoint_is_refused_and_the_one_before_taken(alone, tmp_path):
    kept = training.Checkpoints(tmp_path, seconds=0)
    with pytest.raises(Death):
        fit(checkpoints=kept, callbacks=[dies_after(4)])
    newest = max(tmp_path.iterdir(), key=lambda path: int(path.name))
    data = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.warns(
        training.CheckpointWarning, match="Checkpoint 3000000 .* is refused: .*before"
    ):
        assert_same(fit(checkpoints=kept), alone)


def test_a_number_that_changed_is_noticed(alone, tmp_path, monkeypatch):
    """Of a file that can be read, but is not what was written."""
    from jbce.training import _checkpoints

    kept = training.Checkpoints(tmp_path, seconds=0)
    digest = _checkpoints.digest_of

    def lies(report):
        if report.epoch == 2:
            monkeypatch.setattr(_checkpoints, "digest_of", lambda arrays: "another")

    with pytest.raises(Death):
        fit(checkpoints=kept, callbacks=[lies, dies_after(3)])
    monkeypatch.setattr(_checkpoints, "digest_of", digest)
    with pytest.warns(training.CheckpointWarning, match="damaged"):
        assert_same(fit(checkpoints=kept), alone)


FOREIGN: dict[str, Any] = {
    "batch_size": {"batch_size": 8},
    "data": {"data": (FEATURES[:30] + 1, LABELS[:30])},
    "key": {"key": jax.random.key(4)},
    "model": {"model": training.MLP(3, [5], rngs=nnx.Rngs(0), dropout=0.2)},
    "optimizer": {"optimizer": optax.sgd(0.1)},
    "began": {"model": training.MLP(3, [4], rngs=nnx.Rngs(1), dropout=0.2)},
    "steps": {"optimizer": optax.adam(0.04)},
    "steps compute": {"loss": jbce.sigmoid_focal_loss},
}


def test_the_folder_of_another_run_is_left_alone(tmp_path):
    fit(checkpoints=training.Checkpoints(tmp_path), epochs=1)
    before = everything(tmp_path)
    for name, change in FOREIGN.items():
        with pytest.raises(
            training.CheckpointError, match=f"another run, wh(ose|ich) {name} .*overwrit"
        ):
            fit(checkpoints=training.Checkpoints(tmp_path), epochs=1, **change)
        assert everything(tmp_path) == before
    result = fit(checkpoints=training.Checkpoints(tmp_path, overwrite=True), batch_size=8)
    assert result.history.loss.shape == (6,)
    assert everything(tmp_path) != before


def test_a_run_knows_the_arrays_that_its_loss_closes_over(tmp_path):
    def times(factor):
        factors = np.full(3, factor, np.float32)
        return lambda x, y: jbce.sigmoid_binary_cross_entropy(x, y) * jnp.asarray(factors).mean()

    kept = training.Checkpoints(tmp_path)
    fit(checkpoints=kept, epochs=1, loss=times(1))
    with pytest.raises(training.CheckpointError, match="another run, whose steps compute"):
        fit(checkpoints=kept, epochs=1, loss=times(9))


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        kept = training.Checkpoints(tmp_path, overwrite=overwrite)
        with pytest.raises(training.CheckpointError, match=r"thesis\.tex"):
            fit(checkpoints=kept)
    assert everything(tmp_path) == {"thesis.tex"}
    with pytest.raises(NotADirectoryError, match=r"thesis\.tex is a file"):
        fit(checkpoints=training.Checkpoints(tmp_path / "thesis.tex"))


def test_sigterm_saves_and_exits(alone, tmp_path, capsys):
    kept = training.Checkpoints(tmp_path)  # which would wait a minute

    def terminate(report):
        if report.epoch == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as raised:
        fit(checkpoints=kept, callbacks=[terminate])
    assert raised.value.code == 143
    assert "SIGTERM: saved after 3 of 6 epochs" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    reports = []
    assert_same(fit(checkpoints=kept, callbacks=[reports.append]), alone)
    assert [row["epoch"] for report in reports for row in report.rows] == [4, 5, 6]


def test_files_go_on_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    from jbce.training import _passes

    monkeypatch.setattr(_passes, "_BATCHES", 2)
    for number in range(3):
        part = slice(number * 10, number * 10 + 10)
        np.savez(tmp_path / f"{number}.npz", x=FEATURES[part], y=LABELS[part])
    choice: dict[str, Any] = {
        "data": training.Files(tmp_path, features="x", labels="y", shuffle_rows=20),
        "batch_size": 4,
        "epochs": 2,
        "patience": 2,
    }
    wanted = leaves(fit(**choice))
    kept = training.Checkpoints(tmp_path / "run", seconds=0, keep=9)
    saved, save = [], training._checkpoints.Store.save

    def dies(self, state, position):
        save(self, state, position)
        saved.append(position)
        if len(saved) == 3:
            raise Death

    monkeypatch.setattr(training._checkpoints.Store, "save", dies)
    with pytest.raises(Death):
        fit(checkpoints=kept, **choice)
    assert saved[-1].epoch == 0 and saved[-1].batch == 6 and saved[-1].sums[1] > 0
    monkeypatch.setattr(training._checkpoints.Store, "save", save)
    assert_same(fit(checkpoints=kept, **choice), wanted)
