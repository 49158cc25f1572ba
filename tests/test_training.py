"""Training: the steps are gradient descent's, every example counts once, and compiling is once."""

import functools
import io
import json
import subprocess
import sys
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow
import pyarrow.parquet
import pytest
import scipy.special
from flax import nnx

import jbce
from jbce import training
from jbce.training._loop import Recipe, default_loss, initial_state, mean_of, order_of, run_epochs

pytestmark = pytest.mark.jax_defaults  # optax.adam does not run under strict dtype promotion

# One object for all tests: fits with the same optimizer and shapes share their compilation.
HALF_STEPS = optax.sgd(0.5)
STANDING_STILL = optax.sgd(0.0)


def params_of(model):
    return jax.tree.leaves(nnx.state(model, nnx.Param))


def examples(key, num_classes=None, num_examples=23, num_features=3):
    features = jax.random.normal(key, [num_examples, num_features])
    if num_classes is None:
        return features, (features[:, 0] > 0.3).astype(jnp.int32)
    return features, jnp.argmax(features @ jnp.eye(num_features, num_classes), axis=-1)


def logistic(num_classes=None, num_features=3):
    return training.LogisticRegression(num_features, num_classes, rngs=nnx.Rngs(0))


def fit(model, features, labels, weights=None, **changes: Any):
    choice: dict[str, Any] = {"epochs": 3, "key": jax.random.key(7), "optimizer": HALF_STEPS}
    return training.fit(model, (features, labels, weights), **(choice | changes))


# Models


@pytest.mark.parametrize("batch", [(), (2, 3)])
@pytest.mark.parametrize("num_classes", [None, 4])
def test_models_give_one_logit_or_one_per_class(batch, num_classes):
    features = jnp.ones([*batch, 3])
    shape = batch if num_classes is None else (*batch, num_classes)
    assert logistic(num_classes)(features).shape == shape
    assert training.MLP(3, [5], num_classes, rngs=nnx.Rngs(0))(features).shape == shape


def test_mlp_is_its_layers(key):
    features = jax.random.normal(key, [7, 3])
    model = training.MLP(3, [5, 4], 2, rngs=nnx.Rngs(0), activation=jnp.tanh)
    values = np.asarray(features, np.float64)
    for layer in (*model.hidden, model.output):
        bias, kernel = (np.asarray(leaf) for leaf in params_of(layer))
        values = values @ kernel + bias
        if layer is not model.output:
            values = np.tanh(values)
    np.testing.assert_allclose(model(features), values, rtol=1e-4, atol=1e-6)


# The steps


@pytest.mark.parametrize("num_classes", [None, 3])
def test_full_batches_are_gradient_descent(key, num_classes):
    """Against the formula Xᵀ(p − y)·w/Σw, in float64 numpy."""
    features, labels = examples(key, num_classes)
    weights = jnp.arange(23) % 4
    model = logistic(num_classes)
    fitted, history, _ = fit(model, features, labels, epochs=4, weights=weights)

    inputs, shares = np.asarray(features, np.float64), np.asarray(weights) / np.sum(weights)
    kernel = np.asarray(model.output.kernel[...], np.float64)
    bias = np.zeros(kernel.shape[1])
    losses = []
    for _ in range(4):
        logits = inputs @ kernel + bias
        if num_classes is None:
            probs, targets = scipy.special.expit(logits), np.asarray(labels)[:, None]
            label_probs = np.where(targets == 1, probs, 1 - probs)[:, 0]
        else:
            probs = scipy.special.softmax(logits, axis=-1)
            targets = np.eye(num_classes)[np.asarray(labels)]
            label_probs = (probs * targets).sum(axis=-1)
        losses.append(-(shares * np.log(label_probs)).sum())
        residuals = shares[:, None] * (probs - targets)
        kernel = kernel - 0.5 * inputs.T @ residuals
        bias = bias - 0.5 * residuals.sum(axis=0)
    np.testing.assert_allclose(fitted.output.kernel[...], kernel, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fitted.output.bias[...], bias, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-5)
    np.testing.assert_array_equal(history.penalty, np.zeros(4))


def _minus_product(logits, labels):
    return -logits * labels


