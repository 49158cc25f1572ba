"""The command line on files: evaluate, calibrate, explain."""

import functools
import json
import sys
import zipfile

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import scipy.stats
import sklearn.metrics

from jbce import calibration, metrics
from jbce.cli import _evaluate, _ranks, _tabular, main

ROWS = 300
RNG = np.random.default_rng(0)
Z = 2 * RNG.normal(size=ROWS)
Y = (RNG.random(ROWS) < 1 / (1 + np.exp(-Z))).astype(np.int64)
P, Q = 1 / (1 + np.exp(-Z)), 1 / (1 + np.exp(-2 * Z + 0.5))
W = RNG.integers(0, 4, ROWS).astype(np.float64)
G = RNG.choice(["north", "south", "west"], ROWS)
TABLE = {"y": Y, "p": P, "q": Q, "w": W, "g": G}
CLASS_LOGITS = 1.5 * RNG.normal(size=(ROWS, 11))
CLASS_LABELS = np.array([RNG.choice(11, p=np.exp(x) / np.exp(x).sum()) for x in CLASS_LOGITS])
CLASS_PROBS = np.exp(CLASS_LOGITS) / np.exp(CLASS_LOGITS).sum(axis=1, keepdims=True)
# Out of their order, and with 10 before 2 in that of strings.
CLASS_TABLE = {f"p_{k}": CLASS_PROBS[:, k] for k in (10, *range(10))} | {"y": CLASS_LABELS}
QUANTILE = 1.6448536269514722  # of a 90 % interval
TWO = ["--label", "y", "--prob", "p", "--prob", "q"]
CLASSES = ["--label", "y", "--prob", "p_*"]


def write(path, columns):
    columns = dict(columns)
    if path.suffix == ".npz":
        np.savez(path, **columns)
        return path
    arrays = {
        name: pa.array(list(a)) if isinstance(a, np.ndarray) and a.ndim == 2 else pa.array(a)
        for name, a in columns.items()
    }
    table = pa.table(arrays)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=100)
    else:
        options = pyarrow.csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
        pyarrow.csv.write_csv(table, path, options)
    return path


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def found(capsys):
    """The JSON that a command prints."""

    def run(*arguments):
        status = main([*map(str, arguments), "--json"])
        output = capsys.readouterr()
        assert (status, output.err) == (0, "")
        return json.loads(output.out, parse_constant=refuse)

    return run


@pytest.fixture
def said(capsys):
    """What a command that fails says."""

    def run(*arguments):
        assert main([*map(str, arguments)]) == 3
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("jbce: ") and output.err.count("\n") == 1
        return output.err

    return run


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "predictions.parquet", TABLE)


def models(result):
    return {model["name"]: model["metrics"] for model in result["models"]}


@functools.cache
def every_metric(binary):
    """The metrics that scikit-learn has no name for, compiled as one."""
    partial = functools.partial
    every = {
        "expected_calibration_error": metrics.expected_calibration_error,
        "smooth_calibration_error": metrics.smooth_calibration_error,
    }
    if binary:
        positive = partial(metrics.expected_calibration_error, of="positive")
        every["positive_calibration_error"] = positive
    else:
        every["brier_score"] = metrics.brier_score
        every["top_5_accuracy"] = metrics.top_k_accuracy
        every["class_calibration_error"] = partial(metrics.expected_calibration_error, of="classes")
    return jax.jit(
        lambda logits, labels, weights: {
            name: metric(logits, labels, weights=weights) for name, metric in every.items()
        }
    )


def at_once(logits, labels, weights=None):
    weights = np.ones(len(labels)) if weights is None else weights
    with jax.enable_x64(True):
        found = every_metric(logits.ndim == 1)(logits, labels, weights)
        return {name: float(value) for name, value in found.items()}


def of_sklearn(probs, labels, weights=None):
    """What scikit-learn has a name for."""
    m, options = sklearn.metrics, {"sample_weight": weights}
    decisions = probs > 0.5
    return {
        "log_loss": m.log_loss(labels, probs, **options),
        "brier_score": m.brier_score_loss(labels, probs, **options),
        "accuracy": m.accuracy_score(labels, decisions, **options),
        "balanced_accuracy": m.balanced_accuracy_score(labels, decisions, **options),
        "precision": m.precision_score(labels, decisions, **options),
        "recall": m.recall_score(labels, decisions, **options),
        "f1_score": m.f1_score(labels, decisions, **options),
        "matthews_correlation": m.matthews_corrcoef(labels, decisions, **options),
        "roc_auc": m.roc_auc_score(labels, probs, **options),
        "average_precision": m.average_precision_score(labels, probs, **options),
    }


