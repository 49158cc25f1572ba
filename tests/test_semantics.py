"""The numbers of other frameworks by recipes of ours: the README's table, machine-checked.

PyTorch and Keras come with the extra `peers`; scikit-learn is always here.
"""

import importlib
import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

import jbce

KEY = jax.random.key(0)
LOGITS = 3 * jax.random.normal(KEY, (20, 5))
INDEX = jax.random.randint(KEY, (20,), 0, 5)
DENSE = jax.nn.softmax(jax.random.normal(jax.random.key(1), (20, 5)))
HARD = jax.random.bernoulli(KEY, 0.4, (20, 5)).astype(jnp.float32)
WEIGHTS = jnp.array([0.5, 2.0, 1.0, 0.2, 3.0])
OF_EXAMPLES = jnp.linspace(0.1, 2.0, 20)

integer = jbce.softmax_cross_entropy_with_integer_labels


def _pytorch():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed (extra: peers)")
    torch = importlib.import_module("torch")
    return torch.nn.functional, lambda a: torch.from_numpy(np.array(a))


def _keras():
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed (extra: peers)")
    os.environ["KERAS_BACKEND"] = "jax"
    return importlib.import_module("keras")


def _ignored():
    return INDEX.at[::4].set(-100)


# What PyTorch computes, and the recipe for it.
PYTORCH = {
    "mean with class weights": (
        lambda f, t: f.cross_entropy(t(LOGITS), t(INDEX).long(), weight=t(WEIGHTS)),
        lambda: jbce.mean(integer(LOGITS, INDEX), weights=WEIGHTS[INDEX]),
    ),
    "each with class weights": (
        lambda f, t: f.cross_entropy(
            t(LOGITS), t(INDEX).long(), weight=t(WEIGHTS), reduction="none"
        ),
        lambda: integer(LOGITS, INDEX, class_weights=WEIGHTS),
    ),
    "ignore_index": (
        lambda f, t: f.cross_entropy(t(LOGITS), t(_ignored()).long()),
        lambda: jbce.mean(integer(LOGITS, _ignored(), ignore=-100), where=_ignored() != -100),
    ),
    "label_smoothing": (
        lambda f, t: f.cross_entropy(t(LOGITS), t(INDEX).long(), label_smoothing=0.2),
        lambda: jbce.mean(integer(LOGITS, INDEX, label_smoothing=0.2)),
    ),
    # pytorch #72056, #104776: the numerator weighs the smoothed labels, the denominator the labels
    "label_smoothing with class weights and ignore_index": (
        lambda f, t: f.cross_entropy(
            t(LOGITS), t(_ignored()).long(), weight=t(WEIGHTS), label_smoothing=0.2
        ),
        lambda: (
            jbce.total(
                integer(LOGITS, _ignored(), ignore=-100, class_weights=WEIGHTS, label_smoothing=0.2)
            )
            / jbce.total(WEIGHTS[_ignored()], where=_ignored() != -100)
        ),
    ),
    # pytorch #14184: with dense labels the mean divides by the count, weights or not
    "mean with class weights, dense labels": (
        lambda f, t: f.cross_entropy(t(LOGITS), t(DENSE), weight=t(WEIGHTS)),
        lambda: jbce.mean(jbce.softmax_cross_entropy(LOGITS, DENSE, class_weights=WEIGHTS)),
    ),
    "label_smoothing, dense labels": (
        lambda f, t: f.cross_entropy(t(LOGITS), t(DENSE), label_smoothing=0.3),
        lambda: jbce.mean(jbce.softmax_cross_entropy(LOGITS, DENSE, label_smoothing=0.3)),
    ),
    "binary with pos_weight": (
        lambda f, t: f.binary_cross_entropy_with_logits(t(LOGITS), t(HARD), pos_weight=t(WEIGHTS)),
        lambda: jbce.mean(jbce.sigmoid_binary_cross_entropy(LOGITS, HARD, pos_weight=WEIGHTS)),
    ),
    "binary with weight": (
        lambda f, t: f.binary_cross_entropy_with_logits(
            t(LOGITS), t(HARD), weight=t(OF_EXAMPLES)[:, None]
        ),
        lambda: jnp.mean(OF_EXAMPLES[:, None] * jbce.sigmoid_binary_cross_entropy(LOGITS, HARD)),
    ),
    "KL with batchmean": (
        lambda f, t: f.kl_div(
            f.log_softmax(t(LOGITS), -1), f.softmax(t(DENSE), -1), reduction="batchmean"
        ),
        lambda: jbce.mean(jbce.softmax_kl_divergence(LOGITS, DENSE)),
    ),
    "from probabilities, logarithms cut at -100": (
        lambda f, t: f.binary_cross_entropy(
            t(jnp.array([0.0, 1.0, 0.3])), t(jnp.array([1.0, 1.0, 0.0]))
        ),
        lambda: jbce.mean(
            jnp.minimum(
                jbce.binary_cross_entropy(jnp.array([0.0, 1.0, 0.3]), jnp.array([1.0, 1.0, 0.0])),
                100.0,
            )
        ),
    ),
}