@pytest.mark.parametrize("batch_size", [1, 4, 11, None])
def test_every_example_is_used_once_per_epoch(batch_size):
    """Each has a feature of its own and a loss linear in it: its parameter counts its uses."""
    num_examples, num_epochs = 10, 3
    labels = jnp.arange(1.0, 1 + num_examples)
    model = logistic(num_features=num_examples)
    whole_steps = optax.sgd(1.0)
    uses = []
    for epochs in range(1, 1 + num_epochs):
        fitted, *_ = fit(
            model,
            jnp.eye(num_examples),
            labels,
            loss=_minus_product,
            optimizer=whole_steps,
            batch_size=batch_size,
            epochs=epochs,
        )
        change = fitted.output.kernel[...] - model.output.kernel[...]
        uses.append(change[:, 0] / labels)
    whole = min(batch_size or num_examples, num_examples)
    rest = num_examples % whole
    one_epoch = (
        [1 / whole] * (num_examples - rest) + [1 / rest] * rest if rest else [1 / whole] * 10
    )
    per_epoch = np.diff(uses, axis=0, prepend=0)
    np.testing.assert_allclose(np.sort(per_epoch, axis=-1), [one_epoch] * num_epochs, rtol=1e-5)
    if rest:  # another order in every epoch
        assert len({tuple(np.argsort(shares)[-rest:]) for shares in per_epoch.round(3)}) > 1


@pytest.mark.parametrize("num_epochs", [1, 99, 203])
def test_as_many_epochs_as_asked_for(num_epochs):
    """Also where they do not divide into equal parts: each adds ½ to the bias."""
    features, labels = jnp.ones([1, 1]), jnp.ones(1)
    model = logistic(num_features=1)
    fitted, history, _ = fit(model, features, labels, loss=_minus_product, epochs=num_epochs)
    np.testing.assert_allclose(fitted.output.bias[...], [num_epochs / 2])
    assert history.loss.shape == history.penalty.shape == (num_epochs,)


@pytest.mark.parametrize("batch_size", [4, None])
def test_history_is_the_mean_over_all_examples(key, batch_size):
    features, labels = examples(key, 3)
    weights = jax.random.uniform(key, [23])
    model = logistic(3)
    _, history, _ = fit(
        model, features, labels, weights=weights, batch_size=batch_size, optimizer=STANDING_STILL
    )
    losses = jbce.softmax_cross_entropy_with_integer_labels(model(features), labels)
    np.testing.assert_allclose(history.loss, [np.average(losses, weights=weights)] * 3, rtol=1e-5)


def test_default_loss_and_optimizer_are_the_documented_ones(key):
    adam = optax.adam(1e-3)
    for num_classes, loss in (
        (None, jbce.sigmoid_binary_cross_entropy),
        (3, jbce.softmax_cross_entropy_with_integer_labels),
    ):
        features, labels = examples(key, num_classes)
        model = logistic(num_classes)
        default = fit(model, features, labels, optimizer=None)
        explicit = fit(model, features, labels, loss=loss, optimizer=adam)
        chex.assert_trees_all_equal(params_of(default.model), params_of(explicit.model))


def test_penalty_joins_the_objective(key):
    """With no loss and the penalty ‖θ‖²/2, a step of 0.5 halves every parameter."""
    features, labels = examples(key)
    model = logistic()
    fitted, history, _ = fit(
        model,
        features,
        labels,
        loss=lambda logits, labels: 0 * logits,
        penalty=lambda model: sum(jnp.sum(leaf**2) for leaf in params_of(model)) / 2,
        epochs=4,
    )
    np.testing.assert_allclose(fitted.output.kernel[...], model.output.kernel[...] / 2**4)
    start = np.sum(np.asarray(model.output.kernel[...]) ** 2) / 2
    np.testing.assert_allclose(history.penalty, start / 4.0 ** np.arange(4), rtol=1e-6)
    np.testing.assert_array_equal(history.loss, np.zeros(4))


def test_the_key_decides_the_order_and_nothing_else(key):
    features, labels = examples(key)
    first, same, other = (
        params_of(fit(logistic(), features, labels, batch_size=4, key=jax.random.key(seed)).model)
        for seed in (1, 1, 2)
    )
    chex.assert_trees_all_equal(first, same)
    assert not np.array_equal(first[0], other[0])


def test_losses_of_several_labels_per_example(key):
    features = jax.random.normal(key, [11, 3])
    labels = features[:, :2] > 0
    weights = jnp.arange(1.0, 12.0)
    _, history, _ = fit(logistic(2), features, labels, weights=weights, optimizer=STANDING_STILL)
    losses = jbce.sigmoid_binary_cross_entropy(logistic(2)(features), labels.astype(jnp.float32))
    expected = np.average(losses.mean(axis=-1), weights=weights)
    np.testing.assert_allclose(history.loss, [expected] * 3, rtol=1e-5)


class NoisyNormalised(nnx.Module):
    def __init__(self, *, rngs):
        self.norm = nnx.BatchNorm(3, momentum=0.0, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.output = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, features):
        return self.output(self.dropout(self.norm(features)))[..., 0]


