"""Fitting a model to examples."""

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._typing import ArrayLike, Bool, Real, as_array, as_real, describe
from ._extra import extra
from ._loop import Data, History, Loss, Penalty, Recipe, State
from ._loop import default_loss as _default_loss
from ._loop import initial_state as _initial_state
from ._loop import run_epochs as _run_epochs
from ._progress import progress_bar as _progress_bar

with extra():
    import optax
    from flax import nnx

# Training stops to look at the loss, and to show it, about this many times.
_NUM_PARTS = 100


class FitResult(NamedTuple):
    """A fitted model, and how it came about."""

    model: Any  # of the type of the model that was handed in
    history: History


class DivergenceError(FloatingPointError):
    """The training loss is no longer finite; what there is until then is kept.

    Attributes:
        result: the history up to and with the first epoch whose loss is not finite, and the model
            as it was at the last look before that epoch.
    """

    def __init__(self, message: str, result: FitResult):
        super().__init__(message)
        self.result = result


def fit(
    model: nnx.Module,
    features: Real[ArrayLike, "examples *features"],
    labels: Real[ArrayLike, "examples *label"] | Bool[ArrayLike, "examples *label"],
    *,
    loss: Loss | None = None,
    optimizer: optax.GradientTransformation | None = None,
    num_epochs: int,
    batch_size: int | None = None,
    key: PRNGKeyArray,
    penalty: Penalty | None = None,
    weights: Real[ArrayLike, " examples"] | None = None,
    progress: bool = True,
) -> FitResult:
    """Minimises the mean loss of `model` on the examples, plus a penalty, by gradient steps.

        Σ w·loss(model(features), labels) / Σ w + penalty(model)        over the examples of a batch

    All epochs run inside one compiled function, which further fits use again when shapes, kind of
    model, and the very `loss`, `optimizer` and `penalty` are the same.

    Args:
        model: a Flax NNX module from features to logits. It is left as it is. Its `nnx.Param`
            variables are fitted; other variables (batch statistics, random streams) change as the
            model changes them.
        features: one entry per example along the first axis.
        labels: likewise.
        loss: `(logits, labels)` to one loss per example, with the examples first. None:
            `jbce.sigmoid_binary_cross_entropy` for labels of the logits' shape,
            `jbce.softmax_cross_entropy_with_integer_labels` for class indices.
        optimizer: an Optax gradient transformation; None: `optax.adam(1e-3)`.
        num_epochs: how often every example is used, ≥ 1.
        batch_size: examples per step, ≥ 1; None: all. Each epoch shuffles the examples; the last
            batch is smaller where `batch_size` does not divide their number, so that every example
            is used once per epoch. (Its missing places are filled with examples of weight 0, which
            a model that mixes examples, as batch normalisation does, still sees.)
        key: a JAX random key, for the order of the examples.
        penalty: the model to a scalar, in the unit of the mean loss.
        weights: how much each example counts, ≥ 0; None: all the same.
        progress: a progress bar if standard error is a terminal; otherwise nothing is shown.

    Returns:
        The fitted model, and the history: per epoch the mean loss and the mean penalty, as they
        were before each step.

    Raises:
        ValueError: numbers of features, labels and weights differ, or are 0; `num_epochs` or
            `batch_size` < 1; the labels are not what the loss takes.
        DivergenceError: a `FloatingPointError`: the mean loss of an epoch is not finite. It is
            looked at after every hundredth of the epochs, and what there is until then is kept in
            the error.
        ImportError: flax, optax or rich is missing.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from jbce.training import LogisticRegression
        >>> key = jax.random.key(0)
        >>> features = jax.random.normal(key, [200, 3])
        >>> model = LogisticRegression(3, rngs=nnx.Rngs(1))
        >>> labels = features[:, 0] > 0
        >>> fitted, history = fit(model, features, labels, num_epochs=5, batch_size=32, key=key)
        >>> history.loss.shape, bool(history.loss[-1] < history.loss[0])
        ((5,), True)
    """
    num_epochs = _at_least_one("num_epochs", num_epochs)
    data = _data(features, labels, weights)
    if loss is None:
        _check_range(model, data)
    num_examples = data.weights.shape[0]
    if batch_size is not None:
        batch_size = min(_at_least_one("batch_size", batch_size), num_examples)
    optimizer = _default_optimizer() if optimizer is None else optimizer
    recipe = Recipe(
        nnx.graphdef(model),
        optimizer,
        _default_loss if loss is None else loss,
        penalty,
        num_examples if batch_size is None else batch_size,
    )
    length = -(-num_epochs // _NUM_PARTS)
    state, histories = _initial_state(model, optimizer), []
    with _progress_bar(progress, num_epochs, num_examples) as report:
        for first_epoch in range(0, num_epochs, length):
            next_state, history = _jitted_run_epochs(
                recipe, length, state, key, np.int32(first_epoch), np.int32(num_epochs), data
            )
            histories.append(history)
            losses = np.asarray(history.loss)[: num_epochs - first_epoch]
            finite = np.isfinite(losses)
            if not finite.all():
                epoch = first_epoch + int(finite.argmin())
                raise DivergenceError(
                    f"The mean training loss is {losses[finite.argmin()]} in epoch {epoch + 1} of "
                    f"{num_epochs}. The history until then, and the model after {first_epoch} "
                    "epochs, are in `result` of this error.",
                    _result(recipe, state, histories, epoch + 1),
                )
            state = next_state
            report(first_epoch + len(losses), float(losses[-1]))
    return _result(recipe, state, histories, num_epochs)


_jitted_run_epochs = jax.jit(_run_epochs, static_argnums=(0, 1))


@functools.cache
def _default_optimizer() -> optax.GradientTransformation:
    # One and the same object, which makes fits share their compilation.
    return optax.adam(1e-3)


def _result(recipe: Recipe, state: State, histories: list[History], num_epochs: int) -> FitResult:
    history = jax.tree.map(lambda *parts: jnp.concatenate(parts)[:num_epochs], *histories)
    model = nnx.merge(recipe.graphdef, state.params, state.rest, copy=True)
    return FitResult(model, history)


def _check_range(model: nnx.Module, data: Data) -> None:
    """Integer labels are classes that the model has: under jit they would only make a loss NaN.

    Raises:
        ValueError: they are not.
    """
    if not jnp.issubdtype(data.labels.dtype, jnp.integer):
        return
    graphdef, state = nnx.split(model)
    logits = jax.eval_shape(lambda s, x: nnx.merge(graphdef, s)(x), state, data.features[:1])
    binary = logits.shape[1:] == data.labels.shape[1:]
    num_classes = 2 if binary else logits.shape[-1]
    lowest, highest = int(jnp.min(data.labels)), int(jnp.max(data.labels))
    if lowest < 0 or highest >= num_classes:
        what = "binary" if binary else f"for a model of {num_classes} classes"
        hint = " (one logit per example wants the logits without their last axis)"
        raise ValueError(
            f"`labels` are {what}, so from 0 to {num_classes - 1}, but they run from {lowest} to "
            f"{highest}; the model's logits are {describe(logits)} for one example"
            f"{hint if num_classes == 1 else ''}."
        )


def _at_least_one(name: str, value: int) -> int:
    if operator.index(value) < 1:
        raise ValueError(f"`{name}` must be at least 1, but {value} came.")
    return operator.index(value)


def _data(features: ArrayLike, labels: ArrayLike, weights: ArrayLike | None) -> Data:
    features, labels = as_array("features", features), as_real("labels", labels)
    if features.ndim == 0 or features.shape[:1] != labels.shape[:1]:
        raise ValueError(
            "`features` and `labels` must have the same number of examples along their first axis, "
            f"but {describe(features)} and {describe(labels)} came."
        )
    if features.shape[0] == 0:
        raise ValueError(f"There must be examples to fit, but `features` are {describe(features)}.")
    if weights is None:
        weights = jnp.ones(features.shape[:1])
    weights = as_real("weights", weights)
    if weights.shape != features.shape[:1]:
        raise ValueError(
            "`weights` must have one entry per example, "
            f"but {describe(weights)} came with `features` {describe(features)}."
        )
    return Data(features, labels, weights.astype(float))