@pytest.mark.jax_defaults
@pytest.mark.filterwarnings("ignore")  # of the peer's own
@pytest.mark.parametrize("name", PYTORCH)
def test_pytorch(name):
    functional, tensor = _pytorch()
    theirs, ours = PYTORCH[name]
    found = np.asarray(ours())
    np.testing.assert_allclose(found, theirs(functional, tensor).numpy(), rtol=3e-6)


# What Keras computes, and the recipe for it.
KERAS = {
    "sparse, from logits": (
        lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True)(INDEX, LOGITS),
        lambda: jbce.mean(integer(LOGITS, INDEX)),
    ),
    "ignore_class": (
        lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=3)(
            INDEX, LOGITS
        ),
        lambda: jbce.mean(integer(LOGITS, INDEX, ignore=3), where=INDEX != 3),
    ),
    # keras divides by the number of examples, not by the sum of the weights
    "sample_weight": (
        lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True)(
            INDEX, LOGITS, sample_weight=OF_EXAMPLES
        ),
        lambda: jnp.mean(OF_EXAMPLES * integer(LOGITS, INDEX)),
    ),
    "sample_weight, mean_with_sample_weight": (
        lambda k: k.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )(INDEX, LOGITS, sample_weight=OF_EXAMPLES),
        lambda: jbce.mean(integer(LOGITS, INDEX), weights=OF_EXAMPLES),
    ),
    "label_smoothing": (
        lambda k: k.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(
            DENSE, LOGITS
        ),
        lambda: jbce.mean(jbce.softmax_cross_entropy(LOGITS, DENSE, label_smoothing=0.2)),
    ),
    "binary, label_smoothing": (
        lambda k: k.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)(HARD, LOGITS),
        lambda: jbce.mean(jbce.sigmoid_binary_cross_entropy(LOGITS, HARD, label_smoothing=0.2)),
    ),
    "binary focal": (
        lambda k: k.losses.BinaryFocalCrossentropy(
            from_logits=True, apply_class_balancing=True, alpha=0.25, gamma=2.0
        )(HARD, LOGITS),
        lambda: jbce.mean(jbce.sigmoid_focal_loss(LOGITS, HARD, alpha=0.25, gamma=2.0)),
    ),
    "binary, from probabilities, clipped": (
        lambda k: k.losses.BinaryCrossentropy()(
            jnp.array([[1.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 0.3]])
        ),
        lambda: jbce.mean(
            jbce.binary_cross_entropy(
                jnp.array([0.0, 1.0, 0.3]), jnp.array([1.0, 1.0, 0.0]), epsilon=1e-7
            )
        ),
    ),
    "sparse, from probabilities, clipped": (
        lambda k: k.losses.SparseCategoricalCrossentropy()(
            jnp.array([0, 1]), jnp.array([[0.0, 1.0], [0.4, 0.6]])
        ),
        lambda: jbce.mean(
            jbce.categorical_cross_entropy(
                jnp.array([[0.0, 1.0], [0.4, 0.6]]), jnp.array([0, 1]), epsilon=1e-7
            )
        ),
    ),
}


@pytest.mark.jax_defaults
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KERAS)
def test_keras(name):
    keras = _keras()
    theirs, ours = KERAS[name]
    np.testing.assert_allclose(np.asarray(ours()), np.asarray(theirs(keras)), rtol=3e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scikit_learn_clips_at_the_epsilon_of_the_dtype(dtype):
    # scikit-learn #24315: the same mistake costs 15.9 in float32 and 36.0 in float64
    probs = np.array([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]], dtype)
    labels, weights = np.array([1, 1, 1]), np.array([1.0, 2.0, 0.5])
    theirs = sklearn.metrics.log_loss(labels, probs, labels=[0, 1], sample_weight=weights)
    with jax.enable_x64(dtype == np.float64):
        ours = jbce.mean(
            jbce.categorical_cross_entropy(
                jnp.asarray(probs), jnp.asarray(labels), epsilon=float(np.finfo(dtype).eps)
            ),
            weights=weights,
        )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    exact = jbce.mean(jbce.categorical_cross_entropy(jnp.asarray(probs, "f4"), jnp.asarray(labels)))
    assert exact == np.inf
