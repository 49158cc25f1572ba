"""Which mesh axes the classes and the examples are spread over, and how shards are put together."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from .._typing import Array

AxisName = str | tuple[str, ...]


class Layout(NamedTuple):
    """Mesh axes of the classes, and of each axis of the batch."""

    classes: AxisName | None
    batch: tuple[AxisName | None, ...]
    bound: bool  # the axes are those of a `shard_map` or `vmap` around the call


def gathered(x: Array, axis_name: AxisName) -> Array:
    """What all shards have, [shards, ...], as one sum; its cotangent needs no communication."""
    count, here = jax.lax.axis_size(axis_name), jax.lax.axis_index(axis_name)
    shards = jax.lax.broadcasted_iota(jnp.int32, (count, *(1,) * x.ndim), 0)
    return jax.lax.psum(jnp.where(shards == here, x[None], 0), axis_name)


def _names(axis_name: AxisName | None) -> tuple[str, ...]:
    if axis_name is None:
        return ()
    return (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)


def _is_bound(name: str) -> bool:
    try:
        jax.lax.axis_index(name)
    except NameError:
        return False
    return True


def layout_of(
    hidden: Array,
    kernel: Array,
    class_axis: int,
    axis_name: AxisName | None,
    batch_axis_name: AxisName | None,
) -> Layout:
    """The layout that is asked for, or in a mesh of explicit axes that of the arrays.

    Raises:
        ValueError: there is no such mesh axis, or it does not divide what it is to divide.
    """
    rank = hidden.ndim - 1
    if batch_axis_name is not None and not rank:
        raise ValueError(f"`batch_axis_name` is {batch_axis_name!r}, but `hidden` has no batch.")
    bound = [_is_bound(name) for name in _names(axis_name)]
    if bound and all(bound):
        return Layout(axis_name, (None,) * rank, True)
    mesh = mesh_of(hidden, kernel)
    for name in (*_names(axis_name), *_names(batch_axis_name)):
        if name not in mesh.axis_names:
            raise ValueError(
                f"There is no mesh axis {name!r}: those that there are are {mesh.axis_names}. "
                "`jax.set_mesh(mesh)` sets a mesh, and `jax.shard_map` gives names to its axes."
            )
    classes = axis_name or _spec(kernel)[class_axis]
    batch = (batch_axis_name, *(None,) * (rank - 1)) if batch_axis_name else _spec(hidden)[:-1]
    layout = Layout(_of_several(classes, mesh), tuple(_of_several(a, mesh) for a in batch), False)
    both = {name for axis in layout.batch for name in _names(axis)} & {*_names(layout.classes)}
    if both:
        raise ValueError(
            f"Mesh axis {min(both)!r} cannot spread both: `kernel` is spread over "
            f"{layout.classes!r} by classes, `hidden` over {layout.batch!r} by examples."
        )
    hints = {
        "classes": "pad them (a class with a bias of -inf does not exist)",
        "examples": "pad them, and say by `where` which exist",
    }
    for what, size, names in (
        ("classes", kernel.shape[class_axis], classes),
        *(("examples", n, axis) for n, axis in zip(hidden.shape, batch, strict=False)),
    ):
        shards = math.prod(mesh.shape[name] for name in _names(names))
        if size % shards:
            raise ValueError(
                f"{size} {what} cannot be spread evenly over the {shards} devices of mesh axis "
                f"{names!r}: {hints[what]}."
            )
    return layout


def mesh_of(hidden: Array, kernel: Array) -> Any:
    """The mesh that is set, or that of arrays whose axes are explicit."""
    of_arrays = (jax.typeof(array).sharding.mesh for array in (kernel, hidden))
    meshes = [jax.sharding.get_abstract_mesh(), *of_arrays]
    return next((mesh for mesh in meshes if mesh.axis_names), meshes[0])


def _of_several(axis_name: AxisName | None, mesh: Any) -> AxisName | None:
    """The axes that have more than one device, or are in the types of arrays."""
    explicit = jax.sharding.AxisType.Explicit in mesh.axis_types
    names = tuple(name for name in _names(axis_name) if explicit or mesh.shape[name] > 1)
    return names or None


def _spec(array: Array) -> tuple[Any, ...]:
    spec = jax.typeof(array).sharding.spec
    return (*spec, *(None,) * (array.ndim - len(spec)))


def over_shards(
    function: Callable[[dict[str, Array], AxisName | None], Any],
    arrays: dict[str, Array],
    kinds: dict[str, str],
    layout: Layout,
    class_axis: int,
) -> Any:
    """`function(arrays, axis_name)` of each shard, giving arrays whose first axes are the batch.

    Args:
        function: of the arrays of a shard, and the axis over which its classes are spread.
        arrays: by name.
        kinds: of each array "kernel", or which axes it has: "batch", "classes", "batch classes",
            "batch other" or "none".
        layout: how they are spread.
        class_axis: of the kernel.
    """
    if layout.bound or (layout.classes is None and not any(layout.batch)):
        return function(arrays, layout.classes)
    batch, classes = layout.batch, layout.classes
    specs = {
        "kernel": PartitionSpec(*((None, classes) if class_axis else (classes, None))),
        "batch": PartitionSpec(*batch),
        "classes": PartitionSpec(classes),
        "batch classes": PartitionSpec(*batch, classes),
        "batch other": PartitionSpec(*batch, None),
        "none": PartitionSpec(),
    }
    in_specs = {name: specs[kinds[name]] for name in arrays}
    mesh = mesh_of(arrays["hidden"], arrays["kernel"])
    if jax.sharding.AxisType.Explicit in mesh.axis_types:
        spread_as = {name: NamedSharding(mesh, in_specs[name]) for name in arrays}
        arrays = {name: jax.sharding.reshard(a, spread_as[name]) for name, a in arrays.items()}
    names = {name for axis in (classes, *batch) for name in _names(axis)}
    spread = jax.shard_map(
        lambda arrays: function(arrays, classes),
        in_specs=(in_specs,),
        out_specs=PartitionSpec(*batch),
        axis_names=names,
        mesh=mesh,
    )
    return spread(arrays)
