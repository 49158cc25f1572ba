"""Options that every plain loss takes: what each does to logits and labels, in one order.

    logits    soft_cap, then temperature, then logit_adjustment, then `where` over the classes
    labels    label_smoothing over the classes that are left, then class_weights or pos_weight
    loss      cross-entropy of the two, plus z_loss·logsumexp²; then `where` and `ignore` over the
              examples

Every option is a number or an array, and may be traced, swept by `vmap` and differentiated in.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._exact import arithmetic_dtype
from .._typing import Array, ArrayLike, Real, as_array, as_real, describe

Number = Real[ArrayLike, ""] | float
PerExample = Real[ArrayLike, "*batch"] | Real[ArrayLike, ""] | float
PerClass = Real[ArrayLike, "..."] | float
Like = Array | jax.ShapeDtypeStruct  # what an option is to go with: a shape and a dtype


class ScoreOptions(TypedDict, total=False):
    """Options that change logits."""

    temperature: PerExample
    soft_cap: PerExample | None
    logit_adjustment: PerClass | None


class BinaryOptions(ScoreOptions, total=False):
    """Options of the plain binary loss that its variants take too."""

    ignore: Number | None


class LogitOptions(BinaryOptions, total=False):
    """Options of the plain categorical loss that its variants take too."""

    class_weights: PerClass | None


class DenseOptions(ScoreOptions, total=False):
    """Options of the plain loss of dense labels."""

    label_smoothing: PerExample
    class_weights: PerClass | None
    z_loss: PerExample


def is_off(option: PerExample | None, neutral: float) -> bool:
    """Whether an option is a plain number that does nothing."""
    return isinstance(option, int | float) and option == neutral


def check_names(function: Callable[..., Any], options: Mapping[str, Any], taken: type) -> None:
    """That a function takes these options.

    Raises:
        TypeError: it does not.
    """
    for name in options:
        if name not in taken.__annotations__:
            named = inspect.signature(function).parameters.values()
            names = {p.name for p in named if p.default is not p.empty} | {*taken.__annotations__}
            who = f"{function.__module__.rpartition('._')[0]}.{function.__name__}"
            raise TypeError(
                f"{who}() got an unexpected option {name!r}; it takes {', '.join(sorted(names))}."
            )


def within(
    name: str,
    given: ArrayLike,
    value: Array,
    lowest: float,
    highest: float = math.inf,
    *,
    above: bool = False,
) -> Array:
    """What was given, as an array; NaN where it is traced and out of range.

    Raises:
        ValueError: it is out of range, and not traced.
    """

    def is_fine(number: Any) -> Any:
        return (number > lowest if above else number >= lowest) & (number <= highest)

    # What is no array of jax's is known also where all else is traced.
    known = jax.lax.stop_gradient(given) if isinstance(given, jax.Array) else np.asarray(given)
    if not isinstance(known, Tracer):
        numbers = np.asarray(known, np.float64)
        bad = numbers[~is_fine(numbers)]
        if bad.size:
            range_ = f"above {lowest:g}" if above else f"≥ {lowest:g}"
            if highest < math.inf:
                range_ = f"from {lowest:g} to {highest:g}"
            raise ValueError(f"`{name}` must be {range_}, but {bad[0]:g} came.")
        return value
    return jnp.where(is_fine(value), value, jnp.nan)


def parameter(name: str, value: PerExample, like: Like, axes: tuple[int, ...] = ()) -> Array:
    """A number, or one per example, as an array that goes with `like`, whose classes are `axes`.

    Raises:
        ValueError: its shape is another one.
    """
    array = as_real(name, value).astype(like.dtype)
    batch = tuple(size for axis, size in enumerate(like.shape) if axis not in axes)
    if array.shape not in ((), batch):
        raise ValueError(
            f"`{name}` must be one number or have the shape of the losses, {batch}, but "
            f"{describe(array)} came."
        )
    return jnp.expand_dims(array, axes) if array.ndim else array


def per_example(
    name: str,
    value: PerExample,
    like: Like,
    axes: tuple[int, ...] = (),
    *,
    highest: float = math.inf,
    above: bool = False,
) -> Array:
    """A `parameter` from 0, or above it, to the highest."""
    array = parameter(name, value, like, axes)
    return within(name, value, array, 0.0, highest, above=above)


def share(name: str, value: PerExample, like: Like, axes: tuple[int, ...] = ()) -> Array:
    """An option from 0 to 1."""
    return per_example(name, value, like, axes, highest=1.0)


def per_class(name: str, value: PerClass, like: Like, axes: tuple[int, ...]) -> Array:
    """One number for each class, as an array that goes with `like`, whose classes are `axes`.

    Raises:
        ValueError: its shape is not that of the class axes.
    """
    array = as_real(name, value).astype(like.dtype)
    classes = tuple(like.shape[axis] for axis in axes)
    if array.shape != classes:
        raise ValueError(
            f"`{name}` must have one number for each class, {classes}, but {describe(array)} came."
        )
    order = np.argsort(axes)
    batch = [axis for axis in range(like.ndim) if axis not in axes]
    return jnp.expand_dims(array.transpose(*order), batch)


def weights_of_classes(value: PerClass | None, like: Like, axes: tuple[int, ...]) -> Array:
    """`class_weights`, which are not negative; 1 where there are none."""
    if value is None:
        return jnp.ones([n if a in axes else 1 for a, n in enumerate(like.shape)], like.dtype)
    array = per_class("class_weights", value, like, axes)
    return within("class_weights", value, array, 0.0)


def per_logit(name: str, value: PerClass, like: Like) -> Array:
    """One number, one for each entry of the last axis, or one for each logit.

    Raises:
        ValueError: its shape is another one.
    """
    array = as_real(name, value).astype(like.dtype)
    if array.shape not in ((), like.shape[-1:], like.shape):
        raise ValueError(
            f"`{name}` must be one number, or have the shape of `logits` {like.shape} or of their "
            f"last axis {like.shape[-1:]}, but {describe(array)} came."
        )
    return jnp.broadcast_to(array, like.shape) if array.ndim else array


def positive_weight(value: PerClass, like: Like) -> Array:
    """`pos_weight`, which is not negative."""
    array = per_logit("pos_weight", value, like)
    return within("pos_weight", value, array, 0.0)


def transformed(
    logits: Array,
    axes: tuple[int, ...],
    soft_cap: PerExample | None,
    temperature: PerExample,
    logit_adjustment: PerClass | None,
) -> Array:
    """c·tanh(logits/c), then logits/T, then logits + adjustment, as far as they are asked for.

    A class at −inf stays out, and one whose adjustment is −inf goes. Without `axes` the adjustment
    may be one number, or one per logit.

    Raises:
        ValueError: `soft_cap` or `temperature` are not positive, or a shape does not fit.
    """
    if soft_cap is None and is_off(temperature, 1.0) and logit_adjustment is None:
        return logits
    logits = logits.astype(arithmetic_dtype(logits.dtype))
    # What is not finite is kept out of the products, which would give derivatives of NaN.
    finite = jnp.isfinite(logits)
    if soft_cap is not None:
        cap = per_example("soft_cap", soft_cap, logits, axes, above=True)
        number = jnp.where(finite, logits, 0)
        share_ = number / cap
        # Of a cap that is far away nothing is seen; a quotient might be flushed to 0, and inf · 0.
        far = jnp.abs(share_) < 1e-5
        capped = jnp.where(far, 1, cap) * jnp.tanh(jnp.where(far, 0, share_))
        capped = jnp.where(far, number, capped)
        infinite = jnp.where(logits == jnp.inf, cap, logits)
        if not axes:  # of classes −inf says that there is none, of a binary logit it is a number
            infinite = jnp.where(logits == -jnp.inf, -cap, infinite)
        logits = jnp.where(finite, capped, infinite)
        finite = jnp.isfinite(logits)
    if not is_off(temperature, 1.0):
        divisor = per_example("temperature", temperature, logits, axes, above=True)
        logits = jnp.where(finite, jnp.where(finite, logits, 0) / divisor, logits)
    if logit_adjustment is not None:
        name, value = "logit_adjustment", logit_adjustment
        adjustment = (
            per_class(name, value, logits, axes) if axes else per_logit(name, value, logits)
        )
        impossible = adjustment == -jnp.inf
        logits = logits + jnp.where(impossible, 0, adjustment)
        logits = jnp.where(impossible, -jnp.inf, logits)
    return logits


def not_ignored(labels: Array, ignore: Number | None, where: Array | None) -> Array | None:
    """Which examples exist: those of `where` whose label is not the one to ignore.

    Raises:
        TypeError: `ignore` is a fraction, and the labels are integers.
        ValueError: it is not one number.
    """
    if ignore is None:
        return where
    value = as_array("ignore", ignore)
    if value.ndim:
        raise ValueError(f"`ignore` must be one number, but {describe(value)} came.")
    if jnp.issubdtype(labels.dtype, jnp.floating):
        value = value.astype(labels.dtype)
        known = jnp.where(jnp.isnan(value), ~jnp.isnan(labels), labels != value)
    elif jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"`ignore` must be an integer for `labels` {describe(labels)}, but {describe(value)} "
            "came."
        )
    else:
        if labels.dtype.itemsize < 4:  # −100 is no uint8
            labels = labels.astype(jnp.int32)
        known = labels != value.astype(labels.dtype)
    return known if where is None else known & where


def spread(labels: Array, logits: Array, axes: tuple[int, ...], label_smoothing: Array) -> Array:
    """Dense labels with a share of their mass spread evenly over the classes that exist."""
    exists = logits != -jnp.inf
    count = jnp.sum(exists.astype(labels.dtype), axis=axes, keepdims=True)
    mass = jnp.sum(labels, axis=axes, keepdims=True)
    even = label_smoothing * mass / jnp.maximum(count, 1)
    return (1 - label_smoothing) * labels + jnp.where(exists, even, 0)
