"""Several devices, in one process or in several."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ._extra import extra
from ._leaves import is_key, name_of
from ._loop import Recipe, State

with extra():
    import optax
    from flax import nnx

AXIS = "data"


class WorkerLostError(RuntimeError):
    """Another process of the run has died; the same call goes on from the last checkpoint."""


class Devices:
    """Where a run lives: on the default device, or on those of a mesh.

    Raises:
        ValueError: the mesh has no axis `data`, or a parameter is to be spread without a mesh.
    """

    def __init__(self, mesh: Mesh | None, partition: Mapping[str, PartitionSpec] | None):
        if mesh is None and partition:
            raise ValueError("`partition` spreads parameters over a `mesh`, but none came.")
        if mesh is not None and AXIS not in mesh.axis_names:
            raise ValueError(
                f"`mesh` must have an axis `{AXIS}`, over which batches are spread, but its axes "
                f"are {', '.join(map(repr, mesh.axis_names))}; it may be of size 1."
            )
        if mesh is not None:
            # The compiler spreads the steps; a mesh of explicit axes would ask the model to.
            automatic = (AxisType.Auto,) * len(mesh.axis_names)
            mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=automatic)
        self.mesh, self.partition = mesh, dict(partition or {})

    @property
    def batches(self) -> NamedSharding | None:
        """How a batch is spread."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(AXIS))

    def replicate(self, tree: Any) -> Any:
        """The same on every device."""
        if self.mesh is None:
            return tree
        whole = NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(lambda leaf: _put(leaf, whole), tree)

    def place(self, recipe: Recipe, state: State) -> State:
        """Parameters, and what the optimizer keeps of each, where `partition` says.

        Raises:
            ValueError: it names a parameter that the model does not have.
        """
        if self.mesh is None:
            return state
        mesh, left = self.mesh, dict(self.partition)

        pure = nnx.to_pure_dict(state.params)
        names = [name_of(path) for path, _ in jax.tree.leaves_with_path(pure)]
        leaves = [NamedSharding(mesh, left.pop(name, PartitionSpec())) for name in names]
        if left:
            raise ValueError(f"`partition` names {sorted(left)}, but the parameters are {names}.")
        spread = jax.tree.unflatten(jax.tree.structure(state.params), leaves)

        def placed(tree: Any) -> Any:
            return jax.tree.map(_put, tree, spread)

        optimizer = optax.tree_map_params(
            recipe.optimizer,
            _put,
            state.optimizer,
            spread,
            transform_non_params=lambda leaf: self.replicate(leaf),
        )
        best = state.best
        if best is not None:
            best = self.replicate(best)._replace(params=placed(best.params))
        rest, scale, trouble = self.replicate((state.rest, state.scale, state.trouble))
        return State(placed(state.params), rest, optimizer, scale, trouble, best)

    def gather(self, tree: Any) -> Any:
        """Whole arrays that this process holds."""
        if self.mesh is None or jax.process_count() == 1:
            return tree
        whole = NamedSharding(self.mesh, PartitionSpec())
        gathered = jax.jit(lambda t: t, out_shardings=whole)(tree)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf.addressable_data(0)), gathered)

    def agreed(self, due: bool, terminated: bool) -> tuple[bool, bool]:
        """What all processes do: what the first wants to save, and whether any has to end."""
        if jax.process_count() == 1:
            return due, terminated
        from jax.experimental import multihost_utils

        flags = multihost_utils.process_allgather(np.array([due, terminated]))
        return bool(flags[0, 0]), bool(flags[:, 1].any())

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Says in words that another process died.

        Raises:
            WorkerLostError: one did.
        """
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            if jax.process_count() == 1 or not _is_loss_of_peer(error):
                raise
            raise WorkerLostError(
                f"Process {jax.process_index()} of {jax.process_count()} can no longer reach "
                "another process of this run, which has died or lost its connection "
                f"({str(error).strip().splitlines()[0][:200]}). Start all processes again: with "
                "`checkpoints` the run goes on from the last one."
            ) from error


def _is_loss_of_peer(error: Exception) -> bool:
    said = str(error).lower()
    return any(
        word in said
        for word in (
            "gloo",
            "connection",
            "peer",
            "heartbeat",
            "unavailable",
            "timed out",
            "deadline",
        )
    )


def _put(leaf: Any, sharding: NamedSharding) -> Any:
    if not is_key(leaf):
        leaf = np.asarray(leaf)  # every process has the same, and hands over its part
    return jax.device_put(leaf, sharding)
