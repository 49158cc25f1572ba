"""The experiments and what runs them: the command, the files that it leaves, the numbers."""

import contextlib
import dataclasses
import decimal
import gzip
import hashlib
import html
import importlib.util
import io
import itertools
import json
import math
import os
import re
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import _benchmark, _data, _discovery, _environment, _gallery, _record
from experiments.__main__ import benchmarks, experiments, main

SMALLEST = {
    "accuracy": ["--stride", "9999991", "--max-classes", "3"],
    "calibration": [
        *("--data", "digits", "--num-epochs", "1", "--hidden-size", "4"),
        *("--methods", "temperature", "isotonic"),
    ],
    "cats_and_dogs": [
        *("--num-train", "60", "--num-epochs", "1", "--widths", "2", "--batch-size", "20"),
        *("--num-seeds", "2"),
    ],
    "certify": ["--stride", "9999991", "--seeds", "0", "--no-progress"],
    "audit_peers": ["--step", "45"],
    "confident_and_low_precision": [
        *("--num-seeds", "2", "--num-epochs", "1", "--hidden-size", "8"),
        *("--dtypes", "float32", "--temperatures", "4"),
    ],
    "diagnosis": ["--num-folds", "2", "--num-epochs", "20", "--hidden-size", "3"],
    "drop_in": ["--num-epochs", "2", "--hidden-size", "4"],
    "entropy_and_divergence": [
        *("--num-rows", "2", "--num-classes", "3", "--num-simulated", "40"),
    ],
    "gradient_checkers": ["--only", "relu"],
    "gradient_descent_path": [
        *("--batch-sizes", "2", "--num-steps", "40", "--num-drawn", "10"),
        *("--num-batches", "2", "--num-seeds", "2"),
    ],
    "gradient_noise_and_curvature": [
        *("--num-hidden", "2", "--num-steps", "3", "--num-times", "3", "--num-vectors", "24"),
        *("--num-probes", "2", "--num-seeds", "2"),
    ],
    "imbalanced": [
        *("--num-folds", "2", "--num-seeds", "1", "--num-epochs", "1", "--hidden-size", "2"),
        *("--max-rows", "1500", "--gammas", "2", "--no-resampling"),
    ],
    "implicit_bias": ["--num-steps", "30", "--num-times", "4", "--num-seeds", "2"],
    "language_model": [
        *("--num-steps", "2", "--vocabulary", "300", "--width", "8", "--num-layers", "1"),
        *("--context", "8", "--batch-size", "2", "--max-characters", "9000"),
        *("--memory-batch-size", "4"),
    ],
    "multiclass": [
        *("--num-train", "64", "--num-test", "40", "--num-epochs", "1", "--batch-size", "32"),
        *("--widths", "2", "--num-seeds", "2"),
    ],
    "noisy_labels": [
        *("--rates", "0.4", "--no-people", "--num-seeds", "2", "--num-epochs", "1"),
        *("--hidden-size", "2", "--num-learnt", "40", "--num-validated", "20"),
        *("--num-tested", "20"),
    ],
    "number_of_classes": [
        *("--at-start", "2", "10", "--spreads", "1.0", "--num-logits", "100", "--of-digits", "2"),
        *("--drawn", "2", "--num-features", "2", "--num-examples", "40", "--num-epochs", "1"),
        *("--num-seeds", "2"),
    ],
    "segmentation": [
        *("--losses", "cross-entropy", "--shrink", "16", "--num-crops", "4", "--crop-size", "8"),
        *("--num-epochs", "1", "--widths", "2", "4", "--batch-size", "4", "--num-seeds", "2"),
    ],
    "sentiment": [
        *("--data", "mr", "--num-folds", "2", "--num-epochs", "1", "--strengths", "4e-5"),
        *("--vocabulary", "500", "--length", "32", "--max-sentences", "400"),
    ],
    "soft_labels": ["--num-folds", "2", "--num-epochs", "1", "--hidden-size", "2"],
    "softmax_collapse": [
        *("--recipes", "drift", "--num-seeds", "2", "--num-steps", "40", "--every", "20"),
        *("--modulus", "7", "--arms", "float32", "exact"),
    ],
    "spam": [
        *("--num-folds", "2", "--num-epochs", "1", "--strengths", "1e-5", "--vocabulary", "500"),
        *("--length", "32", "--num-inner-folds", "2", "--hidden-size", "4"),
        *("--num-network-epochs", "1", "--max-examples", "400"),
    ],
    "squared_error": [
        "--margins",
        "0",
        "3",
        "--rates",
        "1",
        "--num-steps",
        "3",
        "--num-seeds",
        "2",
    ],
    "survival": ["--kills", "4", "--epochs", "20", "--hidden-size", "4"],
    "tabular": [
        *("--only", "wine", "--num-folds", "2", "--num-inner-folds", "2", "--num-steps", "4"),
        *("--hidden-sizes", "4", "--smoothings", "0.0", "--weight-decays", "0.1"),
    ],
    "worked_example": [],
}
NEEDS_DATA = {
    *("cats_and_dogs", "imbalanced", "multiclass", "segmentation", "sentiment", "soft_labels"),
    "spam",
}

