"""Each metric equals its definition and its peer in float64, and obeys laws that all share."""

import contextlib
import functools
import itertools
import math
import warnings

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import sklearn.metrics

from jbce import metrics
from jbce.metrics._bins import bin_index

METRICS = {
    "log_loss": metrics.log_loss,
    "brier_score": metrics.brier_score,
    "accuracy": metrics.accuracy,
    "roc_auc": metrics.roc_auc,
    "expected_calibration_error": metrics.expected_calibration_error,
}
# Others of the same kinds, which share the laws that their parts do not already obey.
MORE = {
    "top_k_accuracy": functools.partial(metrics.top_k_accuracy, k=2),
    "balanced_accuracy": metrics.balanced_accuracy,
    "confusion_matrix": metrics.confusion_matrix,
    "precision": metrics.precision,
    "recall of each class": functools.partial(metrics.recall, average="none"),
    "f1_score, micro": functools.partial(metrics.f1_score, average="micro"),
    "f1_score, weighted": functools.partial(metrics.f1_score, average="weighted"),
    "matthews_correlation": metrics.matthews_correlation,
    "average_precision": metrics.average_precision,
    "brier_score, mean": functools.partial(metrics.brier_score, over_classes="mean"),
    "error of classes": functools.partial(metrics.expected_calibration_error, of="classes"),
    "largest error": functools.partial(metrics.expected_calibration_error, norm=math.inf),
    "error, squared": functools.partial(
        metrics.expected_calibration_error, norm=2, binning="mass", num_bins=7
    ),
    "smooth_calibration_error": metrics.smooth_calibration_error,
}
ONLY = {"top_k_accuracy": "multiclass", "brier_score, mean": "multiclass"}
ALL = [
    (name, kind)
    for name in METRICS | MORE
    for kind in ("binary", "multiclass")
    if ONLY.get(name, kind) == kind
]
KINDS = ("binary", "multiclass")
X64 = {"bfloat16": True, "float32": False, "float64": True}  # both modes give float32 metrics
NUM_CLASSES = 5
# What does more than sum, and what they sum in.
NOT_ONLY_SUMS = (
    "top_k_accuracy",
    "confusion_matrix",
    "average_precision",
    "error, squared",
    "smooth_calibration_error",
)

every_metric = pytest.mark.parametrize("name", METRICS)
EVERY = METRICS | MORE
# The others once, where what differs between the kinds is tested with METRICS.
ONCE = [(name, kind) for name, kind in ALL if name in METRICS or kind == "multiclass"]
once_each = pytest.mark.parametrize(("name", "kind"), ONCE)
all_metrics = pytest.mark.parametrize(("name", "kind"), ALL)
every_kind = pytest.mark.parametrize("kind", KINDS)


# The expected values: definitions and peers, in float64.


def probabilities(logits):
    """Of every class, [examples, classes]; binary logits become two classes."""
    logits = np.asarray(logits, np.float64)
    if logits.ndim == 1:
        return np.stack([scipy.special.expit(-logits), scipy.special.expit(logits)], axis=-1)
    return scipy.special.softmax(logits, axis=-1)


def peer_log_loss(logits, labels, weights):
    probs = probabilities(logits)
    classes = np.arange(probs.shape[-1])
    return sklearn.metrics.log_loss(labels, probs, sample_weight=weights, labels=classes)


def peer_brier_score(logits, labels, weights):
    probs = probabilities(logits)
    if np.ndim(logits) == 1:
        return sklearn.metrics.brier_score_loss(labels, probs[:, 1], sample_weight=weights)
    squares = ((probs - np.eye(probs.shape[-1])[labels]) ** 2).sum(axis=-1)
    return np.average(squares, weights=weights)


def peer_accuracy(logits, labels, weights):
    decisions = probabilities(logits).argmax(axis=-1)
    return sklearn.metrics.accuracy_score(labels, decisions, sample_weight=weights)


