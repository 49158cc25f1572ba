"""Arguments of a linear layer and of what is computed from it."""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import (
    PerClass,
    PerExample,
    is_off,
    keep,
    per_class,
    per_example,
    split_where,
    weights_of_classes,
)
from .._exact import alike, arithmetic_dtype
from .._typing import Array, ArrayLike, as_floating, describe
from ._head import Head
from ._shards import AxisName, Layout, layout_of, over_shards

_OF_HEAD = (
    "hidden",
    "kernel",
    "bias",
    "where",
    "class_weights",
    "logit_adjustment",
    "soft_cap",
    "temperature",
)
Compute = Callable[[Head, dict[str, Array], AxisName | None], Any]


class Layer(NamedTuple):
    """A linear layer: arrays by name, which axes each has, and what is static."""

    arrays: dict[str, Array]
    kinds: dict[str, str]
    batch: tuple[int, ...]
    num_classes: int
    class_axis: int
    examples: Array | None  # which exist
    undefined: Array  # which have a NaN
    block_size: int | None
    layout: Layout

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """The logits, in the dtype of the sums."""
        wide = arithmetic_dtype(*(self.arrays[name].dtype for name in ("hidden", "kernel")))
        return jax.ShapeDtypeStruct((*self.batch, self.num_classes), wide)

    @property
    def all_classes(self) -> int:
        """Of all shards, also where the kernel is one."""
        if not self.layout.bound or self.layout.classes is None:
            return self.num_classes
        return self.num_classes * jax.lax.axis_size(self.layout.classes)

    def holding(self, name: str, value: Array, kind: str = "batch") -> "Layer":
        """With one more array; one number is of no axis."""
        kind = kind if value.ndim else "none"
        return self._replace(arrays=self.arrays | {name: value}, kinds=self.kinds | {name: kind})

    def option(self, name: str, value: PerExample, neutral: float, **range_: Any) -> "Layer":
        """With a number, or one per example; without it where it does nothing."""
        if is_off(value, neutral):
            return self
        array = per_example(name, value, self.like, (len(self.batch),), **range_)
        return self.holding(name, array[..., 0] if array.ndim else array)

    def compute(self, function: Compute) -> Any:
        """`function(head, rows, axis_name)` of the rows of each shard, [rows, ..] to [*batch, ..].

        `rows` has the layer's arrays of examples by name, each as [rows, 1] or [rows, other].
        """

        def of_shard(arrays: dict[str, Array], axis_name: AxisName | None) -> Any:
            head, rows, batch = self._rows(arrays, axis_name)
            results = function(head, rows, axis_name)
            return jax.tree.map(lambda a: a.reshape(*batch, *a.shape[1:]), results)

        arrays = self.arrays | {"hidden": self._existing()}
        return over_shards(of_shard, arrays, self.kinds, self.layout, self.class_axis)

    def _existing(self) -> Array:
        """The hidden states, 0 for examples that do not exist."""
        exist = None if self.examples is None else self.examples[..., None]
        return keep(exist, self.arrays["hidden"], 0)

    def _rows(
        self, arrays: dict[str, Array], axis_name: AxisName | None
    ) -> tuple[Head, dict[str, Array], tuple[int, ...]]:
        hidden, kernel = arrays["hidden"], arrays["kernel"]
        *batch, features = hidden.shape
        count = math.prod(batch)
        dtype = _of_products(hidden, kernel)
        wide = arithmetic_dtype(dtype)
        given = {"hidden": hidden.reshape(count, features).astype(wide), "kernel": kernel}
        for name in arrays.keys() - given.keys():
            array, kind = arrays[name], self.kinds[name]
            if kind == "none":
                array = jnp.broadcast_to(array, (count, 1))
            elif kind.startswith("batch"):
                array = array.reshape(count, *array.shape[len(batch) :] or (1,))
            given[name] = array
        # What the blocks are made of varies over all axes of the mesh before the loop begins, or
        # there would be a sum over devices for each block of a gradient.
        of_head = [name for name in _OF_HEAD if name in given]
        given |= zip(of_head, alike([given[name] for name in of_head]), strict=True)
        index: Array | int = 0
        if axis_name is not None:
            index = jax.lax.axis_index(axis_name) * kernel.shape[self.class_axis]
        head = Head(
            hidden=given.pop("hidden"),
            kernel=given.pop("kernel"),
            **{name: given.pop(name, None) for name in _OF_HEAD[2:]},
            class_axis=self.class_axis,
            block_size=self.block_size,
            dtype=dtype,
            first_class=index,
        )
        return head, given, tuple(batch)

    def per_example(self, values: Array, otherwise: float = 0) -> Array:
        """Values of the examples that exist, NaN where `hidden` has one."""
        undefined = self.undefined.reshape(*self.batch, *(1,) * (values.ndim - len(self.batch)))
        values = jnp.where(undefined, jnp.nan, values)
        exist = None
        if self.examples is not None:
            exist = self.examples.reshape(undefined.shape)
        return keep(exist, values, otherwise)

    def logits(self) -> Array:
        """All of them at once, before any option but the bias."""
        hidden, kernel = self._existing(), self.arrays["kernel"]
        dtype = _of_products(hidden, kernel)
        axes = "...d,dv->...v" if self.class_axis else "...d,vd->...v"
        wide = arithmetic_dtype(dtype)
        logits = jnp.einsum(
            axes, hidden.astype(dtype), kernel.astype(dtype), preferred_element_type=wide
        )
        if "bias" in self.arrays:
            bias = self.arrays["bias"].astype(wide)
            logits = logits + bias.reshape((1,) * len(self.batch) + (-1,))
        return logits


