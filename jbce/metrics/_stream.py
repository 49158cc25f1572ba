"""Metrics of examples that come batch by batch, in constant memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import checked, examples
from .._typing import Array, ArrayLike, Float, describe
from ._sums import Additive, additive, summed, valued


class Sums(NamedTuple):
    """Sums of two parts, high + low, with twice the digits of their dtype.

    They add: with `+`, which makes up for its rounding, and part by part (`jax.lax.psum`), which
    loses an ulp of float32 for each.
    """

    high: Float[Array, "groups columns"]
    low: Float[Array, "groups columns"]

    def __add__(self, other: "Sums") -> "Sums":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The sum, to twice the digits of float32."""
        total = self.high + other.high
        virtual = total - self.high
        lost = (self.high - (total - virtual)) + (other.high - virtual)
        lost = lost + (self.low + other.low)
        return Sums(total, jnp.where(jnp.isfinite(total), lost, 0))


class Stream(NamedTuple):
    """Metrics of a stream: four pure functions."""

    init: Callable[[], dict[str, Sums]]
    """`init()`: the state that has seen nothing."""
    update: Callable[..., dict[str, Sums]]
    """`update(state, logits, labels, *, weights=1.0, where=True)`: with a batch more."""
    merge: Callable[[dict[str, Sums], dict[str, Sums]], dict[str, Sums]]
    """`merge(state, other)`: the state that has seen what both have."""
    compute: Callable[[dict[str, Sums]], dict[str, Any]]
    """`compute(state)`: the metrics by name."""


def stream(
    metrics: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]],
    *,
    num_classes: int | None = None,
) -> Stream:
    """Metrics of examples that come batch by batch: `init`, `update`, `merge`, `compute`.

    The state is a dictionary of sums: its size does not depend on how many examples it has seen, it
    goes through `jit`, `scan`, `vmap` over models and checkpoints, and states of parts of the data
    merge to the state of all: in any order, over devices by `jax.lax.psum(state, axis_name)`.

    Args:
        metrics: functions of `jbce.metrics` by the names that their results are to have, or a
            sequence of them (under their own names); options by `functools.partial`.
        num_classes: how many classes the logits have along their last axis; None for binary labels.

    Returns:
        The four functions. `update` is jit-compiled for each shape of a batch: pad a ragged last
        one, with `where`.

    Raises:
        ValueError: a metric cannot be streamed: it needs all examples at once (exact ranking,
            for which `histogram_roc_auc` comes near; bins of equal mass); or two have one name.

    Edges: nothing seen: NaN. An undefined example that counts makes the metrics that it touches NaN
        for good.
    Error: that of the metrics at once, and of sums of 48 bits: 1e-14 relative, whatever was added.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbce.metrics import accuracy, log_loss
        >>> judged = stream([log_loss, accuracy])
        >>> state = judged.init()
        >>> for logits in (jnp.zeros(4), -jnp.ones(4)):
        ...     state = judged.update(state, logits, jnp.zeros(4, int))
        >>> {name: round(float(value), 4) for name, value in judged.compute(state).items()}
        {'log_loss': 0.5032, 'accuracy': 1.0}
    """
    made = made_of(metrics)
    kind = (1,) if num_classes is None else (1, num_classes)

    @jax.jit
    def init() -> dict[str, Sums]:
        arrays = (
            jnp.zeros(kind, jnp.float32),
            jnp.zeros(1, jnp.int32),
            jnp.ones(()),
            jnp.ones((), bool),
        )
        shapes = jax.eval_shape(lambda *a: _batch(made, *a), *arrays)
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

    @jax.jit
    def add(state: dict[str, Sums], *arrays: Array) -> dict[str, Sums]:
        return merge(state, _batch(made, *arrays))

    def update(
        state: dict[str, Sums],
        logits: ArrayLike,
        labels: ArrayLike,
        *,
        weights: ArrayLike = 1.0,
        where: ArrayLike = True,
    ) -> dict[str, Sums]:
        arrays = checked(logits, labels, weights, where)
        check_kind(arrays[0], arrays[1], num_classes)
        return add(state, *arrays)

    @jax.jit
    def merge(state: dict[str, Sums], other: dict[str, Sums]) -> dict[str, Sums]:
        return {name: Sums(*sums) + Sums(*other[name]) for name, sums in state.items()}

    @jax.jit
    def values_of(state: dict[str, Sums]) -> dict[str, Any]:
        values = {}
        for name, (metric, static, traced) in made.items():
            high, low = state[name]
            with jax.enable_x64(True):
                sums = high.astype(jnp.float64) + low.astype(jnp.float64)
            values[name] = valued(metric, sums, high.dtype, static | traced)
        return values

    def compute(state: dict[str, Sums]) -> dict[str, Any]:
        values = values_of(state)
        return {name: values[name] for name in made}  # jit sorts them

    return Stream(init, update, merge, compute)


Made = dict[str, tuple[Additive, dict[str, Any], dict[str, Any]]]


def made_of(metrics: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]]) -> Made:
    """What metrics are made of, by the names of their results.

    Raises:
        ValueError: one needs all examples at once, or two have one name.
    """
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    else:
        named = [(None, metric) for metric in metrics]
    made: Made = {}
    for given, metric in named:
        parts, static, traced = additive(metric)
        shown = getattr(getattr(metric, "func", metric), "__name__", repr(metric))
        if parts is None or not parts.separable(**static):
            hint = "; `histogram_roc_auc` streams" if shown == "roc_auc" else ""
            raise ValueError(f"`{shown}` cannot be streamed: it needs all examples at once{hint}.")
        name = parts.name if given is None else given
        if name in made:
            raise ValueError(f"`metrics` must have different names, but {name!r} came twice.")
        made[name] = (parts, static, traced)
    return made


def _batch(made: Made, *arrays: Array) -> dict[str, Sums]:
    these = examples(*arrays)
    return {
        name: split(summed(parts, these, **static)) for name, (parts, static, _) in made.items()
    }


def split(sums: Array) -> Sums:
    """Float64 numbers in two parts of the widest dtype that users see."""
    dtype = jnp.zeros(()).dtype
    with jax.enable_x64(True):
        high = sums.astype(dtype)
        low = jnp.where(jnp.isfinite(high), sums - high.astype(jnp.float64), 0.0)
        return Sums(high, low.astype(dtype))


def check_kind(logits: Array, labels: Array, num_classes: int | None) -> None:
    """That a batch is what the stream was made for.

    Raises:
        ValueError: it is not.
    """
    found = None if labels.shape == logits.shape else logits.shape[-1]
    if found != num_classes:
        raise ValueError(
            f"`logits` must be what the stream was made for, num_classes={num_classes}, "
            f"but {describe(logits)} came with `labels` {describe(labels)}."
        )