def peer_roc_auc(logits, labels, weights, of_binary=sklearn.metrics.roc_auc_score):
    def area(log_odds, labels):
        finite = np.clip(log_odds, -1e300, 1e300)  # sklearn takes no infinities
        return of_binary(labels, finite, sample_weight=weights)

    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim == 1:
        return area(logits, labels)
    # By log-odds, because a float64 probability of 1 makes ties that they do not have; sorted, so
    # that the others in another order round to the same sum.
    others = [np.sort(np.delete(logits, k, axis=-1), axis=-1) for k in range(logits.shape[-1])]
    return np.mean(
        [
            area(
                logits[:, index] - np.asarray(scipy.special.logsumexp(rest, axis=-1)),
                labels == index,
            )
            for index, rest in enumerate(others)
        ]
    )


def reliability_loop(logits, labels, weights, num_bins=15):
    """(confidence, accuracy, weight) of each bin (lo, hi], one bin after the other."""
    probs = probabilities(logits)
    right = probs.argmax(axis=-1) == np.asarray(labels)
    return bins_loop(probs.max(axis=-1), right, weights, num_bins)


def bins_loop(confidence, right, weights, num_bins=15):
    rows = []
    for index in range(num_bins):
        low, high = index / num_bins, (index + 1) / num_bins
        inside = (confidence > low) & (confidence <= high)
        weight = weights[inside].sum()
        rows.append(
            (
                (weights * confidence)[inside].sum() / weight if weight else math.nan,
                (weights * right)[inside].sum() / weight if weight else math.nan,
                weight,
            )
        )
    return np.array(rows).T


def loop_expected_calibration_error(logits, labels, weights, num_bins=15):
    confidence, accuracy, weight = reliability_loop(logits, labels, weights, num_bins)
    return np.nansum(weight * np.abs(accuracy - confidence)) / weight.sum()


def of_decisions(peer, **options):
    """A peer that judges decisions."""

    def judge(logits, labels, weights):
        decisions = probabilities(logits).argmax(axis=-1)
        return peer(np.asarray(labels), decisions, sample_weight=weights, **options)

    return judge


def positive_or_macro(peer):
    def judge(logits, labels, weights):
        average = "binary" if np.ndim(logits) == 1 else "macro"
        return of_decisions(peer, average=average)(logits, labels, weights)

    return judge


def peer_average_precision(logits, labels, weights):
    return peer_roc_auc(logits, labels, weights, sklearn.metrics.average_precision_score)


def peer_top_k(logits, labels, weights):
    return sklearn.metrics.top_k_accuracy_score(
        labels, np.asarray(logits), k=2, sample_weight=weights, labels=range(NUM_CLASSES)
    )


def error_of_classes(logits, labels, weights):
    probs = probabilities(logits)
    errors = []
    for index in range(probs.shape[-1]):
        rows = bins_loop(probs[:, index], np.asarray(labels) == index, weights)
        errors.append(np.nansum(rows[2] * np.abs(rows[0] - rows[1])) / weights.sum())
    return np.mean(errors)


def largest_error(logits, labels, weights):
    confidence, share, _ = reliability_loop(logits, labels, weights)
    return np.nanmax(np.abs(confidence - share))


def squared_error_of_equal_mass(logits, labels, weights, num_bins=7):
    """Examples in the order of their confidence; equal ones go where the middle of them goes."""
    probs = probabilities(logits)
    confidence, right = probs.max(axis=-1), probs.argmax(axis=-1) == np.asarray(labels)
    sums = np.zeros((num_bins, 3))
    below = 0.0
    for value in np.unique(confidence.astype(np.float32)):
        tied = confidence.astype(np.float32) == value
        mass = weights[tied].sum()
        index = min(int((below + mass / 2) / weights.sum() * num_bins), num_bins - 1)
        sums[index] += [mass, (weights * confidence)[tied].sum(), (weights * right)[tied].sum()]
        below += mass
    some = sums[sums[:, 0] > 0]
    return np.sqrt(
        (some[:, 0] * ((some[:, 1] - some[:, 2]) / some[:, 0]) ** 2).sum() / weights.sum()
    )