def test_other_variables_change_as_the_model_changes_them(key):
    features, labels = examples(key)
    model = NoisyNormalised(rngs=nnx.Rngs(0))
    fitted, history, _ = fit(model, np.asarray(features), np.asarray(labels))
    np.testing.assert_allclose(fitted.norm.mean[...], features.mean(axis=0), atol=1e-6)
    assert jax.tree.leaves(nnx.state(fitted, nnx.RngCount)) == [3]
    assert jax.tree.leaves(nnx.state(model, nnx.RngCount)) == [0]
    assert len(set(np.asarray(history.loss))) == 3


def test_the_model_handed_in_is_left_as_it_is(key):
    features, labels = examples(key)
    model = logistic()
    before = [np.array(leaf) for leaf in params_of(model)]
    fitted, *_ = fit(model, features, labels)
    assert fitted is not model and type(fitted) is type(model)
    chex.assert_trees_all_equal(params_of(model), before)
    assert not np.array_equal(params_of(fitted)[0], before[0])


# Compilation, and what may be batched


def test_compiles_once_for_all_epochs_and_for_the_next_fit(key):
    features, labels = examples(key)
    chex.clear_trace_counter()
    # One trace finds the shape of the history, the other is compiled.
    loss = chex.assert_max_traces(jbce.sigmoid_binary_cross_entropy, n=2)
    optimizer = optax.sgd(0.5)
    for seed in range(3):
        model = training.LogisticRegression(3, rngs=nnx.Rngs(seed))
        _, history, _ = fit(
            model,
            features,
            labels,
            loss=loss,
            optimizer=optimizer,
            batch_size=5,
            epochs=203 + seed,  # the last part of the epochs is a short one
            key=jax.random.key(seed),
        )
        assert history.loss.shape == (203 + seed,)


def test_the_loop_runs_under_vmap(key):
    features, labels = examples(key, 3)
    models = [training.LogisticRegression(3, 3, rngs=nnx.Rngs(seed)) for seed in range(3)]
    keys = jax.random.split(key, 3)
    optimizer = optax.adam(0.1)
    graphdef = nnx.graphdef(models[0])
    recipe = Recipe(graphdef, graphdef, optimizer, default_loss, None, mean_of(default_loss), 4)
    data = training.Data(features, labels, jnp.ones(23))

    def run(state, key):
        return run_epochs(recipe, 3, state, key, 0, 3, data)

    states = [initial_state(recipe, *nnx.split(model, nnx.Param, ...)[1:]) for model in models]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    trained, history, _ = jax.jit(jax.vmap(run))(states, keys)
    for index, model in enumerate(models):
        single = fit(model, features, labels, optimizer=optimizer, batch_size=4, key=keys[index])
        np.testing.assert_allclose(history.loss[index], single.history.loss, rtol=1e-5)
        kernel = trained.params["output"]["kernel"][...][index]
        np.testing.assert_allclose(kernel, single.model.output.kernel[...], rtol=1e-4, atol=1e-6)


# Divergence


def test_a_loss_that_is_not_finite_stops_and_keeps_what_there_is():
    """The loss −logit²/2 and a step of ½ on kernel and bias each double the logit."""
    model = logistic(num_features=1)
    start = model(jnp.ones([1, 1]))[0]
    with np.errstate(over="ignore"):
        losses = -((np.float32(start) * np.float32(2) ** np.arange(120, dtype=np.float32)) ** 2) / 2
    infinite = int(np.isfinite(losses).argmin())
    with pytest.raises(
        FloatingPointError, match=f"example 0 .* in epoch {infinite + 1} of 250"
    ) as raised:
        fit(model, jnp.ones([1, 1]), jnp.ones(1), loss=_minus_half_square, epochs=250)
    assert isinstance(raised.value, training.DivergenceError)
    fitted, history, _ = raised.value.result
    np.testing.assert_allclose(history.loss, losses[: infinite + 1], rtol=1e-5)
    assert raised.value.step == infinite and raised.value.example == 0
    logit = fitted(jnp.ones([1, 1]))[0]
    np.testing.assert_allclose(logit, start * 2.0**infinite, rtol=1e-5)


def test_divergence_at_once_gives_a_copy_of_the_model():
    model = logistic(num_features=1)
    with pytest.raises(
        training.DivergenceError, match="step 1, which is in epoch 1 of 3"
    ) as raised:
        fit(model, jnp.full([1, 1], jnp.nan), jnp.ones(1))
    kept, history, _ = raised.value.result
    assert history.loss.shape == (1,)
    chex.assert_trees_all_equal(params_of(kept), params_of(model))
    nnx.update(kept, jax.tree.map(jnp.ones_like, nnx.state(kept, nnx.Param)))
    assert params_of(kept)[0] == 1 and params_of(model)[0] == 0