def _of_products(hidden: Array, kernel: Array) -> Any:
    if hidden.dtype == kernel.dtype:
        return hidden.dtype
    return arithmetic_dtype(hidden.dtype, kernel.dtype)


def as_index(name: str, value: int) -> int:
    """An integer that is known when the program is traced.

    Raises:
        TypeError: it is something else.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, but {value!r} came.") from None


def layer(
    hidden: ArrayLike,
    kernel: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    class_axis: int = -1,
    where: ArrayLike | None = None,
    class_weights: PerClass | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
    block_size: int | None = None,
    axis_name: AxisName | None = None,
    batch_axis_name: AxisName | None = None,
) -> Layer:
    """A layer of arguments that go together.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape does not fit, an option is out of range, or a mesh axis is not there.
    """
    hidden, kernel = as_floating("hidden", hidden), as_floating("kernel", kernel)
    if hidden.ndim < 1:
        raise ValueError(f"`hidden` must be [*batch, features], but {describe(hidden)} came.")
    if kernel.ndim != 2:
        raise ValueError(f"`kernel` must be [features, classes], but {describe(kernel)} came.")
    axis = as_index("class_axis", class_axis)
    if axis not in (-2, -1, 0, 1):
        raise ValueError(f"`class_axis` must be one of the two axes of `kernel`, but {axis} came.")
    axis %= 2
    if kernel.shape[1 - axis] != hidden.shape[-1]:
        hint = ""
        if kernel.shape[axis] == hidden.shape[-1]:
            hint = f"; class_axis={axis - 1 if axis else -1} takes it the other way round"
        raise ValueError(
            f"`kernel` must have the features of `hidden` along axis {1 - axis}, but "
            f"{describe(kernel)} came with `hidden` {describe(hidden)}{hint}."
        )
    if block_size is not None:
        block_size = as_index("block_size", block_size)
        if block_size < 1:
            raise ValueError(f"`block_size` must be at least 1, but {block_size} came.")
    batch, num_classes = hidden.shape[:-1], kernel.shape[axis]
    wide = arithmetic_dtype(hidden.dtype, kernel.dtype)
    like = jax.ShapeDtypeStruct((*batch, num_classes), wide)
    of_classes, examples = split_where(where, like, (len(batch),))
    undefined = jnp.any(jnp.isnan(hidden), axis=-1, keepdims=True)
    hidden = jnp.where(undefined, 0, hidden)  # before anything is computed of it
    layout = layout_of(hidden, kernel, axis, axis_name, batch_axis_name)
    made = Layer(
        arrays={"hidden": hidden, "kernel": kernel},
        kinds={"hidden": "batch other", "kernel": "kernel"},
        batch=batch,
        num_classes=num_classes,
        class_axis=axis,
        examples=examples,
        undefined=undefined,
        block_size=block_size,
        layout=layout,
    )
    if bias is not None:
        array = as_floating("bias", bias)
        made = made.holding(
            "bias", per_class("bias", array, like, (len(batch),)).reshape(-1), "classes"
        )
    if of_classes is not None:
        made = made.holding("where", of_classes, "batch classes")
    if class_weights is not None:
        weights = weights_of_classes(class_weights, like, (len(batch),)).reshape(-1)
        made = made.holding("class_weights", weights, "classes")
    if logit_adjustment is not None:
        adjustment = per_class("logit_adjustment", logit_adjustment, like, (len(batch),))
        made = made.holding("logit_adjustment", adjustment.reshape(-1), "classes")
    if soft_cap is not None:
        made = made.option("soft_cap", soft_cap, float("nan"), above=True)
    return made.option("temperature", temperature, 1.0, above=True)