# -------------------------------------------------------------------------------- every experiment


class Result(NamedTuple):
    """What an experiment left and said."""

    name: str
    folder: Path
    text: str


@pytest.fixture(scope="module", params=sorted(experiments()))
def result(request, tmp_path_factory):
    """An experiment with its smallest settings, run once for all tests (which pytest groups)."""
    name = request.param
    if name in NEEDS_DATA and not os.environ.get("JBCE_DATA_DIR"):
        pytest.skip("JBCE_DATA_DIR names no folder with the data")
    folder, said = tmp_path_factory.mktemp(name), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.delenv("COLUMNS", raising=False)
        assert main([name, *SMALLEST[name]], runs=folder) == 0
    return Result(name, folder / name, said.getvalue())


def of(name):
    """A test of one experiment."""
    return pytest.mark.parametrize("result", [name], indirect=True, scope="module")


every_experiment = pytest.mark.parametrize("name", sorted(experiments()))


def test_every_experiment_has_a_smallest_config():
    assert sorted(SMALLEST) == sorted(experiments())


@pytest.mark.jax_defaults
def test_metrics_are_strict_json_with_what_a_reader_needs(result):

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    contents = json.loads((result.folder / "metrics.json").read_text(), parse_constant=refuse)
    assert contents["experiment"] == result.name
    assert {"seed", "config", "seconds", "device", "platform", "cpu", "cores", "allocator"} <= set(
        contents
    )
    assert {"python", "jbce", "jax", "jaxlib", "numpy"} <= set(contents["versions"])
    assert contents["rows"]
    for row in contents["rows"]:
        assert set(row) == {"name", "value", "unit"}
        assert row["value"] is None or isinstance(row["value"], float)
    names = [row["name"] for row in contents["rows"]]
    assert len(names) == len(set(names))
    for headline in contents["headlines"]:
        low, value, high = (headline[name] for name in ("low", "value", "high"))
        assert low is None or low <= value <= high


@pytest.mark.jax_defaults
def test_report_stands_alone(result):
    page = (result.folder / "report.html").read_text()
    assert_stands_alone(page)
    drawings = sorted(path.name for path in result.folder.glob("*.svg"))
    assert page.count("<svg ") == len(drawings) == page.count("<figure>")
    assert f"python -m experiments {result.name}" in page


@pytest.mark.jax_defaults
def test_a_pipe_of_80_columns_loses_nothing(result):
    assert "…" not in result.text
    assert max(map(len, result.text.splitlines())) <= 80


@pytest.mark.jax_defaults
def test_only_results_are_left(result):
    assert {path.suffix for path in result.folder.iterdir()} <= {".json", ".html", ".svg"}


@every_experiment
def test_every_setting_is_explained(name, capsys):
    with pytest.raises(SystemExit) as exit:
        main([name, "--help"])
    assert exit.value.code == 0
    text = " ".join(re.sub("[│─╭╮╰╯]", " ", capsys.readouterr().out).split())
    module = sys.modules[f"experiments.{name}"]
    assert dataclasses.fields(module.Config)
    for field in dataclasses.fields(module.Config):
        option = field.name.replace("_", "-")
        # "--size INT Of what.", "--data {this,that} Which.", several of either in brackets, or
        # "--write, --no-write Whether to."
        shown = rf"--{option} (\w+|\{{[\w,-]+\}}|\[.+? \[.*?\.+\]\]) [A-Z]|--no-{option} [A-Z]"
        assert re.search(shown, text), field.name
    assert module.Config.__dataclass_params__.frozen


# ---------------------------------------------------------------------------------------- the data


@pytest.fixture
def data_file(tmp_path, monkeypatch):
    """A file of a data set that can be downloaded from another folder."""
    (tmp_path / "source.bin").write_bytes(b"data")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JBCE_DATA_DIR", str(tmp_path / "named"))
    return _data.File(
        "folder",
        "file.bin",
        hashlib.sha256(b"data").hexdigest(),
        (tmp_path / "source.bin").as_uri(),
    )


def test_data_are_looked_for_then_downloaded_once(data_file, tmp_path):
    cached = _data.path_of(data_file)
    assert cached == tmp_path / "cache" / "jbce" / "folder" / "file.bin"
    (tmp_path / "source.bin").unlink()
    assert _data.path_of(data_file) == cached
    named = tmp_path / "named" / "folder" / "file.bin"
    named.parent.mkdir(parents=True)
    named.write_bytes(b"data")
    assert _data.path_of(data_file) == named