def smooth_error(logits, labels, weights):
    """By the definition: a sum of reflected Gaussians at each place, and bisection."""
    probs = probabilities(logits)
    f, y = probs.max(axis=-1), probs.argmax(axis=-1) == np.asarray(labels)
    places = (np.arange(1000) + 0.5) / 1000
    residuals = weights * (y - f) / weights.sum()

    def smoothed(sigma):
        images = [sign * f + 2 * shift for sign in (1, -1) for shift in range(-1, 2)]
        kernels = sum(scipy.stats.norm.pdf(places[:, None], image, sigma) for image in images)
        return np.abs(kernels @ residuals).mean() - sigma

    return scipy.optimize.brentq(smoothed, 2e-3, 0.3, xtol=1e-6)


PEERS = {
    "top_k_accuracy": peer_top_k,
    "balanced_accuracy": of_decisions(sklearn.metrics.balanced_accuracy_score),
    "confusion_matrix": of_decisions(sklearn.metrics.confusion_matrix),
    "precision": positive_or_macro(sklearn.metrics.precision_score),
    "recall of each class": of_decisions(sklearn.metrics.recall_score, average=None),
    "f1_score, micro": of_decisions(sklearn.metrics.f1_score, average="micro"),
    "f1_score, weighted": of_decisions(sklearn.metrics.f1_score, average="weighted"),
    "matthews_correlation": of_decisions(sklearn.metrics.matthews_corrcoef),
    "average_precision": peer_average_precision,
    "brier_score, mean": lambda *examples: peer_brier_score(*examples) / NUM_CLASSES,
    "error of classes": error_of_classes,
    "largest error": largest_error,
    "error, squared": squared_error_of_equal_mass,
    "smooth_calibration_error": smooth_error,
    "log_loss": peer_log_loss,
    "brier_score": peer_brier_score,
    "accuracy": peer_accuracy,
    "roc_auc": peer_roc_auc,
    "expected_calibration_error": loop_expected_calibration_error,
}


def examples(kind, num_examples=210, seed=0, dtype="float32"):
    """Logits with ties, labels that follow them, and weights that include 0.

    Tests that use all three, of one size, share their compilations.
    """
    rng = np.random.default_rng(seed)
    shape = (num_examples,) if kind == "binary" else (num_examples, NUM_CLASSES)
    logits = rng.normal(0, 2, shape)
    logits[1::2] = logits[::2]
    noisy = logits + rng.gumbel(0, 1, shape)
    labels = (noisy > 0.5).astype(np.int32) if kind == "binary" else noisy.argmax(axis=-1)
    weights = rng.integers(0, 4, num_examples) / 2
    return (
        logits.astype(jnp.dtype(dtype)),
        labels.astype(np.int32),
        weights.astype(np.float32),
    )


def x64_if(needed):
    return jax.enable_x64(True) if needed else contextlib.nullcontext()


# Against the definitions


def peer_cases():
    """Every metric in float32; in other dtypes, each way to sum, sort and average once."""
    for name, kind in ALL:
        yield name, kind, "float32"
        by_rank = name in ("average_precision", "error, squared")
        if name in METRICS or kind == ("binary" if by_rank else "multiclass"):
            if name != "smooth_calibration_error":
                yield name, kind, "float64"
        if name in ("log_loss", "roc_auc", "expected_calibration_error"):
            yield name, kind, "bfloat16"