def close(actual, expected):
    picked = {name: actual[name] for name in expected}
    assert picked == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_binary_metrics_are_those_at_once_and_of_scikit_learn(file, found):
    result = found("evaluate", file, *TWO)
    for name, probs in {"p": P, "q": Q}.items():
        close(models(result)[name], at_once(np.log(probs) - np.log1p(-probs), Y))
        close(models(result)[name], of_sklearn(probs, Y))
    share = Y.mean()
    base = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert result["rows"] == result["total_weight"] == ROWS
    assert result["class_shares"] == pytest.approx({"0": 1 - share, "1": share})
    assert result["base_rate_log_loss"] == pytest.approx(base)
    skill = {"log_loss_skill": 1 - sklearn.metrics.log_loss(Y, P) / base}
    close(models(result)["p"], skill)
    terms = [models(result)["p"][f"brier_{t}"] for t in ("reliability", "resolution")]
    rest = [models(result)["p"][f"brier_{t}"] for t in ("uncertainty", "within_bins")]
    total = terms[0] - terms[1] + sum(rest)
    assert total == pytest.approx(models(result)["p"]["brier_score"], rel=1e-12)


def test_intervals_and_differences_are_paired(file, found):
    result = found("evaluate", file, *TWO, "--confidence", "0.9")
    assert result["comparison"]["baseline"] == "p"
    squares = [(p - Y) ** 2 for p in (P, Q)]
    logs = [-np.log(np.where(Y == 1, p, 1 - p)) for p in (P, Q)]
    for name, (of_p, of_q) in {"log_loss": logs, "brier_score": squares}.items():
        found_one = result["comparison"]["metrics"][name]["q"]
        mean, error = (of_q - of_p).mean(), (of_q - of_p).std(ddof=1) / ROWS**0.5
        assert found_one["difference"] == pytest.approx(mean)
        assert found_one["standard_error"] == pytest.approx(error)
        ends = [mean - QUANTILE * error, mean + QUANTILE * error]
        for low, high in (("low", "high"), ("adjusted_low", "adjusted_high")):
            assert [found_one[low], found_one[high]] == pytest.approx(ends)
        p_value = 2 * scipy.stats.norm.sf(abs(mean) / error)
        assert [found_one["p_value"], found_one["adjusted_p_value"]] == pytest.approx([p_value] * 2)
    losses = -np.log(np.where(Y == 1, P, 1 - P))
    half = QUANTILE * losses.std(ddof=1) / ROWS**0.5
    interval = result["models"][0]["intervals"]["log_loss"]
    assert interval == pytest.approx([losses.mean() - half, losses.mean() + half])


def test_weights_and_groups(file, found):
    result = found("evaluate", file, *TWO, "--weight", "w", "--group", "g", "--batch-rows", 77)
    close(models(result)["p"], of_sklearn(P, Y, W))
    close(models(result)["q"], at_once(np.log(Q) - np.log1p(-Q), Y, W))
    assert [group["name"] for group in result["groups"]] == ["north", "south", "west"]
    for group in result["groups"]:
        some = group["name"] == G
        assert group["rows"] == some.sum() and group["total_weight"] == W[some].sum()
        close(models(group)["q"], of_sklearn(Q[some], Y[some], W[some]))


def as_logits(columns):
    return columns | {"p": np.log(P) - np.log1p(-P), "q": np.log(Q) - np.log1p(-Q)}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".npz", ".parquet"])
def test_every_format_and_any_batch_give_the_same(suffix, tmp_path, file, found):
    expected = found("evaluate", file, *TWO)
    path = write(tmp_path / f"logits{suffix}", as_logits(TABLE))
    arguments = ["--label", "y", "--logit", "p", "--logit", "q"]
    result = found("evaluate", path, *arguments, "--batch-rows", 64)
    for name in ("p", "q"):
        close(models(result)[name], models(expected)[name])
    assert result["comparison"]["metrics"]["accuracy"]["q"] == pytest.approx(
        expected["comparison"]["metrics"]["accuracy"]["q"]
    )