def test_a_wrong_checksum_is_refused_and_removed(data_file, tmp_path):
    (tmp_path / "source.bin").write_bytes(b"torn")
    with pytest.raises(_data.MissingData, match="SHA-256"):
        _data.path_of(data_file)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_gzip_file_is_known_by_what_it_holds(data_file, tmp_path):
    for level in (1, 9):
        packed = data_file._replace(name=f"{level}.gz", url=(tmp_path / f"{level}.gz").as_uri())
        (tmp_path / f"{level}.gz").write_bytes(gzip.compress(b"data", level))
        assert gzip.decompress(_data.path_of(packed).read_bytes()) == b"data"
    torn = data_file._replace(name="torn.gz", url=(tmp_path / "torn.gz").as_uri())
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"data")[:-4])
    with pytest.raises(_data.MissingData, match="no whole gzip file"):
        _data.path_of(torn)
    assert _data.at_hand(torn) is None


def test_cifar_is_read_from_its_archive_too(tmp_path, monkeypatch):
    from experiments import _images

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    labels = np.array([3, 5, 0, 3, 5, 5, 9, 3], np.uint8)
    rows = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(8, -1)], 1)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for name, part in (("data_batch_1", rows[:5]), ("test_batch", rows[5:])):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = part.size
            tar.addfile(member, io.BytesIO(part.tobytes()))
    digest = hashlib.md5((folder / "cifar-10-binary.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setenv("JBCE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_images, "CIFAR_10", _images.CIFAR_10._replace(digest=digest))
    found = _images.cifar10((3, 5))
    assert found.train_labels.tolist() == [0, 1, 0, 1] and found.test_labels.tolist() == [1, 0]
    np.testing.assert_allclose(found.train, images[[0, 1, 3, 4]] / 255, rtol=1e-6)
    np.testing.assert_allclose(found.test, images[[5, 7]] / 255, rtol=1e-6)


def test_missing_data_say_where_they_were_looked_for(data_file, tmp_path):
    (tmp_path / "source.bin").unlink()
    with pytest.raises(_data.MissingData) as raised:
        _data.path_of(data_file)
    for words in (str(tmp_path / "named"), str(tmp_path / "cache"), data_file.url, "file.bin"):
        assert words in str(raised.value)


# ------------------------------------------------------------------------------------- the command


def test_list_says_what_there_is_without_importing_it(capsys):
    imported = {name for name in sys.modules if name.startswith("experiments.")}
    assert main([]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for entry in experiments().values():
        assert entry.name in text
        assert f"{entry.minutes:g} min" in text
        assert " ".join(entry.question.split()) in text
        assert entry.expect in text
    new = {name for name in sys.modules if name.startswith("experiments.")} - imported
    assert new <= {"experiments._terminal"}


def test_help_is_the_list(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == listed


@pytest.mark.parametrize("arguments", [["diagnosys"], ["benchmark", "nothing"]])
def test_unknown_name(arguments, capsys, tmp_path):
    assert main(arguments, runs=tmp_path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: there is no ")
    assert arguments[-1] in err
    if arguments == ["diagnosys"]:
        assert "Did you mean diagnosis?" in err
        assert all(name in err for name in experiments())
    assert not list(tmp_path.iterdir())


def test_unknown_option_is_an_error(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit:
        main(["worked_example", "--no-such-option", "1"], runs=tmp_path)
    assert exit.value.code == 2
    assert not list(tmp_path.iterdir())


def test_missing_extra_says_which(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["worked_example"], runs=tmp_path) == 1
    assert "python -m pip install -e '.[experiments]'" in capsys.readouterr().err


def test_a_new_file_is_a_new_entry(tmp_path):
    (tmp_path / "_private.py").write_text("no python at all")
    (tmp_path / "fresh.py").write_text(
        '"""Is it listed?\n\nCommand:  python -m experiments fresh\nMinutes:  2.5\n'
        'Expect:   yes,\n          it is.\n\nMore.\n"""\nraise RuntimeError("imported")\n'
    )
    (entry,) = _discovery.discover("package", tmp_path).values()
    assert entry == _discovery.Entry(
        "fresh", "package.fresh", "Is it listed?", 2.5, "yes, it is.", "More."
    )


@pytest.mark.parametrize("text", ["", '"""Only a question?"""', '"""What?\n\nMinutes:  1\n"""'])
def test_a_docstring_that_lacks_something_is_an_error(text, tmp_path):
    (tmp_path / "short.py").write_text(text)
    with pytest.raises(ValueError, match=r"short\.py"):
        _discovery.discover("package", tmp_path)


def test_dash_stands_for_underscore():
    assert _discovery.find("worked-example", experiments(), "experiment").name == "worked_example"


def test_docstrings_give_their_command():
    for entry in experiments().values():
        module_docstring = __import__(entry.module, fromlist=["_"]).__doc__
        assert f"Command:  python -m experiments {entry.name}" in module_docstring


# -------------------------------------------------------------------------------------- the record


def test_what_is_not_finite_is_null():
    record = _record.Record()
    for name, value in {"nan": math.nan, "inf": math.inf, "one": jnp.float32(1)}.items():
        record.metric(name, value, "1")
    assert [metric.value for metric in record.metrics] == [None, None, 1.0]
    text = _record.strict_json({"nested": [(math.nan, np.float32(2))], "deep": {"x": -math.inf}})
    assert json.loads(text) == {"nested": [[None, 2.0]], "deep": {"x": None}}


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    _record.write_text(path, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(_record.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        _record.write_text(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text() == "old"


def test_generated_text_is_escaped(tmp_path):
    from experiments._report import page

    hostile = "<script>alert('&')</script>\""
    record = _record.Record()
    record.say(hostile)
    record.table(hostile, (hostile,), [(hostile,)], note=hostile)
    record.metric(hostile, 1.0, hostile)

    @dataclasses.dataclass(frozen=True)
    class Config:
        text: str = hostile

    entry = _discovery.Entry(hostile, "module", hostile, 1.0, hostile, hostile)
    contents = record.write(tmp_path, name=hostile, config=Config())
    html = page(entry, record, contents, hostile)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("variables", "regime"),
    [
        ({}, "default"),
        ({"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}, "warm"),
        ({"MALLOC_MMAP_MAX_": "65536", "MALLOC_TRIM_THRESHOLD_": "1"}, "default"),
    ],
)
def test_environment_names_the_allocator(variables, regime, monkeypatch):
    for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _environment.environment()["allocator"] == regime


# ------------------------------------------------------------------------------------- the gallery


def assert_stands_alone(page):
    """The page loads nothing, refers to what it holds, and names nothing twice."""
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"<(script|link|img|iframe|object)\b|@import|\ssrc=", page)
    identities = re.findall(r'\bid="([^"]*)"', page)
    assert len(identities) == len(set(identities))
    references = re.findall(r'(?:href="|url\()([^")]*)', page)
    outside = [r for r in references if not r.startswith(("#", "data:image/png;base64,"))]
    assert not outside
    assert {r[1:] for r in references if r.startswith("#")} <= set(identities)


@pytest.mark.jax_defaults
def test_the_gallery_shows_what_runs_left(tmp_path, capsys):
    from experiments._gallery import table

    for name in ("worked_example", "softmax_collapse"):
        assert main([name, *SMALLEST[name]], runs=tmp_path) == 0
    assert main(["gallery"], runs=tmp_path) == 0
    page = (tmp_path / "gallery.html").read_text()
    assert_stands_alone(page)
    text = capsys.readouterr().out
    assert f"2 of {len(experiments())} experiments" in text and "Not run yet: accuracy" in text
    found = _gallery.last_runs(experiments(), tmp_path)
    headline, _ = found["softmax_collapse"].headlines
    assert re.fullmatch(r"drift: cosine .*, float32: -?0\.\d+ \(-?\S+ to -?\S+\)", headline)
    markdown = table(experiments(), found)
    for part in (page, markdown):
        assert headline in part
        assert all(entry.question in html.unescape(part) for entry in experiments().values())
    assert page.count("<figure>") == 1 and page.count("To expect:") == len(experiments()) - 2


def test_an_option_that_the_gallery_lacks_is_an_error(tmp_path, capsys):
    assert main(["gallery", "--wide"], runs=tmp_path) == 2
    assert "its only option is --write" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_table_of_experiments_knows_all_of_them():
    written = (Path(_gallery.__file__).parent / "README.md").read_text()
    for name, entry in experiments().items():
        assert f"| `{name}` | {entry.question} | {entry.minutes:g} |" in written


# ------------------------------------------------------------------------------ held-out examples


def test_log_losses_have_a_rule_of_thumb():
    from experiments._held_out import rule_of_thumb

    words = {0.01: "great", 0.05: "good", 0.2: "fair", 0.31: "not ideal", 1.0: "very poor"}
    assert {loss: rule_of_thumb(loss) for loss in words} == words


@pytest.mark.jax_defaults
def test_held_out_predictions_are_judged_as_scikit_learn_would(capsys):
    from sklearn import metrics as peers

    from experiments._held_out import HeldOut, judge

    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    logits = (2 * labels - 1 + 1.5 * random.normal(size=400)).astype(np.float32)
    record = _record.Record()
    models = {"ours": logits, "too sure": 3 * logits}
    judge(HeldOut("toy", models, labels, ("no", "yes"), id="a toy"), record, num_worst=2)
    found: dict[str, Any] = {metric.name: metric.value for metric in record.metrics}
    probs = 1 / (1 + np.exp(-np.float64(logits)))
    assert found["a_toy.log_loss.ours"] == pytest.approx(peers.log_loss(labels, probs), rel=1e-6)
    assert found["a_toy.auroc.ours"] == pytest.approx(peers.roc_auc_score(labels, logits))
    assert found["a_toy.log_loss.too_sure.difference.low"] > 0
    assert abs(found["a_toy.log_loss.calibrated.difference"]) < 0.05
    losses = -np.log(np.where(labels == 1, probs, 1 - probs))
    worst = np.argsort(-losses)[:2]
    tables = [block for block in record.blocks if isinstance(block, _record.Table)]
    assert [row[0] for row in tables[-1].rows] == [str(index) for index in worst]
    share = losses[worst].sum() / losses.sum()
    assert found["a_toy.worst_cases.share_of_loss"] == pytest.approx(share, rel=1e-6)


# -------------------------------------------------------------------------------------- benchmarks


def test_every_suite_is_listed(capsys):
    assert main(["benchmark"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in benchmarks())


@pytest.mark.jax_defaults
def test_the_losses_are_timed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # PyTorch compiles too long
    from experiments.benchmarks import losses as suite

    monkeypatch.setattr(suite, "CATEGORICAL_SHAPES", ((65_536, 10),))
    monkeypatch.setattr(suite, "BINARY_GOALS", {"int32": suite.BINARY_GOALS["int32"]})
    few = {
        name: lambda classes, of=of: dict([*of(classes).items()][:2])
        for name, of in suite.VARIANTS.items()
    }
    monkeypatch.setattr(suite, "VARIANTS", few)
    sizes = ["--size", "1000", "--shrink", "65536", "--rounds", "1", "--mean-of", "1000"]
    assert main(["benchmark", "losses", *sizes, "--no-warm"], runs=tmp_path) == 0
    rows = json.loads((tmp_path / "benchmark" / "losses.json").read_text())["rows"]
    assert {row["rival"] for row in rows} == {"Optax", "the plain loss", ""}
    assert all(row["value"] >= 0 and row["met"] in (True, False, None) for row in rows)
    assert rows[-1]["name"].startswith("mean of 1,000 losses") and rows[-1]["met"]


@pytest.mark.jax_defaults
def test_linear_losses_are_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sizes = ["--rows", "4", "--features", "3", "--classes", "50", "--rounds", "1"]
    assert main(["benchmark", "linear", *sizes], runs=tmp_path) == 0
    rows = json.loads((tmp_path / "benchmark" / "linear.json").read_text())["rows"]
    assert {row["rival"].split("=")[0] for row in rows} == {"all logits", "block_size"}
    assert {row["name"].split(", ")[0] for row in rows} == {"4 × 3 × 50", "4 × 3 × 47"}


@pytest.mark.parametrize(
    ("row", "ratio", "met"),
    [
        (dict(value=2.0), None, None),
        (dict(value=2.0, goal=3.0), None, True),
        (dict(value=2.0, goal=1.0), None, False),
        (dict(value=2.0, beside=4.0, goal=0.5), 0.5, True),
        (dict(value=2.0, beside=4.0, goal=0.4), 0.5, False),
        (dict(value=2.0, beside=4.0, goal=0.4, better="higher"), 0.5, True),
        (dict(value=math.nan, beside=4.0, goal=1.0), None, False),
        (dict(value=2.0, beside=0.0, goal=1.0), None, False),
        (dict(value=math.nan, goal=1.0), None, False),
    ],
)
def test_a_row_knows_its_ratio_and_whether_it_is_met(row, ratio, met):
    row = _benchmark.Row(name="loss", unit="ms", **row)
    assert (row.ratio, row.met) == (ratio, met)


def test_rows_are_written_and_what_is_not_met_is_marked(tmp_path, capsys):
    @dataclasses.dataclass(frozen=True)
    class Config:
        rounds: int = 3

    rows = [
        _benchmark.Row("fast", 1.0, "ms", beside=2.0, rival="optax", goal=1.0),
        _benchmark.Row("slow", 3.0, "ms", beside=2.0, rival="optax", goal=1.0),
        _benchmark.Row("lost", math.nan, "ms"),
    ]
    path = tmp_path / "benchmark" / "suite.json"
    assert _benchmark.write_rows(path, iter(rows), suite="suite", config=Config()) == rows
    contents = json.loads(path.read_text())
    assert contents["suite"] == "suite" and contents["config"] == {"rounds": 3}
    fast, slow, lost = contents["rows"]
    fields = {"name", "value", "unit", "beside", "ratio", "goal", "met", "versions", "device"}
    assert fields <= set(fast)
    assert (fast["ratio"], fast["met"], slow["met"]) == (0.5, True, False)
    assert (lost["value"], lost["met"]) == (None, None)

    _benchmark.show_rows("suite", rows)
    text = capsys.readouterr().out
    assert text.count("NOT MET") == 1
    assert "Not met, 1 of 2 goals: slow." in text


def test_a_suite_runs_by_name(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "suites"
    folder.mkdir()
    (folder / "tiny.py").write_text(
        '"""How fast is nothing?\n\nCommand:  python -m experiments benchmark tiny\n'
        'Minutes:  0\nExpect:   fast\n"""\n'
        "from dataclasses import dataclass\n"
        "from experiments._benchmark import Row\n"
        "@dataclass(frozen=True)\n"
        "class Config:\n"
        '    """Settings."""\n'
        "    value: float = 1.0\n"
        '    """What to report."""\n'
        "def run(config):\n"
        '    yield Row("nothing", config.value, "s", goal=1.5)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        "experiments.__main__.benchmarks", lambda: _discovery.discover("suites", folder)
    )
    assert main(["benchmark", "tiny", "--value", "2"], runs=tmp_path / "runs") == 0
    assert "NOT MET" in capsys.readouterr().out
    contents = json.loads((tmp_path / "runs" / "benchmark" / "tiny.json").read_text())
    assert contents["rows"][0]["value"] == 2.0


def test_timer_calls_in_turn_after_one_of_the_same_and_starts_elsewhere_each_round():
    calls = []
    thunks = {name: lambda name=name: calls.append(name) or jnp.zeros(()) for name in "abc"}
    timings = _benchmark.interleaved(thunks, rounds=3)
    assert "".join(calls) == "aabbccbbccaaccaabb"
    assert set(timings) == set("abc")
    assert all(0 < timing.minimum <= timing.median for timing in timings.values())


def test_timer_charges_no_call_for_what_another_left_to_do(monkeypatch):
    clock, left = [0.0], [0.0]
    monkeypatch.setattr(_benchmark.time, "perf_counter", lambda: clock[0])

    def call(takes, leaves):
        clock[0] += left[0] + takes
        left[0] = leaves

    thunks = {"tidy": lambda: call(0.25, 0.0), "untidy": lambda: call(0.25, 0.5)}
    timings = _benchmark.interleaved(thunks, rounds=2)
    assert timings["tidy"] == (0.25, 0.25)
    assert timings["untidy"] == (0.75, 0.75)


def test_timer_calls_what_takes_long_once_a_round(monkeypatch):
    monkeypatch.setattr(_benchmark, "_LONG", 0.0)
    calls = []
    _benchmark.interleaved({"long": lambda: calls.append(1)}, rounds=3)
    assert len(calls) == 3


def test_timer_refuses_no_rounds():
    with pytest.raises(ValueError, match="at least 1"):
        _benchmark.interleaved({}, rounds=0)


# ------------------------------------------------------------------------------ the worked example


def rows_of(folder):
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    return {row["name"]: row["value"] for row in rows}


@pytest.mark.jax_defaults
@of("worked_example")
def test_worked_example_is_the_formula_in_nats_and_in_bans(result):
    from experiments.worked_example import ACTUAL, PREDICTED

    folder, text = result.folder, result.text
    rows = rows_of(folder)
    y, p = np.array(ACTUAL), np.array(PREDICTED, float)
    formula = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert rows["log_loss"] == pytest.approx(formula, rel=4e-16)
    assert rows["log_loss_base_10"] == pytest.approx(formula / np.log(10), rel=4e-16)
    assert round(formula, 3) == 0.494 and round(formula / math.log(10), 3) == 0.214
    assert "0.494" in text and "0.214" in text


@pytest.mark.jax_defaults
@of("worked_example")
def test_worked_example_agrees_five_times_to_the_last_digits(result):
    from experiments.worked_example import WAYS

    rows = rows_of(result.folder)
    for name, dtype in itertools.product(WAYS, ("float64", "float32")):
        assert abs(rows[f"ulps.{name}.{dtype}"]) <= 2


def test_exact_log_loss_is_a_mean_of_logarithms():
    from experiments.worked_example import ACTUAL, PREDICTED, exact_log_loss

    terms = [
        math.log(float(p) if y else 1 - float(p)) for p, y in zip(PREDICTED, ACTUAL, strict=True)
    ]
    assert float(exact_log_loss()) == pytest.approx(-math.fsum(terms) / len(terms), rel=1e-15)


def test_ulps_count_spacings():
    from experiments.worked_example import ulps_from

    one = decimal.Decimal(1)
    assert ulps_from(one, np.float32(1)) == 0
    assert ulps_from(one, np.nextafter(np.float32(1), np.float32(2))) == 1
    assert ulps_from(one, np.float64(1 + 3 * 2.0**-52)) == 3


# ----------------------------------------------------------------------------------- the diagnosis


@pytest.mark.jax_defaults
def test_malignant_is_class_one():
    from experiments.diagnosis import load

    data = load()
    assert data.features.shape == (569, 30) and data.labels.sum() == 212


@pytest.mark.jax_defaults
@of("survival")
def test_runs_that_are_killed_end_as_one_that_was_not(result):
    rows = rows_of(result.folder)
    assert rows["kills"] >= 4
    assert rows["bitwise_equal_runs"] == rows["finished_runs"] >= 1
    assert rows["status_after_sigterm"] == 143 and rows["bitwise_equal_after_sigterm"] == 1
    assert rows["bitwise_equal_after_a_torn_checkpoint"] == 1
    assert rows["status_of_another_run"] == 1
    assert "whose batch_size is 32 instead of 16" in " ".join(result.text.split())


@pytest.mark.jax_defaults
@pytest.mark.thorough
def test_20_kills_change_nothing(tmp_path):
    options = ["--kills", "20", "--epochs", "20", "--hidden-size", "4"]
    assert main(["survival", *options], runs=tmp_path) == 0
    rows = rows_of(tmp_path / "survival")
    assert rows["kills"] >= 20 and rows["bitwise_equal_runs"] == rows["finished_runs"] >= 1


@pytest.mark.jax_defaults
@of("tabular")
def test_networks_on_tables_are_saved_to_the_bit(result):
    rows = rows_of(result.folder)
    assert rows["sets"] == 1 and rows["saved_models"] == 4
    assert rows["saved_models_with_bitwise_equal_logits"] == 4
    assert 0 < rows["log_loss.wine.networks"] < 3


@pytest.mark.jax_defaults
@of("diagnosis")
def test_diagnosis_reports_what_it_promises(result):
    rows = rows_of(result.folder)
    for model, metric in itertools.product(
        ("logistic_regression", "neural_network", "scikit_learn"),
        ("log_loss", "brier_score", "accuracy", "roc_auc", "expected_calibration_error"),
    ):
        assert 0 <= rows[f"{metric}.{model}"] <= 1
        assert rows[f"{metric}.{model}.standard_error"] >= 0
    ratio = rows["log_loss.logistic_regression"] / rows["log_loss.scikit_learn"]
    assert rows["log_loss_ratio"] == pytest.approx(ratio)
    assert rows["gradient.right"] == 1 and rows["gradient.entries"] == 30 * 3 + 3 + 3 + 1
    assert "RIGHT: the gradient, 97 entries." in result.text
    assert {path.stem for path in result.folder.glob("*.svg")} == {
        "training_curve",
        "reliability",
        "roc",
    }


@pytest.mark.jax_defaults
def test_logistic_regression_reaches_the_optimum_of_scikit_learn():
    """The same objective has the same minimum: compare the weights, not only the loss."""
    from flax import nnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from experiments.diagnosis import Config, fit, load
    from jbce import training

    config, data = Config(), load()
    features = StandardScaler().fit_transform(data.features).astype(np.float32)
    fitted = fit(
        training.LogisticRegression(features.shape[1], rngs=nnx.Rngs(0)),
        jnp.asarray(features),
        jnp.asarray(data.labels),
        inverse_penalty=config.inverse_penalty,
        learning_rate=config.learning_rate,
        num_epochs=config.num_epochs,
    )
    scikit = LogisticRegression(C=config.inverse_penalty, tol=1e-8, max_iter=10_000)
    scikit.fit(features, data.labels)
    np.testing.assert_allclose(
        np.asarray(fitted.model(jnp.asarray(features))),
        scikit.decision_function(features),
        rtol=1e-3,
        atol=1e-3,
    )


# ---------------------------------------------------------------------------- runs that are resumed


@pytest.mark.jax_defaults
def test_finished_runs_are_kept_by_all_that_they_depend_on(tmp_path):
    from experiments import softmax_collapse as collapse

    recipe = collapse.RECIPES["drift"]._replace(modulus=3, width=4, num_steps=2)
    config = collapse.Config(num_seeds=1, every=1, curves=str(tmp_path / "kept"))
    first = collapse.curves_of("drift", recipe, "exact", config)
    again = collapse.curves_of("drift", recipe, "exact", config)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    for measure, values in first.items():
        np.testing.assert_array_equal(again[measure], values)
    faster = recipe._replace(learning_rate=1.0)
    assert (
        collapse.curves_of("drift", faster, "exact", config)["log_loss"] != first["log_loss"]
    ).any()
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"arms": ("exakt",)}, "`arms` of drift are 'float32', .*, but 'exakt' came"),
        ({"num_steps": 5, "every": 2}, "multiple of `every`, but 5 and 2 came"),
    ],
)
def test_a_setting_that_no_recipe_has_is_refused(setting, says):
    from experiments import softmax_collapse as collapse

    with pytest.raises(ValueError, match=says):
        collapse.run(collapse.Config(recipes=("drift",), **setting), _record.Record())


# ------------------------------------------------------------------------ losses of the grokking


@pytest.mark.jax_defaults
def test_letting_go_is_exact_before_the_collapse_and_the_zero_sum_after_it():
    import jax

    from experiments.softmax_collapse import ARMS

    logits = jnp.array([[0.0, 1, 2, 20], [0, 1, 2, 5]])  # collapsed in float32, and not
    labels = jnp.array([3, 3])
    found = {
        name: np.asarray(jax.grad(lambda x, arm=ARMS[name]: arm.losses(x, labels).sum())(logits))
        for name in ("exact", "zero-sum", "exact, let go")
    }
    np.testing.assert_allclose(found["exact, let go"][0], found["zero-sum"][0], rtol=1e-5)
    np.testing.assert_array_equal(found["exact, let go"][1], found["exact"][1])
    powers = np.exp(np.array([0, 1, 2, -np.inf]) - 20)
    np.testing.assert_allclose(found["zero-sum"][0], powers - powers.mean(), rtol=1e-5)


@pytest.mark.jax_defaults
def test_an_orthogonal_gradient_keeps_the_length_of_its_weights():
    from experiments import softmax_collapse as collapse

    weights, gradient = np.random.default_rng(0).normal(size=(2, 3, 4))
    found = np.asarray(collapse._less_along(jnp.float32(gradient), jnp.float32(weights)))
    along = np.sum(weights * gradient) / np.sum(weights**2) * weights
    np.testing.assert_allclose(found, gradient - along, rtol=1e-4, atol=1e-6)
    recipe = collapse.RECIPES["drift"]._replace(modulus=5, width=8, num_steps=400)
    task = collapse.task_of(recipe, 0)
    plain, from_the_start, from_later = (
        collapse.trained(recipe, collapse.ARMS["exact"]._replace(orthogonal_below=loss), 200, task)[
            "largest_logit"
        ]
        for loss in (0.0, 1e9, 1.0)
    )
    assert from_the_start[-1] < plain[-1] / 2
    np.testing.assert_allclose(from_later[:2], plain[:2], rtol=1e-5)
    assert from_later[-1] < plain[-1]


# --------------------------------------------------------------------------- influence of examples


@pytest.mark.jax_defaults
def test_influence_solves_its_equation_and_foretells_what_leaving_out_does():
    """A linear model: its Gauss-Newton matrix is its Hessian, which is small enough to be whole."""
    import jax
    import jax.flatten_util
    from flax import nnx

    import jbce
    from experiments.confident_and_low_precision import TRUTH, _gradients, _leaving
    from jbce import training

    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        labels = random.integers(0, 3, 30).astype(np.int32)
        images = jnp.asarray(random.normal(size=(30, 2)) + np.eye(3)[labels, :2])
        graphdef, params = nnx.split(training.MLP(2, [], 3, rngs=nnx.Rngs(0)))
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        flat, unflatten = jax.flatten_util.ravel_pytree(params)

        def mean_loss(weights, examples):
            logits = nnx.merge(graphdef, unflatten(weights))(images[examples])
            losses = jbce.softmax_cross_entropy_with_integer_labels(logits, labels[examples])
            return jnp.mean(losses)

        learnt, test = np.arange(20), np.arange(20, 30)
        inputs = images[learnt], labels[learnt], images[test], labels[test]
        solution = np.asarray(_leaving(graphdef, params, inputs))
        hessian = np.asarray(jax.hessian(mean_loss)(flat, learnt))
        wanted = np.asarray(jax.grad(mean_loss)(flat, test))
        rest = wanted - hessian @ solution
        damping = rest @ solution / (solution @ solution)
        np.testing.assert_allclose(rest, damping * solution, atol=1e-5 * np.abs(wanted).max())
        assert 0.7 < damping / (np.trace(hessian) / flat.size) < 1.4
        # one step of Newton from where all are learnt to where one is left out
        gradients = np.asarray(_gradients(graphdef, TRUTH, params, *inputs[:2]))
        damped = hessian + damping * np.eye(flat.size)
        for left in (0, 7):
            weight = 1e-6
            moved = flat + weight * np.linalg.solve(damped, gradients[left])
            change = mean_loss(moved, test) - mean_loss(flat, test)
            assert gradients[left] @ solution == pytest.approx(float(change) / weight, rel=1e-4)