@pytest.mark.parametrize(("name", "kind", "dtype"), list(peer_cases()))
def test_equals_its_peer_in_float64(name, kind, dtype):
    """In every dtype, with weights, for a batch of one axis or several."""
    with x64_if(X64[dtype]):
        logits, labels, weights = examples(kind, dtype=dtype)
        batch = labels.shape if dtype == "float32" else (5, 6, 7)
        value = EVERY[name](
            logits.reshape(*batch, *logits.shape[1:]),
            labels.reshape(batch),
            weights=weights.reshape(batch),
        )
        assert value.dtype == ("float64" if dtype == "float64" else "float32")
        expected = PEERS[name](
            np.asarray(logits, np.float64), np.asarray(labels), np.asarray(weights, np.float64)
        )
        rtol = 1e-13 if dtype == "float64" else 2e-6
        if name == "smooth_calibration_error":
            rtol = 1e-3
        np.testing.assert_allclose(np.asarray(value, np.float64), expected, rtol=rtol)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "bool") for name in METRICS), ("log_loss", "bfloat16"), ("roc_auc", "bfloat16")],
)
def test_binary_labels_of_every_dtype(name, dtype):
    logits, labels, weights = examples("binary")
    value = METRICS[name](logits, labels.astype(jnp.dtype(dtype)), weights=weights)
    np.testing.assert_array_equal(value, METRICS[name](logits, labels, weights=weights))


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "expected_calibration_error"])
def test_binary_labels_are_positive_above_one_half(name):
    logits, labels, weights = examples("binary")
    soft = np.where(labels == 1, np.float32(0.75), np.float32(0.5))
    value = METRICS[name](logits, soft, weights=weights)
    np.testing.assert_array_equal(value, METRICS[name](logits, labels, weights=weights))


@every_metric
def test_classes_at_minus_infinity_are_not_there(name):
    """And 300 classes, which 8-bit labels cannot count, do not confuse them."""
    logits, labels, weights = examples("multiclass")
    padded = np.pad(logits, ((0, 0), (100, 200 - NUM_CLASSES)), constant_values=-np.inf)
    value = METRICS[name](padded, (labels + 100).astype(np.int8), weights=weights)
    expected = METRICS[name](logits, labels, weights=weights)
    if name == "roc_auc":  # an average over all classes, also those without examples
        expected = jnp.nan
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@every_metric
def test_two_classes_are_the_binary_metric(name):
    logits, labels, weights = examples("binary")
    pairs = np.stack([0 * logits, logits], axis=-1) + np.float32(0.25)
    scale = 2 if name == "brier_score" else 1
    np.testing.assert_allclose(
        METRICS[name](pairs, labels, weights=weights),
        scale * METRICS[name](logits, labels, weights=weights),
        rtol=1e-6,
    )


# Laws that all share


@every_metric
def test_jit_is_eager(name):
    logits, labels, weights = examples("binary")  # of classes, see the vmap, which is jitted
    eager = METRICS[name](logits, labels, weights=weights)
    jitted = jax.jit(METRICS[name])(logits, labels, weights=weights)
    assert jitted.dtype == eager.dtype
    arrays = jnp.asarray(logits), jnp.asarray(labels)
    np.testing.assert_array_equal(
        METRICS[name](*arrays, weights=jnp.asarray(weights)), np.asarray(eager)
    )
    np.testing.assert_allclose(jitted, eager, rtol=1e-6)


@once_each
def test_vmap_over_models_is_a_loop(name, kind):
    _, labels, weights = examples(kind)
    models = np.stack([examples(kind, seed=seed)[0] for seed in range(3)])

    def judge(logits, labels):
        return EVERY[name](logits, labels, weights=weights)

    values = jax.jit(jax.vmap(judge, in_axes=(0, None)))(models, labels)
    np.testing.assert_allclose(values, [judge(logits, labels) for logits in models], rtol=1e-6)


@every_metric
@every_kind
@hypothesis.given(seed=st.integers(0, 2**16))
@hypothesis.settings(max_examples=5, deadline=None)
def test_what_is_left_out_is_removed(name, kind, seed):
    """By `where` or by a weight of 0, and whatever it holds: junk there changes nothing."""
    logits, labels, weights = examples(kind, seed=seed)
    weights = weights + 0.5
    rng = np.random.default_rng(seed)
    kept = rng.permutation(210) < 120
    removed = PEERS[name](logits[kept], labels[kept], weights[kept].astype(float))

    kept_logits = kept if kind == "binary" else kept[:, None]
    junk = rng.choice(np.array([np.nan, np.inf, -np.inf, 3e38], np.float32), logits.shape)
    logits = np.where(kept_logits, logits, junk)
    labels = np.where(kept, labels, np.int32(-7))
    for choice in (
        {"weights": np.where(kept, weights, np.float32(0))},
        {"weights": np.where(kept, weights, np.float32(np.nan)), "where": kept},
    ):
        np.testing.assert_allclose(METRICS[name](logits, labels, **choice), removed, rtol=1e-6)


