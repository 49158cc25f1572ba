"""Metrics that are functions of sums over the examples.

Nearly every metric is: of each example some columns are computed, they are summed with the weights
(in groups: bins, cells of a confusion matrix), and the metric is a function of the sums. Written in
these two halves it is evaluated at once, in a stream, under a resampling, and differentiated in
the weights, by code that knows nothing of it.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import Examples, checked, examples
from .._typing import Array, ArrayLike


class Columns(NamedTuple):
    """What an example adds to the sums: weight · columns, to the sums of its group."""

    columns: tuple[Array, ...]  # each [*batch], or [*batch, classes]; float64; none counts to 1
    group: Array | None = None  # int32, of that shape; None is one group
    num_groups: int = 1
    undefined: Array | None = None  # boolean, [*batch]: makes all sums NaN where it counts


class Additive(NamedTuple):
    """A metric by its two halves, and its name."""

    name: str
    columns: Callable[..., Columns]  # of Examples and static options; called with 64-bit types
    value: Callable[..., Any]  # of sums, float64 [groups, columns], and all options; likewise
    # Public options to (static, traced) ones, checked: ValueError where they make no sense.
    options: Callable[..., tuple[dict[str, Any], dict[str, Any]]] = lambda: ({}, {})
    # Whether an example's columns are its own business: not where bins are of equal weight.
    separable: Callable[..., bool] = lambda **static: True
    is_mean: bool = False  # the columns are 1 and what is averaged

    def __call__(
        self,
        logits: ArrayLike,
        labels: ArrayLike,
        weights: ArrayLike,
        where: ArrayLike,
        **options: Any,
    ) -> Any:
        """The metric of all examples at once."""
        arrays = checked(logits, labels, weights, where)
        static, traced = self.options(**options)
        return _evaluated(self, tuple(sorted(static.items())), traced, *arrays)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluated(
    metric: Additive,
    static: tuple[tuple[str, Any], ...],
    traced: dict[str, Any],
    *arrays: Array,
) -> Any:
    these = examples(*arrays)
    return valued(metric, summed(metric, these, **dict(static)), these.dtype, dict(static) | traced)


def summed(metric: Additive, these: Examples, **static: Any) -> Array:
    """The sums of a metric over examples, float64 [groups, columns]."""
    with jax.enable_x64(True):
        parts = metric.columns(these, **static)
        sums = _sums(parts, these)
        if parts.undefined is None:
            return sums
        return jnp.where(jnp.any(parts.undefined & these.counted), jnp.nan, sums)


def _sums(parts: Columns, these: Examples) -> Array:
    if not parts.columns:
        return _counts(parts, these)
    shape = parts.columns[0].shape
    weights = jnp.expand_dims(these.weights, tuple(range(these.weights.ndim, len(shape))))
    weights = jnp.broadcast_to(weights, shape)
    # An example that does not count adds nothing, also where a column of it is infinite.
    added = [jnp.where(weights == 0.0, 0.0, weights * c).ravel() for c in parts.columns]
    if parts.group is None:
        return jnp.stack([jnp.sum(column) for column in added])[None, :]
    columns = jnp.stack(added, axis=-1)
    return jax.ops.segment_sum(columns, parts.group.ravel(), parts.num_groups)


def _counts(parts: Columns, these: Examples) -> Array:
    assert parts.group is not None
    group = parts.group.ravel()
    if not these.uniform or group.size == 0:
        return jax.ops.segment_sum(these.weights.ravel()[:, None], group, parts.num_groups)
    # Integers add up without error, and twice as fast.
    counts = jax.ops.segment_sum(jnp.ones_like(group), group, parts.num_groups)
    return counts[:, None].astype(jnp.float64) * these.weights.ravel()[0]


def valued(metric: Additive, sums: Array, dtype: Any, options: dict[str, Any]) -> Any:
    """The metric of its sums, in the dtype of the result."""
    with jax.enable_x64(True):
        value = metric.value(sums, **options)
        return jax.tree.map(lambda a: a.astype(dtype), value)


_ADDITIVE: dict[Any, Additive] = {}


def register(function: Callable[..., Any], metric: Additive) -> None:
    """Lets `additive` find what a public function is made of."""
    _ADDITIVE[function] = metric


def additive(metric: Callable[..., Any]) -> tuple[Additive | None, dict[str, Any], dict[str, Any]]:
    """What a public function, or a `functools.partial` of one, is made of, with its options.

    Raises:
        ValueError: the options make no sense, or `weights` or `where` is among them.
    """
    function, keywords = metric, {}
    positional: tuple[Any, ...] = ()
    while isinstance(function, functools.partial):
        positional += function.args
        function, keywords = function.func, function.keywords | keywords
    given = {"weights", "where"} & keywords.keys()
    if given:
        name = getattr(function, "__name__", function)
        raise ValueError(f"{sorted(given)} go with the examples, not with the metric {name}.")
    made = _ADDITIVE.get(function)
    if made is None:
        return None, {}, {}
    if positional:
        raise ValueError(f"options go by their names, but {positional!r} came for {made.name}.")
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in ("weights", "where")
    }
    return made, *made.options(**(defaults | keywords))


def ratio(numerator: Array, denominator: Array) -> Array:
    """A quotient that is NaN over 0, without a NaN in its derivative elsewhere."""
    safe = jnp.where(denominator == 0.0, 1.0, denominator)
    return jnp.where(denominator == 0.0, jnp.nan, numerator / safe)


def column(sums: Array, index: int) -> Array:
    """sums[..., index]. (A slice turns around into a `pad` by a float32 zero in order 2.)"""
    chosen = jnp.arange(sums.shape[-1]) == index
    return jnp.sum(jnp.where(chosen, sums, 0.0), axis=-1)


def product(a: Array, b: Array) -> Array:
    """a @ b. (`jnp.matmul` asks for float64, which a vmap without 64-bit types makes float32.)"""
    return jax.lax.dot_general(a, b, (((a.ndim - 1,), (0,)), ((), ())))


def canonical(metric: Callable[..., Any]) -> Callable[..., Any]:
    """The same object for equal options, so that nothing is compiled twice.

    Raises:
        ValueError: `weights` or `where` is among the options: they go with the examples.
    """
    additive(metric)
    if not isinstance(metric, functools.partial) or metric.args:
        return metric
    try:
        return _partial(metric.func, tuple(sorted(metric.keywords.items())))
    except TypeError:  # an option that cannot be hashed
        return metric


@functools.lru_cache(maxsize=256)
def _partial(function: Callable[..., Any], options: tuple[tuple[str, Any], ...]) -> Any:
    return functools.partial(function, **dict(options))