def _minus_half_square(logits, labels):
    return -(logits**2) / 2


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("progress", [False, True])
def test_progress_shows_on_a_terminal_only(key, monkeypatch, terminal, progress):
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    _, history, _ = fit(logistic(), *examples(key), progress=progress)
    shown = stderr.getvalue()
    if not (terminal and progress):
        assert shown == ""
        return
    assert "3/3" in shown and "examples/s" in shown
    assert f"loss {history.loss[-1]:.4g}" in shown


# Weights, parts of batches, 16 bits


def test_what_has_weight_0_may_hold_anything(key):
    features, labels = examples(key)
    weights = jnp.arange(23) % 3
    spoilt = jnp.where((weights == 0)[:, None], jnp.nan, features)
    choice: dict[str, Any] = {"batch_size": 5, "weights": weights}
    wanted = fit(logistic(), features, labels, **choice)
    found = fit(logistic(), spoilt, labels, **choice)
    chex.assert_trees_all_equal(params_of(found.model), params_of(wanted.model))
    np.testing.assert_array_equal(found.history.loss, wanted.history.loss)


@pytest.mark.parametrize("accumulate", [2, 3, 100])
def test_parts_of_a_batch_are_the_batch(key, accumulate):
    """Parts of unequal weight: the mean of their means is another number."""
    features, labels = examples(key, 3)
    choice: dict[str, Any] = {"batch_size": 10, "weights": jnp.arange(23.0) ** 2}
    whole = fit(logistic(3), features, labels, **choice)
    parts = fit(logistic(3), features, labels, accumulate=accumulate, **choice)
    chex.assert_trees_all_close(params_of(parts.model), params_of(whole.model), rtol=1e-5)
    np.testing.assert_allclose(parts.history.loss, whole.history.loss, rtol=1e-5)


