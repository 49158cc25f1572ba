"""Fitting a model to examples."""

import contextlib
import functools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PRNGKeyArray

from ._callbacks import Callback, Report
from ._checkpoints import Checkpoints, Position, Store, digest_of, fingerprint
from ._data import Data, as_data, at_least_one, check_key, check_labels, logits_of_one
from ._devices import Devices
from ._extra import extra
from ._files import Files
from ._leaves import numbers_of
from ._loop import History, Loss, Penalty, Recipe, Score, State, is_over, mean_of
from ._loop import default_loss as _default_loss
from ._loop import initial_state as _initial_state
from ._loop import step as _step
from ._passes import InMemory, Passes, Streamed
from ._progress import progress_bar as _progress_bar
from ._trouble import DivergenceError, explained

with extra():
    import optax
    from flax import nnx


class FitResult(NamedTuple):
    """A fitted model, and how it came about."""

    model: Any  # of the type of the model that was handed in
    history: History
    best_epoch: int | None = None  # after which the model was best; None without patience


def fit(
    model: nnx.Module,
    data: Data | tuple[Any, ...] | Files,
    *,
    loss: Loss | None = None,
    optimizer: optax.GradientTransformation | None = None,
    epochs: int,
    batch_size: int | None = None,
    accumulate: int = 1,
    key: PRNGKeyArray,
    penalty: Penalty | None = None,
    validation: Data | tuple[Any, ...] | None = None,
    score: Score | None = None,
    patience: int | None = None,
    loss_scale: float | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | None = None,
    partition: Mapping[str, PartitionSpec] | None = None,
    progress: bool = True,
) -> FitResult:
    """Minimises the mean loss of `model` on the examples, plus a penalty, by gradient steps.

        Σ w·loss(model(features), labels) / Σ w + penalty(model)        over the examples of a batch

    Whole epochs run inside one compiled function, which further fits use again when shapes, kind of
    model, and the very `loss`, `optimizer` and `penalty` are the same. Data in files are read ahead
    while the steps run.

    Args:
        model: a Flax NNX module from features to logits. It is left as it is. Its `nnx.Param`
            variables are fitted; other variables (batch statistics, random streams) change as the
            model changes them. Dropout and batch normalisation are in training mode while it
            learns; it is judged, and returned, in evaluation mode (`.train()` puts it back).
        data: `(features, labels)` or `(features, labels, weights)`, one entry per example along
            the first axis, `weights` ≥ 0 saying how much each counts; what has weight 0 may hold
            anything. Features may be a pytree. Or `Files`, for more than fits into memory.
        loss: `(logits, labels)` to one loss per example, with the examples first. None:
            `jbce.sigmoid_binary_cross_entropy` for labels of the logits' shape (one logit, or
            several labels each of its own), `jbce.softmax_cross_entropy_with_integer_labels` for
            class indices.
        optimizer: an Optax gradient transformation; None: `optax.adam(1e-3)`.
        epochs: how often every example is used, ≥ 1.
        batch_size: examples per step, ≥ 1; None: all. Each epoch shuffles the examples; the last
            batch is smaller where `batch_size` does not divide their number, so that every example
            is used once per epoch. (Its missing places are copies of an example, of weight 0, which
            a model that mixes examples, as batch normalisation does, still sees.)
        accumulate: parts into which a batch is cut, one after the other, to save memory; the
            gradient is still Σ w·∇loss / Σ w of the whole batch (of a model that does not mix
            examples, and draws no random numbers for them, to rounding).
        key: a JAX random key, for the order of the examples.
        penalty: the model to a scalar, in the unit of the mean loss.
        validation: examples that judge the model after every epoch.
        score: `(logits, labels, weights=)` of the validation data to a number, less is better, as
            the metrics of `jbce.metrics` are. None: for hard labels their mean cross-entropy,
            whatever `loss` is, since that is proper; otherwise the mean of `loss`.
        patience: epochs without a better score after which training ends; the model is then the
            one of the best epoch. None: train to the end, and return the last.
        loss_scale: for models that compute in float16: what the loss is multiplied with before
            it is differentiated, to begin with (2.0**15 is usual); halved where a gradient
            overflows, doubled after 2,000 good steps.
        callbacks: called with a `Report` after every hundredth of the epochs; a true answer ends
            the run.
        checkpoints: where to keep what is needed to go on after a death. SIGTERM then saves and
            exits with status 143.
        mesh: the devices to use, from `jax.make_mesh`; batches are spread over its axis `data`,
            and everything is replicated over the rest. Every process makes the same call with the
            same data.
        partition: of parameters spread over axes of the mesh, the `PartitionSpec` by their path,
            as `{"output.kernel": PartitionSpec(None, "classes")}`.
        progress: a progress bar if standard error is a terminal; otherwise nothing is shown.

    Returns:
        The fitted model, the history (per epoch the mean loss and the mean penalty, as they were
        before each step, and the score after it), and the best epoch.

    Raises:
        ValueError: numbers of examples differ, or are 0; a weight < 0; `epochs`, `batch_size` or
            `accumulate` < 1; the labels are not what the loss takes, or are all the same, or fewer
            than the classes.
        DivergenceError: a `FloatingPointError`: the loss of an example, or the gradient, is not
            finite. The step is not taken; what there is until then is kept in the error.
        CheckpointError: there are checkpoints, and none can be taken.
        WorkerLostError: another process of the run has died.
        ImportError: flax, optax, rich, or what checkpoints or files need, is missing.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from jbce.training import LogisticRegression
        >>> key = jax.random.key(0)
        >>> features = jax.random.normal(key, [200, 3])
        >>> model = LogisticRegression(3, rngs=nnx.Rngs(1))
        >>> labels = features[:, 0] > 0
        >>> result = fit(model, (features, labels), epochs=5, batch_size=32, key=key)
        >>> history = result.history
        >>> history.loss.shape, bool(history.loss[-1] < history.loss[0])
        ((5,), True)
    """
    check_key(key)
    epochs = at_least_one("epochs", epochs)
    accumulate = at_least_one("accumulate", accumulate)
    patience = None if patience is None else at_least_one("patience", patience)
    if batch_size is not None:
        batch_size = at_least_one("batch_size", batch_size)
    if loss_scale is not None and not 1 <= loss_scale < float("inf"):
        raise ValueError(f"`loss_scale` must be at least 1 and finite, but {loss_scale} came.")
    if patience is not None and validation is None:
        raise ValueError("`patience` waits for a better score, which needs `validation` data.")
    judged = None if validation is None else as_data("validation", validation)
    files = data if isinstance(data, Files) else None
    held = None if files is not None else as_data("data", data)
    example = files.first() if files is not None else held
    assert example is not None
    example = jax.tree.map(lambda leaf: leaf[:1], example)
    logits = logits_of_one(model, example)
    if loss is None and held is not None:
        check_labels("data", logits, held, learnt=True)
    if judged is not None and score is None:
        check_labels("validation", logits, judged, learnt=False)
    if files is not None and batch_size is None:
        raise ValueError("`batch_size` is needed with files, which do not fit into one batch.")

    num_examples = (held or files).num_examples  # pyright: ignore[reportOptionalMemberAccess]
    devices = Devices(mesh, partition)
    chosen = _default_loss if loss is None else loss
    trained = _mode(model, "train")
    _, params, rest = nnx.split(trained, nnx.Param, ...)
    recipe = Recipe(
        nnx.graphdef(trained),
        nnx.graphdef(_mode(model, "eval")),
        _default_optimizer() if optimizer is None else optimizer,
        chosen,
        penalty,
        score or mean_of(_default_loss if judged is not None and _hard(judged) else chosen),
        num_examples if batch_size is None else min(batch_size, num_examples),
        accumulate,
        None if loss_scale is None else float(loss_scale),
        patience,
        devices.batches,
    )
    state = jax.tree.map(_copied, _initial_state(recipe, params, rest))
    start = "" if checkpoints is None else digest_of(map(numbers_of, jax.tree.leaves(state[:2])))
    state = devices.place(recipe, state)
    held, judged = devices.replicate(held), devices.replicate(judged)
    passes: Passes
    if files is None:
        assert held is not None
        passes = InMemory(recipe, key, held, judged, epochs)
    else:
        passes = Streamed(recipe, key, files, judged, epochs)
    run = _Run(recipe, passes, devices, epochs, num_examples, state)
    with contextlib.ExitStack() as stack:
        if checkpoints is not None:
            about = _about(recipe, state, key, held, files, judged, example)
            run.store = Store(checkpoints, about | {"start": start})
            run.seconds = checkpoints.seconds
            stack.callback(run.store.close)
            run.resume()
            stack.enter_context(run.terminable())
        report = stack.enter_context(
            _progress_bar(progress and jax.process_index() == 0, epochs, num_examples)
        )
        stack.enter_context(devices.watched())
        return run.to_the_end([*callbacks], report)


