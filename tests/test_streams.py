"""Metrics batch by batch are the metrics at once, in whatever parts the examples come."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from test_metrics import NUM_CLASSES, examples

from jbce import metrics

SCALAR = {
    "nats": metrics.log_loss,
    "bits": functools.partial(metrics.log_loss, base=2),
    "brier": metrics.brier_score,
    "accuracy": metrics.accuracy,
    "f1": functools.partial(metrics.f1_score, average="weighted"),
    "error": functools.partial(metrics.expected_calibration_error, num_bins=7, closed="left"),
    "smooth": metrics.smooth_calibration_error,
    "matrix": metrics.confusion_matrix,
    "diagram": metrics.reliability,
}
BINARY = SCALAR | {"split": metrics.brier_decomposition, "area": metrics.histogram_roc_auc}
CLASSES = SCALAR | {"top": functools.partial(metrics.top_k_accuracy, k=2)}
STREAMS = {
    "binary": metrics.stream(BINARY),
    "multiclass": metrics.stream(CLASSES, num_classes=NUM_CLASSES),
}
AT_ONCE = {"binary": BINARY, "multiclass": CLASSES}
SIZE = 32  # of a batch

every_kind = pytest.mark.parametrize("kind", STREAMS)


def close(found, wanted, rtol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), found, wanted)


@functools.cache
def at_once(kind):
    """All metrics of all examples, compiled as one."""
    return jax.jit(
        lambda logits, labels, weights: {
            name: metric(logits, labels, weights=weights) for name, metric in AT_ONCE[kind].items()
        }
    )


def batches(kind, cuts, seed=0):
    """A stream's states of the parts between cuts, each padded to one size; and everything."""
    logits, labels, weights = examples(kind, 96, seed=seed)
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, 96], strict=True):
        state = STREAMS[kind].init()
        for first in range(start, stop, SIZE):
            chosen = np.arange(first, first + SIZE)
            exists = chosen < stop
            rows = np.minimum(chosen, 95)
            state = STREAMS[kind].update(
                state,
                logits[rows],
                labels[rows],
                weights=weights[rows],
                where=exists,
            )
        parts.append(state)
    return parts, (logits, labels, weights)


@every_kind
@hypothesis.given(
    cuts=st.lists(st.integers(0, 96), max_size=4), order=st.randoms(), seed=st.integers(0, 99)
)
@hypothesis.settings(max_examples=5, deadline=None)
def test_any_parts_in_any_order_make_the_whole(kind, cuts, order, seed):
    parts, (logits, labels, weights) = batches(kind, sorted(cuts), seed)
    order.shuffle(parts)
    while len(parts) > 1:  # a tree of merges, of neighbours that chance chose
        index = order.randrange(len(parts) - 1)
        parts[index : index + 2] = [STREAMS[kind].merge(parts[index], parts[index + 1])]
    found = STREAMS[kind].compute(parts[0])
    assert list(found) == list(AT_ONCE[kind])
    close(found, at_once(kind)(logits, labels, weights))


@every_kind
def test_states_add_over_devices_and_models(kind):
    """By psum over a mapped axis; vmapped over models; scanned."""
    stream = STREAMS[kind]
    logits, labels, weights = examples(kind, 96)
    wanted = at_once(kind)(logits, labels, weights)
    shards = [a.reshape(3, SIZE, *a.shape[1:]) for a in (logits, labels, weights)]

    def of_shard(logits, labels, weights):
        state = stream.update(stream.init(), logits, labels, weights=weights)
        return stream.compute(jax.lax.psum(state, "shards"))

    found = jax.jit(jax.vmap(of_shard, axis_name="shards"))(*shards)
    close(jax.tree.map(lambda a: np.asarray(a)[1], found), wanted)

    def step(state, batch):
        return stream.update(state, *batch[:2], weights=batch[2]), None

    state, _ = jax.jit(lambda: jax.lax.scan(step, stream.init(), tuple(shards)))()
    close(stream.compute(state), wanted)


@every_kind
def test_nothing_seen_is_nan(kind):
    found = STREAMS[kind].compute(STREAMS[kind].init())
    np.testing.assert_array_equal(found.pop("matrix"), 0)
    found.pop("diagram")
    assert all(np.isnan(a).all() for a in jax.tree.leaves(found))


def test_sums_hold_where_float32_stalls():
    """2²⁴ + 1 is 2²⁴ in float32; and small losses are not lost beside large ones."""
    stream = metrics.stream([metrics.log_loss, metrics.accuracy])
    state = stream.update(
        stream.init(), np.array([3], np.float32), np.ones(1, int), weights=2.0**25
    )
    small = stream.update(stream.init(), np.array([-20], np.float32), np.zeros(1, int), weights=1.0)
    for _ in range(12):  # doubled, not repeated
        small = stream.merge(small, small)
    found = stream.compute(stream.merge(state, small))
    losses = np.log1p(np.exp([-3.0, -20.0])) @ [2.0**25, 2.0**12] / (2.0**25 + 2.0**12)
    np.testing.assert_allclose(found["log_loss"], losses, rtol=2e-7)
    high, low = small["log_loss"]
    assert float(high[0, 0]) + float(low[0, 0]) == 2**12
    one = stream.update(stream.init(), np.array([-1], np.float32), np.zeros(1, int), weights=1.0)
    total = stream.merge(state, one)["accuracy"]
    assert np.float64(total.high[0, 0]) + np.float64(total.low[0, 0]) == 2**25 + 1