class OfLogarithms(nnx.Module):
    """Which has no derivative at features of 0."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(3, 1, rngs=rngs)
        self.power = nnx.Param(jnp.ones([]))

    def __call__(self, features):
        return self.dense(jnp.log(features) * jnp.sqrt(features * self.power[...]))[..., 0]


def test_parts_that_are_filled_up_hold_nothing_new(key):
    """Parts of 2 of a batch of 3 need one more example, which is not one of zeros."""
    features = 1 + jax.random.uniform(key, [12, 3])
    labels = jnp.arange(12) % 2
    whole = fit(OfLogarithms(nnx.Rngs(0)), features, labels, batch_size=3)
    parts = fit(OfLogarithms(nnx.Rngs(0)), features, labels, batch_size=3, accumulate=2)
    chex.assert_trees_all_close(params_of(parts.model), params_of(whole.model), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("kind", ["logistic", "MLP", "CNN"])
def test_models_compute_in_16_bits_and_keep_32(key, kind, dtype):
    features = jax.random.normal(key, [23, 6, 6, 3])
    rngs = nnx.Rngs(0)
    if kind == "CNN":
        model = training.CNN(3, [4, 8], rngs=rngs, dtype=dtype)
        narrow = training.CNN(3, [4, 8], rngs=nnx.Rngs(0))
    else:
        features = features.reshape(23, -1)
        model = training.MLP(108, [4] * (kind == "MLP"), rngs=rngs, dtype=dtype)
        narrow = training.MLP(108, [4] * (kind == "MLP"), rngs=nnx.Rngs(0))
    logits = model(features)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, narrow(features), atol=0.1)
    assert not np.array_equal(logits, narrow(features))
    labels = jnp.arange(23) % 2
    fitted, history, _ = fit(model, features, labels, loss_scale=2.0**10, epochs=6)
    assert all(leaf.dtype == jnp.float32 for leaf in params_of(fitted))
    assert history.loss[-1] < history.loss[0]


def test_a_loss_scale_that_overflows_is_halved(key):
    """At 2**40 no float16 gradient is finite: steps are left out until it fits."""
    features, labels = examples(key)
    model = training.MLP(3, [4], rngs=nnx.Rngs(0), dtype=jnp.float16)
    _, history, _ = fit(model, features, labels, loss_scale=2.0**40, epochs=40)
    moved = np.flatnonzero(np.diff(history.loss))
    assert 10 < moved[0] < 35 and history.loss[-1] < history.loss[0]


def test_small_gradients_survive_in_float16_with_a_scale():
    """Examples of weight 1e-7 beside one of weight 1 without a gradient."""
    features = jnp.array([[0.0], [1.0]])
    model = training.MLP(1, [1], rngs=nnx.Rngs(0), dtype=jnp.float16, activation=jnp.tanh)
    choice: dict[str, Any] = {
        "weights": jnp.array([1.0, 1e-8]),
        "epochs": 1,
        "optimizer": optax.sgd(1e8),
    }
    labels = jnp.array([0, 1])
    kernels = [
        fit(model, features, labels, loss_scale=scale, **choice).model.hidden[0].kernel[...]
        for scale in (None, 2.0**15)
    ]
    start = model.hidden[0].kernel[...]
    assert np.array_equal(kernels[0], start) and not np.array_equal(kernels[1], start)


# Validation


def test_validation_is_judged_after_every_epoch_and_patience_ends(key):
    """Labels that are noise: validation is best early, whatever the training loss does."""
    features = jax.random.normal(key, [60, 20])
    labels = jax.random.bernoulli(jax.random.key(5), 0.5, [60]).astype(jnp.int32)
    judged = (features[40:], labels[40:])
    choice: dict[str, Any] = {"epochs": 50, "optimizer": optax.adam(0.1), "validation": judged}
    model = training.LogisticRegression(20, rngs=nnx.Rngs(0))
    last: Any = fit(model, features[:40], labels[:40], **choice)
    assert last.best_epoch is None and last.history.validation.shape == (50,)
    best: Any = fit(model, features[:40], labels[:40], patience=4, **choice)
    number = best.history.validation.shape[0]
    assert number < 50 and best.best_epoch == number - 4
    np.testing.assert_array_equal(best.history.validation, last.history.validation[:number])
    assert int(np.argmin(best.history.validation)) == best.best_epoch - 1
    for result, epoch in ((last, 50), (best, best.best_epoch)):
        score = jbce.metrics.log_loss(result.model(judged[0]), judged[1])
        np.testing.assert_allclose(score, last.history.validation[epoch - 1], rtol=1e-5)


def test_the_score_is_proper_whatever_the_loss(key):
    features, labels = examples(key)
    judged = (features, labels, jnp.arange(23) % 3)
    model = logistic()
    focal = functools.partial(jbce.sigmoid_focal_loss, gamma=2.0)
    for choice, wanted in (
        ({}, jbce.metrics.log_loss),
        ({"score": jbce.metrics.brier_score}, jbce.metrics.brier_score),
    ):
        fitted, history, _ = fit(
            model, features, labels, loss=focal, validation=judged, epochs=2, **choice
        )
        value = wanted(fitted(features), labels, weights=judged[2])
        np.testing.assert_allclose(history.validation[-1], value, rtol=1e-5)
    soft = jax.nn.one_hot(labels, 2)
    fitted, history, _ = fit(
        logistic(2), features, soft, loss=jbce.softmax_cross_entropy, validation=(features, soft)
    )
    value = jnp.mean(jbce.softmax_cross_entropy(fitted(features), soft))
    np.testing.assert_allclose(history.validation[-1], value, rtol=1e-5)


def test_dropout_learns_and_is_judged_settled(key):
    features, labels = examples(key)
    model = training.MLP(3, [8], rngs=nnx.Rngs(0), dropout=0.5)
    result = fit(model, features, labels, validation=(features, labels), epochs=1, batch_size=600)
    settled = nnx.clone(result.model)
    settled.eval()
    value = jbce.metrics.log_loss(settled(features), labels)
    np.testing.assert_allclose(result.history.validation[-1], value, rtol=1e-5)
    np.testing.assert_array_equal(result.model(features), settled(features))
    assert not np.array_equal(model(features), model(features))  # left as it is: in training


# What is not finite is found


def _root(logits, labels):
    """A loss whose gradient, and nothing else, is infinite at a logit of 0."""
    return jnp.sqrt(jnp.abs(logits * labels))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_example_of_a_loss_or_a_gradient_that_is_not_finite_is_named(accumulate):
    features = jnp.ones([10, 1])
    model = training.LogisticRegression(1, rngs=nnx.Rngs(0))
    choice: dict[str, Any] = {
        "batch_size": 4,
        "accumulate": accumulate,
        "optimizer": STANDING_STILL,
    }
    order = order_of(jax.random.key(7), 0, 10)
    step = int(np.flatnonzero(np.asarray(order) == 6)[0]) // 4
    with pytest.raises(training.DivergenceError, match="The loss of example 6 is not finite") as it:
        fit(model, features.at[6].set(jnp.inf), jnp.ones(10), loss=_root, **choice)
    assert (it.value.example, it.value.step) == (6, step)
    with pytest.raises(training.DivergenceError, match="example 6 is finite, but its grad") as it:
        fit(model, features.at[6].set(0.0), jnp.ones(10), loss=_root, **choice)
    assert (it.value.example, it.value.step) == (6, step)
    assert all(np.isfinite(leaf).all() for leaf in params_of(it.value.result.model))


@pytest.mark.parametrize("rate", [jnp.nan, jnp.inf])
def test_a_rate_that_no_parameter_stands_is_no_example_s_fault(key, rate):
    features, labels = examples(key)
    with pytest.raises(training.DivergenceError, match="update of the parameters, of a") as raised:
        fit(logistic(), 1e3 * features, labels, optimizer=optax.sgd(rate))
    assert raised.value.example is None and raised.value.step == 0
    chex.assert_trees_all_equal(params_of(raised.value.result.model), params_of(logistic()))


def test_words_and_integers_are_no_keys_or_labels():
    with pytest.raises(TypeError, match=r"`labels` must be numbers, but an array of <U1 came"):
        fit(logistic(None, 2), THREE, np.array(["a", "b", "a"]))


# Callbacks


def test_callbacks_see_every_epoch_and_may_end_the_run(key):
    features, labels = examples(key)
    reports = []
    result = fit(
        logistic(),
        features,
        labels,
        epochs=250,
        callbacks=[reports.append, lambda report: report.epoch >= 9],
    )
    assert [row["epoch"] for report in reports for row in report.rows] == [*range(1, 10)]
    np.testing.assert_array_equal(
        np.array([row["loss"] for report in reports for row in report.rows], np.float32),
        result.history.loss,
    )
    chex.assert_trees_all_equal(params_of(reports[-1].model()), params_of(result.model))
    assert all(report.examples_per_second > 0 for report in reports)


def test_a_log_of_another_run_is_kept(key, tmp_path):
    path = tmp_path / "log.jsonl"
    for _ in range(3):
        fit(logistic(), *examples(key), callbacks=[training.JSONLines(path)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[0]["validation"] is None


# Files


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_files_give_every_example_once_per_epoch(kind, tmp_path):
    """As in memory: each example has a feature of its own, and a loss linear in it."""
    labels = np.arange(1.0, 15, dtype=np.float32)
    eye = np.eye(14, dtype=np.float32)
    columns = [f"x{number}" for number in range(14)]
    for first in (0, 8):
        part = slice(first, first + 8)
        if kind == "npz":
            np.savez(tmp_path / f"{first}.npz", x=eye[part], y=labels[part])
            continue
        table = pyarrow.table({**dict(zip(columns, eye[part].T, strict=True)), "y": labels[part]})
        pyarrow.parquet.write_table(table, tmp_path / f"{first}.parquet", row_group_size=3)
    chosen = "x" if kind == "npz" else columns
    files = training.Files(tmp_path, features=chosen, labels="y", shuffle_rows=4)
    assert files.num_examples == 14
    model = logistic(num_features=14)
    choice: dict[str, Any] = dict(
        loss=_minus_product, optimizer=optax.sgd(1.0), key=jax.random.key(3)
    )
    fitted, history, _ = training.fit(model, files, epochs=3, batch_size=1, **choice)
    kernel = (fitted.output.kernel[...] - model.output.kernel[...])[:, 0]
    np.testing.assert_allclose(kernel, 3 * labels, rtol=1e-5)
    assert history.loss.shape == (3,)
    orders = [
        np.concatenate([indices for _, indices in files.batches([1], epoch, 4)])
        for epoch in range(2)
    ]
    assert not np.array_equal(orders[0], orders[1])
    late = [indices for _, indices in files.batches([1], 0, 4, first=2)]
    np.testing.assert_array_equal(np.concatenate(late), orders[0][8:])


def test_files_learn_what_memory_learns(tmp_path, key):
    """One batch of all: the same steps, but for the order of a sum."""
    features, labels = (np.asarray(a) for a in examples(key))
    weights = np.arange(23) % 3
    np.savez(tmp_path / "all.npz", x=features, y=labels, w=weights)
    files = training.Files(tmp_path, features="x", labels="y", weights="w")
    judged = (features, labels)
    choice: dict[str, Any] = {
        "epochs": 4,
        "optimizer": HALF_STEPS,
        "key": key,
        "validation": judged,
    }
    wanted = training.fit(logistic(), (features, labels, weights), **choice)
    found = training.fit(logistic(), files, batch_size=23, **choice)
    chex.assert_trees_all_close(params_of(found.model), params_of(wanted.model), rtol=1e-5)
    chex.assert_trees_all_close(found.history, wanted.history, rtol=1e-5)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.full([6, 3], np.nan, np.float32), y=np.arange(6) % 2)
    for choice, error, says in (
        ({"features": "z", "labels": "y"}, ValueError, "has no 'z'; it has x, y"),
        ({"features": ["x", "y"], "labels": "y"}, ValueError, "one array"),
        ({"features": "x", "labels": "y", "shuffle_rows": 0}, ValueError, "`shuffle_rows`"),
    ):
        with pytest.raises(error, match=says):
            training.Files([path], **cast("Any", choice))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        training.Files(tmp_path / "nowhere", features="x", labels="y")
    damaged = {
        "lengths": ({"x": np.zeros([5, 3]), "y": np.arange(6) % 2}, "5 features, 6 labels"),
        "weights": ({"x": np.zeros([6, 3]), "y": np.arange(6), "w": -np.ones(6)}, "≥ 0"),
        "labels": ({"x": np.zeros([6, 3]), "y": np.arange(6) + 2**32}, "32 bits"),
    }
    for name, (arrays, says) in damaged.items():
        np.savez(tmp_path / f"{name}.npz", **cast("Any", arrays))
        files = training.Files(
            tmp_path / f"{name}.npz",
            features="x",
            labels="y",
            weights="w" if "w" in arrays else None,
        )
        with pytest.raises(ValueError, match=says):
            training.fit(logistic(), files, epochs=1, batch_size=2, key=jax.random.key(0))
    for column, says in ((["a", "b"], "not string"), ([1.0, None], "1 nulls")):
        table = pyarrow.table({"x": column, "y": [0, 1]})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        files = training.Files(tmp_path / "a.parquet", features=["x"], labels="y")
        with pytest.raises(ValueError, match=f"Column 'x' .* {says}"):
            files.first()
    files = training.Files([path], features="x", labels="y")
    with pytest.raises(ValueError, match="`batch_size` is needed"):
        training.fit(logistic(), files, epochs=1, key=jax.random.key(0))
    with pytest.raises(training.DivergenceError, match=r"row \d of .*a\.npz is not finite"):
        training.fit(logistic(), files, epochs=1, batch_size=2, key=jax.random.key(0))


# Saved models


MODELS = {
    "logistic": lambda: training.LogisticRegression(4, 3, rngs=nnx.Rngs(1)),
    "MLP": lambda: training.MLP(
        4, [5, 3], rngs=nnx.Rngs(1), activation=jnp.tanh, dropout=0.1, dtype=jnp.bfloat16
    ),
    "CNN": lambda: training.CNN(4, [3], 2, rngs=nnx.Rngs(1), activation=nnx.gelu),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_gives_the_same_logits(name, tmp_path, key):
    model = MODELS[name]()
    model.eval()
    path = tmp_path / "model.safetensors"
    training.save_model(path, model)
    features = jax.random.normal(key, [6, 7, 7, 4])
    for again in (training.load_model(path), training.load_model(path, MODELS[name]())):
        assert type(again) is type(model) and again.description == model.description
        again.eval()
        np.testing.assert_array_equal(again(features), model(features))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        training.save_model(path, model)
    training.save_model(path, model, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_parameters_of_16_and_8_bits_are_saved_to_the_bit(tmp_path):
    def narrow(dtype):
        model = nnx.Linear(4, 3, rngs=nnx.Rngs(1))
        nnx.update(model, jax.tree.map(lambda leaf: leaf.astype(dtype), nnx.state(model)))
        return model

    path = tmp_path / "model.safetensors"
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn):
        training.save_model(path, narrow(dtype), overwrite=True)
        again = training.load_model(path, narrow(dtype))
        chex.assert_trees_all_equal(nnx.state(again), nnx.state(narrow(dtype)))
        assert again.kernel[...].dtype == dtype
    with pytest.raises(ValueError, match="bias is float8_e4m3fn"):
        training.load_model(path, narrow(jnp.float32))


def test_a_file_that_is_not_the_model_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    training.save_model(path, MODELS["MLP"]())
    with pytest.raises(ValueError, match=r"another architecture \(MLP\)"):
        training.load_model(path, training.MLP(4, [6, 3], rngs=nnx.Rngs(0)))
    content = path.read_bytes()
    for damaged in (content[:-3], b"", content.replace(b"jbce.training", b"jbce.trainind")):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a model of jbce"):
            training.load_model(path)
    path.write_bytes(content.replace(b'\\"MLP\\"', b'\\"MLQ\\"'))
    with pytest.raises(ValueError, match="no model of jbce"):
        training.load_model(path)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        training.save_model(tmp_path / "model.pickle", MODELS["MLP"]())
    with pytest.raises(FileNotFoundError):
        training.load_model(tmp_path / "none.safetensors")


# Bad input

THREE = jnp.zeros([3, 2])
ALL_ONES = jnp.ones(3, jnp.int32)
BAD: dict[str, Any] = {
    "constant labels": ((THREE, ALL_ONES), {}, ["All 3 labels are 1"]),
    "too few": ((THREE, jnp.arange(3)), {"model": 4}, ["3 examples cannot teach 4 classes"]),
    "negative weight": ((THREE, jnp.zeros(3)), {"weights": -jnp.ones(3)}, ["`weights`", "-1"]),
    "patience": ((THREE, jnp.zeros(3)), {"patience": 2}, ["`patience`", "`validation`"]),
    "accumulate": ((THREE, jnp.zeros(3)), {"accumulate": 0}, ["`accumulate`", "0"]),
    "loss_scale": ((THREE, jnp.zeros(3)), {"loss_scale": 0.0}, ["`loss_scale`", "0.0"]),
    "no weight": ((THREE, jnp.zeros(3)), {"weights": jnp.zeros(3)}, ["All `weights` are 0"]),
    "infinite weight": (
        (THREE, jnp.zeros(3)),
        {"weights": jnp.array([1, jnp.inf, 1])},
        ["`weights`", "inf"],
    ),
    "wide labels": ((THREE, np.full(3, 2**32)), {}, ["`labels`", "32 bits", "4294967296"]),
    "broadcast loss": (
        (THREE, jnp.zeros([3, 1])),
        {"loss": lambda logits, labels: (logits - labels) ** 2},
        ["`loss`", "float32[3,3]"],
    ),
    "validation": (
        (THREE, jnp.zeros(3)),
        {"validation": (THREE, jnp.zeros(2))},
        ["`validation labels`", "float32[2]"],
    ),
    "lengths": ((THREE, jnp.zeros(4)), {}, ["float32[3,2]", "float32[4]"]),
    "no examples": ((jnp.zeros([0, 2]), jnp.zeros(0)), {}, ["float32[0,2]"]),
    "weights": ((THREE, jnp.zeros(3)), {"weights": jnp.ones(2)}, ["float32[2]", "float32[3,2]"]),
    "batch_size": ((THREE, jnp.zeros(3)), {"batch_size": 0}, ["`batch_size`", "0"]),
    "epochs": ((THREE, jnp.zeros(3)), {"epochs": -1}, ["`epochs`", "-1"]),
    "labels": ((THREE, jnp.zeros([3, 4])), {}, ["`labels`", "float32[3,4]", "logits float32[3]"]),
    "loss": (
        (THREE, jnp.zeros(3)),
        {"loss": lambda logits, labels: jnp.mean(logits)},
        ["`loss`", "3 examples float32[]"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_shown(case, unchecked_signatures):
    data, choice, shown = BAD[case]
    num_classes = choice.get("model")
    with pytest.raises(ValueError) as raised:
        fit(logistic(num_classes, 2), *data, **{k: v for k, v in choice.items() if k != "model"})
    assert all(words in str(raised.value) for words in shown), raised.value


def test_a_model_without_classes():
    with pytest.raises(ValueError, match="`num_classes` must be at least 1"):
        training.LogisticRegression(2, 0, rngs=nnx.Rngs(0))


def test_a_missing_package_names_the_extra():
    program = """
import sys
sys.stderr.isatty = lambda: True
for package in ("rich", "flax", "optax"):
    for name in [name for name in sys.modules if name.split(".")[0] in ("jbce", package)]:
        del sys.modules[name]
    sys.modules[package] = None
    try:
        from jbce.training._progress import progress_bar
        with progress_bar(True, 1, 1):
            pass
    except ImportError as error:
        print(error)
    del sys.modules[package]
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines() == [
        f"jbce.training needs {package}, which comes with the extra: pip install 'jbce[training]'"
        for package in ("rich", "flax", "optax")
    ]


@pytest.mark.jax_defaults
@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("num_classes", "labels", "says"),
    [
        (None, [-1, 1, 1, -1], "binary, so from 0 to 1, but they run from -1 to 1"),
        (3, [0, 1, 2, 3], "a model of 3 classes, so from 0 to 2, but they run from 0 to 3"),
        (1, [0, 1, 0, 1], "a model of 1 classes, .*one logit per example"),
    ],
)
def test_labels_out_of_range_are_named(num_classes, labels, says):
    model = training.LogisticRegression(2, num_classes, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=says):
        fit(model, jnp.zeros((4, 2)), jnp.array(labels))