def test_a_folder_is_one_table_and_its_keys_are_columns(tmp_path, file, found, monkeypatch):
    expected = found("evaluate", file, *TWO, "--group", "g")
    for name in np.unique(G):
        folder = tmp_path / "all" / f"g={name}"
        folder.mkdir(parents=True)
        rows = {k: v[name == G] for k, v in TABLE.items() if k != "g"}
        write(folder / "part.parquet", rows)
    (tmp_path / "all" / "_SUCCESS").touch()
    for lump in (10**6, 1):  # row groups that are held, and that are not
        monkeypatch.setattr(_tabular, "_LUMP_ROWS", lump)
        result = found("evaluate", tmp_path / "all", *TWO, "--group", "g", "--batch-rows", 41)
        close(models(result)["p"], models(expected)["p"])
        assert [g["rows"] for g in result["groups"]] == [g["rows"] for g in expected["groups"]]


@pytest.mark.parametrize("labels", ["numbers", "strings", "lists", "npz"])
def test_several_classes(labels, tmp_path, found):
    columns, arguments = CLASS_TABLE, CLASSES
    if labels == "strings":
        names = np.array([f"c{k}" for k in range(11)])
        columns = {f"p_{names[k]}": CLASS_PROBS[:, k] for k in range(11)}
        columns |= {"y": names[CLASS_LABELS]}
    elif labels in ("lists", "npz"):
        order = "F" if labels == "npz" else "C"
        columns = {"z": np.asarray(CLASS_LOGITS, order=order), "y": CLASS_LABELS.astype(np.float32)}
        arguments = ["--label", "y", "--logit", "z"]
    suffix = "npz" if labels == "npz" else "parquet"
    result = found("evaluate", write(tmp_path / f"f.{suffix}", columns), *arguments)
    (judged,) = models(result).values()
    close(judged, at_once(CLASS_LOGITS, CLASS_LABELS))
    close(
        judged,
        {
            "log_loss": sklearn.metrics.log_loss(CLASS_LABELS, CLASS_PROBS),
            "accuracy": sklearn.metrics.accuracy_score(CLASS_LABELS, CLASS_PROBS.argmax(1)),
            "matthews_correlation": sklearn.metrics.matthews_corrcoef(
                CLASS_LABELS, CLASS_PROBS.argmax(1)
            ),
            "roc_auc": sklearn.metrics.roc_auc_score(CLASS_LABELS, CLASS_PROBS, multi_class="ovr"),
            "f1_score": sklearn.metrics.f1_score(
                CLASS_LABELS, CLASS_PROBS.argmax(1), average="macro"
            ),
        },
    )
    assert list(result["class_shares"]) == [
        f"c{k}" if labels == "strings" else str(k) for k in range(11)
    ]


@pytest.mark.parametrize("values", [["ham", "spam"], [1, 2], [-1, 1], [False, True]])
def test_the_positive_label_is_named(values, tmp_path, file, found):
    path = write(tmp_path / "f.csv", TABLE | {"y": np.array(values)[Y]})
    positive = "true" if values[1] is True else values[1]
    result = found("evaluate", path, *TWO, "--positive", positive)
    close(models(result)["p"], of_sklearn(P, Y))