class _Run:
    """A training that is under way."""

    def __init__(
        self,
        recipe: Recipe,
        passes: Passes,
        devices: Devices,
        epochs: int,
        num_examples: int,
        state: State,
    ):
        self.recipe, self.passes, self.devices = recipe, passes, devices
        self.epochs, self.num_examples = epochs, num_examples
        self.state = state
        self.position = Position(0, 0, [], [0.0, 0.0, 0.0])
        self.store: Store | None = None
        self.seconds = 0.0
        self.terminated = False

    def resume(self) -> None:
        assert self.store is not None
        found = self.store.restore(self.state)
        if found is not None:
            self.state, self.position = found

    @contextlib.contextmanager
    def terminable(self) -> Iterator[None]:
        """SIGTERM is remembered until there is something to save."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(*_: Any) -> None:
            self.terminated = True

        before = signal.signal(signal.SIGTERM, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def to_the_end(
        self, callbacks: list[Callback], report: Callable[[int, float, float], None]
    ) -> FitResult:
        began, saved = time.monotonic(), time.monotonic()
        done_before = self.position.epoch
        ended = self._over()
        while not ended:
            told = len(self.position.rows)
            self.state, self.position = self.passes.go_on(self.state, self.position)
            rows = self.position.rows[told:]
            if int(self.state.trouble.step) >= 0:
                raise self._divergence()
            elapsed = max(time.monotonic() - began, 1e-9)
            rate = (self.position.epoch - done_before) * self.num_examples / elapsed
            if rows:
                report(self.position.epoch, rows[-1]["loss"], rows[-1]["validation"])
                told_of = Report(
                    self.position.epoch, self.epochs, rows, rate, lambda: self.result().model
                )
                ended = any([bool(callback(told_of)) for callback in callbacks])
            ended = ended or self._over()
            due = time.monotonic() - saved >= self.seconds
            due, terminated = self.devices.agreed(due, self.terminated)
            if self.store is not None and (due or ended or terminated):
                self.store.save(self.state, self.position)
                saved = time.monotonic()
            if terminated and not ended:
                self._exit()
        return self.result()

    def _over(self) -> bool:
        epoch = self.position.epoch
        return epoch >= self.epochs or bool(is_over(self.recipe, self.state, epoch))

    def _exit(self) -> None:
        assert self.store is not None
        print(
            f"SIGTERM: saved after {self.position.epoch} of {self.epochs} epochs; the same call "
            "goes on from there.",
            file=sys.stderr,
        )
        raise SystemExit(128 + signal.SIGTERM)

    def result(self) -> FitResult:
        best = self.state.best
        params, rest = (self.state if best is None else best)[:2]
        epoch = None
        if best is not None:
            epoch = int(best.epoch)
            if epoch == 0:  # no score was finite
                params, rest = self.state.params, self.state.rest
        params, rest = self.devices.gather((params, rest))
        model = nnx.merge(self.recipe.evaluating, params, rest, copy=True)
        return FitResult(jax.tree.map(_copied, model), self._history(), epoch)

    def _history(self) -> History:
        rows = self.position.rows
        columns = ([row[name] for row in rows] for name in History._fields)
        return History(*(jnp.asarray(column, jnp.float32) for column in columns))

    def _divergence(self) -> DivergenceError:
        step, example = (int(number) for number in self.state.trouble)
        epoch, words, example = explained(self.recipe, self.passes, self.state, step, example)
        message = (
            f"{words} in step {step + 1}, which is in epoch {epoch + 1} of {self.epochs}. The step "
            "was not taken: the model before it, and the history, are in `result` of this error."
        )
        state = self.state._replace(best=None)  # the last, not the best
        self.state = state
        return DivergenceError(message, self.result(), step=step, example=example)


@functools.cache
def _default_optimizer() -> optax.GradientTransformation:
    # One and the same object, which makes fits share their compilation.
    return optax.adam(1e-3)


def _copied(leaf: Any) -> Any:
    return leaf.copy() if isinstance(leaf, (jax.Array, np.ndarray)) else leaf


def _mode(model: nnx.Module, mode: str) -> nnx.Module:
    """A copy that learns, or is judged."""
    copy = nnx.clone(model)
    getattr(copy, mode)()
    return copy


def _hard(data: Data) -> bool:
    dtype = jnp.asarray(data.labels).dtype
    return dtype == jnp.bool_ or jnp.issubdtype(dtype, jnp.integer)


def _about(
    recipe: Recipe,
    state: State,
    key: Any,
    held: Data | None,
    files: Files | None,
    judged: Data | None,
    example: Data,
) -> dict[str, Any]:
    """What makes a run this run, as text."""

    def shapes(tree: Any) -> str:
        return "; ".join(
            f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)}"
            for path, leaf in jax.tree.leaves_with_path(tree)
        )

    return {
        "version": 1,
        "model": shapes((state.params, state.rest)),
        "optimizer": shapes(state.optimizer),
        "data": digest_of(jax.tree.leaves(held)) if files is None else files.fingerprint(),
        "validation": None if judged is None else digest_of(jax.tree.leaves(judged)),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "batch_size": recipe.batch_size,
        "accumulate": recipe.accumulate,
        "patience": recipe.patience,
        "loss_scale": recipe.loss_scale,
        "program": _program(recipe, state, example),
    }


def _program(recipe: Recipe, state: State, example: Data) -> dict[str, str]:
    """A fingerprint of what a step computes: of model, loss, penalty, optimizer and numbers."""
    number = jax.ShapeDtypeStruct([], jnp.int32)
    indices = jax.ShapeDtypeStruct([1], jnp.int32)
    alone = recipe._replace(sharding=None)
    steps = jax.make_jaxpr(_step, static_argnums=0)
    return fingerprint(steps(alone, state, example, number, indices))