@once_each
def test_nothing_counts(name, kind):
    """A metric of nothing is undefined; a matrix of nothing is 0."""
    logits, labels, weights = examples(kind)
    values = [EVERY[name](logits, labels, weights=0 * weights)]
    if name in METRICS:  # `where` becomes a weight of 0 before any metric sees it
        values.append(EVERY[name](logits, labels, weights=weights, where=np.zeros(210, bool)))
    if name in METRICS or name in NOT_ONLY_SUMS:
        logits, labels, weights = examples(kind, 0)
        values.append(EVERY[name](logits, labels, weights=weights))
    expected = 0.0 if name == "confusion_matrix" else math.nan
    for value in values:
        np.testing.assert_array_equal(value, np.full_like(value, expected))


@every_metric
@pytest.mark.parametrize(
    ("kind", "undefined"),
    [
        ("binary", "logit"),
        ("binary", "label"),
        ("binary", "float label"),
        ("multiclass", "logit"),
        ("multiclass", "label"),
        ("multiclass", "two at +inf"),
        ("multiclass", "no class"),
    ],
)
def test_an_undefined_example_that_counts_shows(name, kind, undefined):
    logits, labels, _ = examples(kind)
    weights = np.ones(len(labels), np.float32)
    if undefined == "two at +inf":
        logits[3, 1:3] = np.inf
    elif undefined == "no class":
        logits[3] = -np.inf
    elif undefined == "logit":
        logits[(3,) * logits.ndim] = np.nan
    elif undefined == "label":
        labels[3] = -1 if kind == "binary" else NUM_CLASSES
    else:
        labels = labels.astype(np.float32)
        labels[3] = np.nan
    value = METRICS[name](logits, labels, weights=weights)
    if (name, undefined) == ("log_loss", "no class"):  # costs 0, by the contract of the losses
        weights[3] = 0
        expected = np.asarray(METRICS[name](logits, labels, weights=weights)) * 209 / 210
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    else:
        assert jnp.isnan(value)


@every_metric
@every_kind
def test_infinite_logits_are_the_limit(name, kind):
    logits, labels, _ = examples(kind)
    infinite, rows = logits.copy(), np.arange(len(labels))
    if kind == "binary":
        infinite[np.abs(logits) >= 1] *= np.inf
        possible = np.where(labels == 1, infinite, -infinite) > -np.inf
    else:
        infinite[rows[::3], rows[::3] % NUM_CLASSES] = np.inf
        infinite[rows[1::2], rows[1::2] * 2 % NUM_CLASSES] = -np.inf
        possible = infinite[rows, labels] > np.where(infinite.max(-1) == np.inf, 3e38, -np.inf)
    counted = possible if name == "log_loss" else np.ones_like(possible)
    limit = infinite if name == "roc_auc" else np.clip(infinite, -1e4, 1e4)
    np.testing.assert_allclose(
        METRICS[name](infinite, labels, weights=counted.astype(np.float32)),
        PEERS[name](limit[counted], labels[counted], np.ones(counted.sum())),
        rtol=1e-6,
    )
    if name == "log_loss":
        ones = np.ones(len(labels), np.float32)
        assert METRICS[name](infinite, labels, weights=ones) == np.inf