def test_types_that_other_programs_write(tmp_path, found):
    """Categories, small and decimal numbers, and what is no number of bytes."""
    columns = {
        "y": pa.array(Y.astype(np.float64)).dictionary_encode(),
        "p": pa.array(P.astype(np.float16)),
        "q": pa.array(np.round(Q, 4)).cast(pa.decimal128(6, 4)),
        "g": pa.array([None if g == "west" else g for g in G]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    result = found("evaluate", tmp_path / "f.parquet", *TWO, "--group", "g")
    close(models(result)["q"], of_sklearn(np.round(Q, 4), Y))
    assert [group["name"] for group in result["groups"]] == ["(missing)", "north", "south"]


def test_what_is_undefined_is_null_with_a_reason(tmp_path, found, capsys):
    path = write(tmp_path / "f.npz", TABLE | {"y": np.zeros(ROWS, int)})
    result = found("evaluate", path, *TWO)
    (undefined, _) = (model["undefined"] for model in result["models"])
    reason = "one class only: every label is 0"
    for name in ("roc_auc", "matthews_correlation", "log_loss_skill"):
        assert models(result)["p"][name] is None and undefined[name] == reason
    assert undefined["average_precision"] == undefined["recall"] == "no label is 1"
    nulls = {name for name, value in models(result)["p"].items() if value is None}
    assert nulls == set(undefined)
    assert main(["evaluate", str(path), *TWO]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{reason}." in printed and "NaN" in printed


def test_a_certain_mistake_costs_inf_and_nothing_counts_is_undefined(tmp_path, found, capsys):
    columns = TABLE | {"p": np.where(np.arange(ROWS) == 7, 1 - Y, P), "w": np.zeros(ROWS)}
    path = write(tmp_path / "f.parquet", columns)
    result = found("evaluate", path, *TWO)
    assert models(result)["p"]["log_loss"] == "inf" and result["comparison"]["baseline"] == "q"
    assert "log_loss" not in result["models"][0]["intervals"]
    assert main(["evaluate", str(path), *TWO]) == 0
    assert "log loss of p is infinite" in " ".join(capsys.readouterr().out.split())
    result = found("evaluate", path, *TWO, "--weight", "w")
    assert set(models(result)["q"].values()) == {None}
    reasons = set(result["models"][1]["undefined"].values())
    assert reasons == {"no example has a weight above 0"}


def test_what_is_too_much_for_memory_has_a_bound(file, found, monkeypatch):
    exact = models(found("evaluate", file, *TWO))
    monkeypatch.setattr(_ranks, "_KEPT", 0)
    result = found("evaluate", file, *TWO)
    for model in result["models"]:
        for name in ("roc_auc", "average_precision"):
            error = abs(model["metrics"][name] - exact[model["name"]][name])
            assert error <= model["error_at_most"][name] + 1e-12 and error < 1e-2


@pytest.mark.parametrize("tied", [False, True])
def test_curves_and_bounds_of_bins(tied):
    logits = np.round(Z, 1) if tied else Z
    logits = np.where(np.arange(ROWS) < 5, np.inf, np.where(np.arange(ROWS) < 9, -np.inf, logits))
    rows = _ranks.Rows(logits[None], Y.astype(np.int32), W)
    stream = metrics.stream([metrics.histogram_roc_auc])
    with jax.enable_x64(True):
        high, low = stream.update(stream.init(), logits, Y, weights=W)["histogram_roc_auc"]
    for counts in (_ranks.of_rows(rows, 0), _ranks.of_bins(np.asarray(high) + np.asarray(low))):
        roc, recall = _ranks.curves(counts)
        area = np.trapezoid(roc.true_positive_rate, roc.false_positive_rate)
        expected = sklearn.metrics.roc_auc_score(Y, np.clip(logits, -99, 99), sample_weight=W)
        assert area == pytest.approx(expected, abs=1e-2)
        estimate, error = _ranks.average_precision(counts)
        steps = np.sum(np.diff(recall.recall) * recall.precision[1:])
        assert steps == pytest.approx(estimate)
        exact = sklearn.metrics.average_precision_score(
            Y, np.clip(logits, -99, 99), sample_weight=W
        )
        assert abs(estimate - exact) <= error + 1e-12
        assert (np.diff(roc.thresholds[1:]) < 0).all() and counts.edges[0] == -np.inf
        histogram = _ranks.score_histogram(counts)
        assert histogram.positives.sum() == pytest.approx((W * Y).sum())


# What is wrong, in which columns, with which arguments, and what is said of it.
P_AT = functools.partial(np.where, np.arange(ROWS) == 205)
WRONG = {
    "NaN": ({"p": P_AT(np.nan, P)}, TWO, "column 'p', row 205: a probability must be in [0, 1]"),
    "above 1": ({"q": P_AT(1.5, Q)}, TWO, "column 'q', row 205: a probability must be in [0, 1]"),
    "logits": ({"p": Z}, TWO, "logits go by --logit"),
    "NaN logit": (
        {"p": P_AT(np.nan, Z)},
        ["--label", "y", "--logit", "p"],
        "column 'p', row 205: a logit must be a number, but nan came",
    ),
    "label": ({"y": P_AT(2, Y)}, TWO, "column 'y', row 205: labels must be 0 and 1, but 2 came"),
    "string labels": ({"y": G}, TWO, "column 'y', row 0: labels must be 0 and 1, but '"),
    "three labels": ({"y": G}, [*TWO, "--positive", "west"], "labels must be one of two, but"),
    "no label": ({}, ["--label", "Y", "--prob", "p"], "no column 'Y', did you mean 'y'? it has "),
    "no model": (
        {},
        ["--label", "y", "--prob", "zzz"],
        "there is no column 'zzz'; it has 'y', 'p'",
    ),
    "no group": ({}, [*TWO, "--group", "gg"], "there is no column 'gg'"),
    "twice": ({}, [*TWO, "--prob", "p"], "the model 'p' came twice"),
    "strings": ({"p": G}, TWO, "column 'p'"),
    "weight": ({"w": P_AT(-1, W)}, [*TWO, "--weight", "w"], "column 'w', row 205: weights must"),
    "pattern": ({}, ["--label", "y", "--prob", "r_*"], "no column matches 'r_*'"),
    "two stars": ({}, ["--label", "y", "--prob", "*_*"], "has one `*`"),
    "one class": ({"p_0": P}, ["--label", "y", "--prob", "p_*"], "only 'p_0' matches 'p_*'"),
    "sum": (
        {"p_0": P, "p_1": P_AT(0.9, 1 - P)},
        ["--label", "y", "--prob", "p_*"],
        "column 'p_*', row 205: the probabilities of a row must sum to 1, but",
    ),
    "several kinds": (
        {"p_0": P, "p_1": 1 - P},
        ["--label", "y", "--prob", "p_*", "--prob", "p"],
        "'p_*' has 2 numbers, 'p' has one number",
    ),
    "different classes": (
        {"p_0": P, "p_1": 1 - P, "q_a": Q, "q_b": 1 - Q},
        ["--label", "y", "--prob", "p_*", "--prob", "q_*"],
        "name different classes",
    ),
    "no such class": (
        {"p_a": P, "p_b": 1 - P, "y": G},
        ["--label", "y", "--prob", "p_*"],
        "is none of the classes that the columns name: 'a', 'b'",
    ),
    "positive class": (
        {"p_0": P, "p_1": 1 - P},
        ["--label", "y", "--prob", "p_*", "--positive", "1"],
        "--positive is for binary labels",
    ),
    "all impossible": (
        {"z_0": P_AT(-np.inf, Z), "z_1": P_AT(-np.inf, Z)},
        ["--label", "y", "--logit", "z_*"],
        "column 'z_*', row 205: the logits of a row must give probabilities, but all are -inf",
    ),
}


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".parquet"])
@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_named_by_file_column_and_row(case, suffix, tmp_path, said):
    columns, arguments, expected = WRONG[case]
    if suffix == ".csv" and case in ("NaN", "NaN logit"):
        expected = "column 'p', row 205"
    path = write(tmp_path / f"f{suffix}", TABLE | columns)
    report = tmp_path / "report.html"
    batches = ["--batch-rows", 50] if arguments[: len(TWO)] == TWO else []
    message = said("evaluate", path, *arguments, *batches, "--report", report)
    assert expected in message and (str(path) in message or "f." not in message)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def list_column(last):
    return {"y": [0, 1], "z": pa.array([[0.0, 1.0], last], pa.list_(pa.float64()))}


BROKEN = {
    "nothing.parquet": (b"", "the file is empty"),
    "nothing.csv": (b"", "the file is empty"),
    "header.csv": (b"y,p,q\n", "there are no rows"),
    "text.csv": (b"y,p,q\n0,.5,.5\n1,x,.5\n", "column 'p', row 1: 'x' is not a number"),
    "short.csv": (b"y,p,q\n0,.5,.5\n1,.5\n", "row 1: it cannot be read as CSV: CSV parse error"),
    "hole.csv": (b"y,p,q\n0,.5,.5\n,.5,.5\n", "column 'y', row 1: a value is missing"),
    "late.csv": (
        b"y,p,q\n" + b"0,0.5,0.5\n" * 200_000 + b"0,0.5,oops\n",
        "column 'q', row 200000: 'oops' is not a number",
    ),
    "bad.parquet": (b"PAR1 no", "it cannot be read as Parquet"),
    "bad.npz": (b"PK no", "it cannot be read as NPZ"),
    "what.bin": (b"?", "--format csv|parquet|npz says it"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named(name, tmp_path, said):
    contents, expected = BROKEN[name]
    (tmp_path / name).write_bytes(contents)
    message = said("explain", tmp_path / name, "--label", "y", "--prob", "p", "--show", "q")
    assert str(tmp_path / name) in message and expected in message


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_truncated_file_is_named(suffix, kept, tmp_path, said):
    path = write(tmp_path / f"f{suffix}", TABLE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert f"{path}: it cannot be read as" in said("evaluate", path, *TWO)


def test_a_damaged_page_is_named(tmp_path, said):
    path = write(tmp_path / "f.parquet", TABLE)
    contents = bytearray(path.read_bytes())
    contents[4:60] = bytes(56)
    path.write_bytes(contents)
    assert f"{path}: it cannot be read as Parquet" in said("evaluate", path, *TWO)


def test_archives_of_mixed_lengths_shapes_and_pickles(tmp_path, said):
    path = tmp_path / "f.npz"
    np.savez(path, y=Y, p=P[1:], q=Q)
    assert "'p' has 299, 'y' has 300" in said("explain", path, "--label", "y", "--prob", "p")
    np.savez(path, y=Y, p=np.array([{}] * ROWS, object))
    message = said("explain", path, "--label", "y", "--prob", "p")
    assert f"{path}, column 'p': it holds Python objects" in message
    np.savez(path, y=Y, p=np.zeros([ROWS, 2, 2]))
    assert "its shape is [300, 2, 2]" in said("explain", path, "--label", "y", "--prob", "p")
    np.savez_compressed(path, y=Y, p=P)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("p.npy").header_offset + 400
    contents = bytearray(path.read_bytes())
    contents[offset : offset + 40] = bytes(40)
    path.write_bytes(contents)
    assert f"{path}: it cannot be read as NPZ" in said(
        "explain", path, "--label", "y", "--prob", "p"
    )


def test_lists_of_different_lengths(tmp_path, said):
    path = tmp_path / "f.parquet"
    for last, expected in (
        ([0.0], "row 1: 1 numbers came, but the rows before have 2"),
        ([0.0, None], "row 1: a value is missing"),
        (None, "row 1: a value is missing"),
    ):
        pq.write_table(pa.table(list_column(last)), path)
        assert expected in said("explain", path, "--label", "y", "--logit", "z")


def test_folders_that_say_nothing(tmp_path, said):
    assert "there is no such file" in said("evaluate", tmp_path / "none", *TWO)
    assert "holds no file of predictions" in said("evaluate", tmp_path, *TWO)
    write(tmp_path / "a.csv", TABLE)
    write(tmp_path / "b.npz", TABLE)
    assert "several formats (csv, npz)" in said("evaluate", tmp_path, *TWO)
    (tmp_path / "b.npz").unlink()
    write(tmp_path / "b.csv", {"y": Y, "q": Q})
    assert f"{tmp_path / 'b.csv'}: there is no column 'p'" in said("evaluate", tmp_path, *TWO)


@pytest.mark.parametrize(
    "arguments",
    [["--label", "y"], [*TWO, "--logit", "p"], ["--prob", "p"], [*TWO, "--confidence", "95"]],
)
def test_misuse_is_3(arguments, file, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(file), *arguments])
    assert stop.value.code == 3
    assert "usage: jbce evaluate" in capsys.readouterr().err


def test_the_tables_fit_a_terminal(file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["evaluate", str(file), *TWO, "--group", "g"]) == 0
    out = capsys.readouterr().out
    first, *lines = out.splitlines()
    assert first == str(file) and max(map(len, lines)) <= 80
    for words in ("log loss (nats)", "ROC AUC", "difference", "west", f"{ROWS} rows"):
        assert words in out
    assert "…" not in out and "\x1b" not in out
    assert f"{sklearn.metrics.log_loss(Y, P):.5f}" in out


def test_the_report_is_one_whole_page(file, tmp_path, said, found):
    path = tmp_path / "report.html"
    found("evaluate", file, *TWO, "--group", "g", "--report", path)
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == page.count("</svg>") == 5
    for no in ("<script", "<link", "src=", "@import", "url(http"):
        assert no not in page
    assert "width=device-width" in page and "prefers-color-scheme: dark" in page
    identities = [part.partition('"')[0] for part in page.split(' id="')[1:]]
    assert len(identities) == len(set(identities))
    assert "--overwrite replaces it" in said("evaluate", file, *TWO, "--report", path)
    assert path.read_text(encoding="utf-8") == page
    assert "there is no folder" in said("evaluate", file, *TWO, "--report", tmp_path / "a" / "b")
    found("evaluate", file, *TWO, "--report", path, "--overwrite")
    assert sorted(p.name for p in tmp_path.iterdir()) == [file.name, path.name]


def test_names_in_a_report_are_text(tmp_path, found):
    name = "<b>&amp;"
    path = write(tmp_path / "f.npz", {"y": Y, name: P, "q": Q})
    found(
        "evaluate", path, "--label", "y", "--prob", name, "--prob", "q", "--report", tmp_path / "r"
    )
    page = (tmp_path / "r").read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;&amp;amp;" in page


def test_explain_gives_the_worst(file, found, capsys):
    losses = -np.log(np.where(Y == 1, P, 1 - P))
    worst = np.argsort(-W * losses, kind="stable")[:7]
    arguments = ["explain", file, "--label", "y", "--prob", "p", "--weight", "w", "--top", 7]
    results = [found(*arguments, "--show", "g", "q", "--batch-rows", n) for n in (37, 300)]
    cases, whole = (result["cases"] for result in results)
    for case, other in zip(cases, whole, strict=True):
        assert case == other | {"share_of_loss": pytest.approx(other["share_of_loss"])}
    assert [case["row"] for case in cases] == worst.tolist()
    for case, row in zip(cases, worst, strict=True):
        assert case["label"] == str(Y[row]) and case["columns"]["g"] == G[row]
        assert case["predicted_probability"] == pytest.approx(P[row])
        assert case["corrected_probability"] == pytest.approx(np.exp(-losses[row]))
        assert case["log_loss"] == pytest.approx(losses[row])
        assert case["share_of_loss"] == pytest.approx(W[row] * losses[row] / (W @ losses))
    assert results[0]["mean_log_loss"] == pytest.approx(W @ losses / W.sum())
    assert main([*map(str, arguments)]) == 0
    assert f"7 of {ROWS} rows make up" in capsys.readouterr().out


def test_explain_of_several_classes(tmp_path, found, capsys):
    path = write(tmp_path / "f.csv", CLASS_TABLE)
    of_label = CLASS_PROBS[np.arange(ROWS), CLASS_LABELS]
    cases = found("explain", path, *CLASSES, "--top", 3)["cases"]
    worst = np.argsort(of_label)[:3]
    assert [case["row"] for case in cases] == worst.tolist()
    assert [case["decision"] for case in cases] == list(map(str, CLASS_PROBS[worst].argmax(1)))
    assert cases[0]["corrected_probability"] == pytest.approx(of_label.min())
    assert main(["explain", str(path), *CLASSES]) == 0
    assert "p(label)" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["c.json", "c.safetensors"])
def test_calibrate_is_honest_and_what_it_saves_loads(output, tmp_path, file, found):
    logits = np.log(Q) - np.log1p(-Q)
    arguments = ["--label", "y", "--prob", "q", "--method", "platt", "--output", tmp_path / output]
    applied = ["--apply", file, "--calibrated", tmp_path / "out.parquet"]
    result = found("calibrate", file, *arguments, *applied)
    before, after = of_sklearn(Q, Y), result["after"]
    close(before, {name: result["before"][name] for name in ("log_loss", "brier_score")})
    # Five folds cost a little, and the gain is real.
    with jax.enable_x64(True):
        fitted = calibration.fit_platt(logits, Y.astype(np.int32), weights=np.ones(ROWS))
        expected = np.asarray(jax.nn.sigmoid(fitted(logits)))
        loaded = calibration.load(tmp_path / output)
        assert np.asarray(loaded) == pytest.approx(np.asarray(fitted))
    least = sklearn.metrics.log_loss(Y, expected)
    assert least < after["log_loss"] < least + 0.02 < before["log_loss"]
    assert result["parameters"] == {
        "slope": pytest.approx(float(fitted.slope)),
        "intercept": pytest.approx(float(fitted.intercept)),
    }
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["prob"].to_numpy() == pytest.approx(expected, rel=1e-9)
    assert table["y"].to_pylist() == Y.tolist()


def test_after_is_what_cross_fit_gives(file, tmp_path, found, monkeypatch):
    asked = {}

    def half(fit, logits, labels, *, num_folds, key, weights):
        asked.update(fit.keywords, num_folds=num_folds)
        return 0 * logits

    monkeypatch.setattr(calibration, "cross_fit", half)
    arguments = ["--label", "y", "--prob", "q", "--method", "isotonic", "--folds", 7]
    after = found("calibrate", file, *arguments, "--output", tmp_path / "c.json")["after"]
    assert asked == {"prior_weight": 1.0, "num_folds": 7}
    assert after["log_loss"] == pytest.approx(np.log(2)) and after["brier_score"] == 0.25


def test_calibrated_files_go_back_in(tmp_path, found, capsys):
    path = write(tmp_path / "f.parquet", CLASS_TABLE)
    outs = {"prob_*": tmp_path / "out.csv", "prob": tmp_path / "out.npz"}
    for out in outs.values():
        arguments = ["--method", "temperature", "--output", tmp_path / "t.json", "--overwrite"]
        arguments = [*CLASSES, *arguments, "--apply", path, "--calibrated", out]
        assert main([*map(str, ["calibrate", path, *arguments])]) == 0
        printed = capsys.readouterr().out
        assert "temperature: " in printed and str(out) in printed
    fitted = calibration.load(tmp_path / "t.json")
    with jax.enable_x64(True):
        calibrated = jax.nn.softmax(fitted(np.log(CLASS_PROBS)))
    of_label = np.asarray(calibrated)[np.arange(ROWS), CLASS_LABELS]
    for spec, out in outs.items():
        cases = found("explain", out, "--label", "y", "--prob", spec, "--top", 2)["cases"]
        assert [case["row"] for case in cases] == np.argsort(of_label)[:2].tolist()
        assert cases[0]["corrected_probability"] == pytest.approx(of_label.min(), rel=1e-6)


def test_calibrate_leaves_nothing_half_written(tmp_path, file, said):
    output, out = tmp_path / "c.json", tmp_path / "out.csv"
    arguments = ["calibrate", file, "--label", "y", "--prob", "p", "--output", output]
    to = ["--calibrated", out]
    bad = write(tmp_path / "bad.npz", TABLE | {"p": P_AT(2.0, P)})
    message = said(*arguments, "--method", "platt", "--apply", bad, *to)
    assert f"{bad}, column 'p', row 205" in message
    assert not output.exists() and not out.exists()
    assert "go together" in said(*arguments, "--method", "platt", *to)
    assert "is for several classes" in said(*arguments, "--method", "vector")
    assert "--folds must be" in said(*arguments, "--method", "platt", "--folds", 1)
    certain = write(tmp_path / "certain.npz", TABLE | {"p": P_AT(1 - Y, P)})
    arguments[1] = certain
    assert "row 205: the label has probability 0" in said(*arguments, "--method", "beta")
    arguments[-1] = tmp_path / "c.txt"
    assert "must end in .json or .safetensors" in said(*arguments, "--method", "beta")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.npz", "certain.npz", file.name]


def test_a_package_that_is_missing_is_named_with_its_extra(file, tmp_path, said, monkeypatch):
    for package in ("pyarrow", "pyarrow.dataset"):
        monkeypatch.setitem(sys.modules, package, None)
    assert "this needs pyarrow" in said("evaluate", file, *TWO)
    assert "pip install 'jbce[evaluate]'" in said("evaluate", file, *TWO)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    path = write(tmp_path / "f.npz", TABLE)
    assert "this needs rich" in said("explain", path, "--label", "y", "--prob", "p")


def test_the_progress_bar_is_for_terminals(file, capsys, monkeypatch):
    arguments = ["explain", str(file), "--label", "y", "--prob", "p", "--top", "1"]
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(arguments) == 0
    assert "rows" in capsys.readouterr().err


def test_an_interruption_is_no_crash(file, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_evaluate, "evaluate", interrupted)
    assert main(["evaluate", str(file), *TWO]) == 130
    assert capsys.readouterr().err == "jbce: interrupted\n"


def test_whole_numbers_count_named_classes_in_the_order_of_the_file(tmp_path, found):
    names = list("cdaghbjifke")
    columns = {f"p_{name}": CLASS_PROBS[:, k] for k, name in enumerate(names)} | {"y": CLASS_LABELS}
    result = found("evaluate", write(tmp_path / "f.csv", columns), *CLASSES)
    (judged,) = models(result).values()
    close(judged, {"log_loss": sklearn.metrics.log_loss(CLASS_LABELS, CLASS_PROBS)})
    assert list(result["class_shares"]) == names