def test_an_infinite_loss_stays():
    stream = metrics.stream([metrics.log_loss])
    state = stream.update(stream.init(), np.array([np.inf, 1], np.float32), np.array([0, 1]))
    state = stream.update(state, np.array([1, 1], np.float32), np.array([0, 1]))
    assert stream.compute(state)["log_loss"] == jnp.inf


# histogram_roc_auc


@pytest.mark.parametrize("spread", [1e-3, 1.0, 100.0])
def test_the_histogram_bounds_its_error(spread):
    rng = np.random.default_rng(0)
    labels = rng.random(20_000) < 0.3
    logits = (spread * (rng.normal(size=labels.size) + labels + 1)).astype(np.float32)
    weights = rng.integers(0, 4, labels.size).astype(np.float32)
    found = metrics.histogram_roc_auc(logits, labels, weights=weights)
    exact = sklearn.metrics.roc_auc_score(labels, logits, sample_weight=weights)
    assert abs(float(found.estimate) - exact) <= float(found.error) + 1e-7
    assert 0 < found.error < 4e-3


def test_the_histogram_is_exact_for_bfloat16():
    logits, labels, weights = examples("binary", dtype="bfloat16")
    found = metrics.histogram_roc_auc(logits, labels, weights=weights)
    np.testing.assert_allclose(
        found.estimate, metrics.roc_auc(logits, labels, weights=weights), rtol=1e-7
    )


# paired_stream


@pytest.mark.parametrize(("kind", "baseline"), [("binary", 1), ("multiclass", "smallest")])
def test_paired_streams_compare(kind, baseline):
    num_classes = None if kind == "binary" else NUM_CLASSES
    models = np.stack([examples(kind, 96, seed=seed)[0] for seed in range(3)])
    _, labels, weights = examples(kind, 96)
    chosen = {"bits": SCALAR["bits"], "accuracy": metrics.accuracy}
    stream = metrics.paired_stream(chosen, num_models=3, num_classes=num_classes)
    states = [
        stream.update(
            stream.init(), models[:, part], labels[part], weights=weights[part], where=True
        )
        for part in (slice(0, 48), slice(48, 96))
    ]
    found = stream.compute(stream.merge(*states), baseline=baseline)
    for name, metric in chosen.items():
        wanted = metrics.compare(metric, models, labels, baseline=baseline, weights=weights)
        close(found[name], wanted, rtol=1e-4)


# Bad input


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([metrics.roc_auc], "histogram_roc_auc"),
        ([functools.partial(metrics.reliability, binning="mass")], "`reliability`"),
        ([metrics.log_loss, functools.partial(metrics.log_loss, base=2)], "'log_loss' came twice"),
        ([functools.partial(metrics.log_loss, weights=2.0)], "'weights'"),
        ([lambda logits, labels: 0], "`<lambda>` cannot be streamed"),
    ],
)
def test_bad_metrics(chosen, words):
    with pytest.raises(ValueError, match=words):
        metrics.stream(chosen)


def test_bad_batches(unchecked_signatures):
    stream = metrics.stream([metrics.log_loss], num_classes=3)
    with pytest.raises(ValueError, match=r"num_classes=3, but float32\[4\]"):
        stream.update(stream.init(), jnp.zeros(4), jnp.zeros(4))
    paired = metrics.paired_stream([metrics.log_loss], num_models=2)
    with pytest.raises(ValueError, match=r"2 models .* float32\[3,4\]"):
        paired.update(paired.init(), jnp.zeros([3, 4]), jnp.zeros(4))
    with pytest.raises(ValueError, match="`f1_score` is not a mean"):
        metrics.paired_stream([metrics.f1_score], num_models=2)


# from_probs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_kind
def test_metrics_of_probabilities(kind, dtype):
    logits, labels, weights = examples(kind)
    with jax.enable_x64(True):
        probs = (jax.nn.sigmoid if kind == "binary" else jax.nn.softmax)(logits.astype("float64"))
        probs = np.asarray(probs)
    for metric in (metrics.log_loss, metrics.roc_auc, metrics.accuracy):
        with jax.enable_x64(dtype == "float64"):
            found = metrics.from_probs(metric)(probs.astype(dtype), labels, weights=weights)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, metric(logits, labels, weights=weights), rtol=1e-6)


def test_probabilities_keep_their_order():
    """Those of neighbours near 0, whose float32 logits tie."""
    probs = np.float32(1e-20) * (1 + np.arange(6, dtype=np.float32) * 2**-22)
    labels = np.array([0, 1, 0, 1, 1, 1])
    found = metrics.from_probs(metrics.roc_auc)(probs, labels)
    assert found == np.float32(sklearn.metrics.roc_auc_score(labels, probs))


def test_bad_probabilities():
    of_probs = metrics.from_probs(metrics.log_loss)
    with pytest.raises(ValueError, match=r"`probs` must be in \[0, 1\].* 1\.5 at \[1\]"):
        of_probs(jnp.array([0.5, 1.5]), jnp.array([0, 1]))
    rows = jnp.array([[0.5, 0.5], [0.5, 0.25]])
    with pytest.raises(ValueError, match=r"sum to 1.* 0\.75 at \[1\]"):
        of_probs(rows, jnp.array([0, 1]))
    assert jnp.isnan(jax.jit(of_probs)(rows, jnp.array([0, 1])))
    with pytest.raises(TypeError, match="`probs`"):
        of_probs(jnp.array([0, 1]), jnp.array([0, 1]))