@pytest.mark.parametrize("name", ["log_loss", "brier_score"])
@every_kind
def test_gradient_is_the_formula_and_clean_where_left_out(name, kind):
    logits, labels, weights = examples(kind)
    kept = weights > 0
    spoiled = np.where(kept if kind == "binary" else kept[:, None], logits, np.float32(np.nan))
    gradient = jax.jit(jax.grad(lambda x: METRICS[name](x, labels, weights=weights)))(spoiled)
    probs = probabilities(logits)
    residuals = probs - np.eye(probs.shape[-1])[np.asarray(labels)]
    if name == "brier_score":  # of Σ r², through the Jacobian diag(p) − p pᵀ
        weighted = residuals * probs
        residuals = 2 * (weighted - probs * weighted.sum(axis=-1, keepdims=True))
    expected = np.asarray(weights)[:, None] * residuals / np.asarray(weights).sum()
    if kind == "binary":
        expected = expected[:, 1] / (2 if name == "brier_score" else 1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


# log_loss


@pytest.mark.parametrize("base", [2, 10, 0.5, np.float32(3)])
def test_log_loss_in_a_base_is_nats_over_its_logarithm(base):
    logits, labels, _ = examples("multiclass")
    value = metrics.log_loss(logits, labels, base=base)
    expected = np.asarray(metrics.log_loss(logits, labels)) / math.log(base)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_log_loss_base_may_be_traced():
    logits, labels, _ = examples("binary")
    for bases in (jnp.array([2.0, 10.0]), jnp.array([2, 10])):
        values = jax.jit(jax.vmap(lambda base: metrics.log_loss(logits, labels, base=base)))(bases)
        expected = [metrics.log_loss(logits, labels, base=base) for base in (2, 10)]
        np.testing.assert_allclose(values, expected, rtol=1e-6)


# brier_score


@pytest.mark.parametrize("margin", [0.0, 3.0, 17.0, 30.0])
@every_kind
def test_brier_score_keeps_its_relative_accuracy_when_confident(kind, margin):
    # Binary: (1 − p)². Classes: (1 − p)² + Σ_others p_k², with equal others.
    others = 1 if kind == "binary" else NUM_CLASSES - 1
    odds_against = others * math.exp(-margin)
    missing = odds_against / (1 + odds_against)
    expected = missing**2 if kind == "binary" else missing**2 + missing**2 / others
    logits = np.zeros([3] if kind == "binary" else [3, NUM_CLASSES], np.float32)
    logits.T[... if kind == "binary" else 1] = margin
    value = metrics.brier_score(logits, np.ones(3, np.int32))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_brier_score_of_soft_binary_labels():
    logits, _, _ = examples("binary")
    labels = jax.random.uniform(jax.random.key(0), logits.shape)
    probs = probabilities(logits)[:, 1]
    expected = np.mean((probs - np.asarray(labels, np.float64)) ** 2)
    np.testing.assert_allclose(metrics.brier_score(logits, labels), expected, rtol=1e-6)


# accuracy


def test_accuracy_of_tied_logits():
    zeros = jnp.zeros(3)
    assert metrics.accuracy(zeros, jnp.array([0, 0, 1])) == np.float32(2 / 3)
    assert metrics.accuracy(jnp.zeros([3, 2]), jnp.array([0, 0, 1])) == np.float32(2 / 3)


# roc_auc


def mann_whitney(logits, labels, weights):
    """The double sum of the definition."""
    logits, weights = np.asarray(logits, np.float64), np.asarray(weights, np.float64)
    positive = np.asarray(labels) > 0
    above, below = logits[positive][:, None], logits[~positive]
    pairs = weights[positive][:, None] * weights[~positive]
    return (pairs * ((above > below) + (above == below) / 2)).sum() / pairs.sum()


@hypothesis.given(
    st.lists(
        st.tuples(
            st.sampled_from([-np.inf, -1e30, -1.0, -1e-30, -1e-45, -0.0, 0.0, 1e-45, 2.5, np.inf]),
            st.booleans(),
            st.sampled_from([0.5, 1.0, 3.0]),
        ),
        min_size=1,
        max_size=24,
    )
)
@hypothesis.settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("x64", [False, True])
def test_roc_auc_is_the_mann_whitney_double_sum(x64, rows):
    """Whatever ties; with signed zeros, subnormals and infinities; by either way of sorting."""
    logits, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    with x64_if(x64):
        logits = logits.astype(np.float64 if x64 else np.float32)
        padding = 24 - len(rows)  # one shape, one compilation
        value = metrics.roc_auc(
            np.pad(logits, (0, padding)),
            np.pad(labels, (0, padding)),
            weights=np.pad(weights.astype(np.float32), (0, padding)),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 0 / 0 where one class is missing
            expected = mann_whitney(logits, labels, weights)
        np.testing.assert_allclose(np.asarray(value), expected, rtol=1e-7)


def test_roc_auc_counts_pairs_exactly():
    # Labels alternate in rising order: the k-th positive is above k negatives of m, which makes
    # m(m + 1)/2 pairs of m²; float32 holds neither the counts nor their sum.
    m = 2**20 - 3
    logits = np.arange(-m, m, dtype=np.float32)
    labels = np.arange(2 * m) % 2 == 1
    assert metrics.roc_auc(logits, labels) == np.float32((m + 1) / (2 * m))
    assert metrics.roc_auc(logits, ~labels) == np.float32((m - 1) / (2 * m))


@every_kind
def test_roc_auc_of_one_class_is_nan(kind):
    logits, labels, weights = examples(kind)
    assert np.isnan(metrics.roc_auc(logits, np.ones_like(labels), weights=weights))
    assert np.isnan(metrics.roc_auc(logits, labels, weights=weights, where=labels != 0))


def test_roc_auc_of_classes_is_sklearns():
    logits, labels, weights = examples("multiclass")
    expected = sklearn.metrics.roc_auc_score(
        labels,
        probabilities(logits),
        multi_class="ovr",
        average="macro",
        sample_weight=weights,
    )
    value = metrics.roc_auc(logits, labels, weights=weights)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_roc_auc_of_classes_ties_rows_of_equal_odds():
    """Sums over the other classes round apart where these come in another order."""
    row = np.random.default_rng(0).normal(0, 2, NUM_CLASSES)
    rows = np.array(list(itertools.permutations(row)), np.float32)
    labels = np.arange(len(rows)) * 7 % NUM_CLASSES
    expected = peer_roc_auc(rows, labels, np.ones(len(rows)))
    value = metrics.roc_auc(jnp.asarray(rows), jnp.asarray(labels))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_roc_auc_of_classes_ranks_where_probabilities_are_1(scale):
    margins = np.float32(scale * np.array([40, 60, 50, 70, 55]))
    labels = np.array([0, 1, 0, 1, 1])
    pairs = np.stack([0 * margins, margins], axis=-1)
    np.testing.assert_array_equal(
        metrics.roc_auc(pairs, labels), mann_whitney(margins, labels, np.ones(5))
    )


# reliability and expected_calibration_error


@every_kind
def test_reliability_is_the_loop_over_bins(kind):
    logits, labels, weights = examples(kind)
    num_bins = 7
    bins = metrics.reliability(logits, labels, num_bins=num_bins, weights=weights)
    arrays = np.asarray(logits), np.asarray(labels), np.asarray(weights, np.float64)
    np.testing.assert_allclose(bins, reliability_loop(*arrays, num_bins), rtol=1e-6)
    np.testing.assert_allclose(
        metrics.expected_calibration_error(logits, labels, num_bins=num_bins, weights=weights),
        loop_expected_calibration_error(*arrays, num_bins),
        rtol=1e-6,
    )


@pytest.mark.parametrize(("num_classes", "num_bins"), [(1, 15), (2, 1), (2, 2), (2, 15), (8, 16)])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(num_classes, num_bins):
    """Equal logits have confidence 1 / classes, which is k / num_bins for some."""
    logits = np.zeros([3, num_classes], np.float32)
    found = metrics.reliability(logits, np.zeros(3, np.int32), num_bins=num_bins)
    weight = np.asarray(found.weight)
    assert weight.argmax() == math.ceil(num_bins / num_classes) - 1
    assert weight.max() == weight.sum() == 3


@pytest.mark.parametrize("num_bins", [15, 47])
def test_every_edge_belongs_to_the_bin_below(num_bins):
    """Also where i / num_bins · num_bins rounds to something else than i."""
    with jax.enable_x64(True):
        edges = jnp.arange(num_bins + 1) / num_bins
        above = jnp.nextafter(edges, 2.0)
        indices = bin_index(jnp.concatenate([edges, above]), num_bins, "right")
    expected = np.arange(-1, num_bins), np.arange(num_bins + 1)
    np.testing.assert_array_equal(indices, np.clip(np.concatenate(expected), 0, num_bins - 1))


def test_calibration_error_of_many_examples():
    """Float32 sums in one bin would stall: 2^24 + 1 is 2^24."""
    n = 2**22
    logits, labels = np.full(n, 5, np.float32), np.arange(n) % 128 != 0
    share, confidence = 127 / 128, scipy.special.expit(5.0)
    error = metrics.expected_calibration_error(logits, labels, weights=7.3)
    np.testing.assert_allclose(error, confidence - share, rtol=1e-6)
    np.testing.assert_array_equal(metrics.accuracy(logits, labels, weights=7.3), share)


def test_calibration_error_keeps_its_relative_accuracy_when_confident():
    logits = np.array([[0, 0, 20]] * 4, np.float32)
    error = metrics.expected_calibration_error(logits, np.full(4, 2, np.int32))
    tail = 2 * math.exp(-20)
    np.testing.assert_allclose(error, tail / (1 + tail), rtol=1e-6)


# Bad input

FOUR = jnp.zeros(4)
BAD = {
    "shapes that differ": (ValueError, FOUR, jnp.zeros(3), {}, ["float32[3]", "float32[4]"]),
    "nothing broadcasts": (
        ValueError,
        jnp.zeros([4, 1]),
        jnp.zeros([1, 4], jnp.int32),
        {},
        ["int32[1,4]", "float32[4,1]"],
    ),
    "float class indices": (
        ValueError,
        jnp.zeros([4, 3]),
        FOUR,
        {},
        ["`labels`", "float32[4]", "float32[4,3]"],
    ),
    "boolean class indices": (ValueError, jnp.zeros([4, 3]), FOUR > 0, {}, ["bool[4]"]),
    "no class": (ValueError, jnp.zeros([4, 0]), jnp.zeros(4, jnp.int32), {}, ["float32[4,0]"]),
    "integer logits": (TypeError, jnp.zeros(4, jnp.int32), FOUR, {}, ["`logits`", "int32[4]"]),
    "weights of another shape": (
        ValueError,
        FOUR,
        FOUR,
        {"weights": jnp.ones([4, 1])},
        ["`weights`", "float32[4,1]", "float32[4]"],
    ),
    "weights of one model": (
        ValueError,
        jnp.zeros([4, 3]),
        jnp.zeros(4, jnp.int32),
        {"weights": jnp.ones([4, 3])},
        ["`weights`", "float32[4,3]", "[4]"],
    ),
    "where of another shape": (
        ValueError,
        FOUR,
        FOUR,
        {"where": jnp.ones(1, bool)},
        ["`where`", "bool[1]", "float32[4]"],
    ),
    "numbers for where": (TypeError, FOUR, FOUR, {"where": FOUR}, ["`where`", "float32[4]"]),
}


@every_metric
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_shown(name, case, unchecked_signatures):
    error, logits, labels, choice, shown = BAD[case]
    with pytest.raises(error) as raised:
        METRICS[name](logits, labels, **choice)
    assert all(words in str(raised.value) for words in shown), raised.value


@pytest.mark.parametrize("base", [0, 1, -2.0, math.inf, math.nan, jnp.float32(1), np.ones(2)])
def test_bad_base(base, unchecked_signatures):
    with pytest.raises(ValueError, match="`base`"):
        metrics.log_loss(FOUR, FOUR, base=base)


@pytest.mark.parametrize("judge", [metrics.reliability, metrics.expected_calibration_error])
def test_bad_num_bins(judge, unchecked_signatures):
    with pytest.raises(ValueError, match="`num_bins` must be at least 1, but 0 came"):
        judge(FOUR, FOUR, num_bins=0)
    with pytest.raises(TypeError):
        judge(FOUR, FOUR, num_bins=1.5)
