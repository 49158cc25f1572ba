"""Is a gradient right, entry by entry? Central differences in float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


class GradientCheck(NamedTuple):
    """The entry that disagrees most."""

    worst_error: float
    """Relative to the larger of the two, or to what differences can resolve where both are tiny."""
    tolerance: float
    """What the error may be."""
    path: str
    """The leaf of the entry."""
    index: tuple[int, ...]
    """Where in the leaf."""
    gradient: float
    """What was to be checked."""
    difference: float
    """The central difference."""
    num_entries: int
    """How many entries were compared: all of them."""

    @property
    def right(self) -> bool:
        """The verdict; a NaN is not right."""
        return self.worst_error <= self.tolerance


def check_gradient(
    loss: Callable[[Any], Any],
    parameters: Any,
    *,
    gradient: Any = None,
    step: float = 1e-5,
    tolerance: float = 1e-5,
) -> GradientCheck:
    """Compare every entry of a gradient with (loss(p + h) − loss(p − h)) / 2h.

    The loss must be smooth: at a kink (of a ReLU, say) a difference is no derivative.

    To be called under `jax.enable_x64(True)`.

    Args:
        loss: parameters to a number.
        parameters: a tree of float64 arrays.
        gradient: a tree like it; what is to be checked. `jax.grad(loss)` by default.
        step: h, relative to the entry where that is larger than 1.
        tolerance: the largest relative error that is right.

    Raises:
        TypeError: a leaf is not float64.
    """
    leaves = jax.tree_util.tree_flatten_with_path(parameters)[0]
    for path, leaf in leaves:
        if leaf.dtype != jnp.float64:
            raise TypeError(f"{_name(path)} must be float64, but is {leaf.dtype}.")
    if gradient is None:
        gradient = jax.jit(jax.grad(loss))(parameters)
    point, unravel = ravel_pytree(parameters)
    given = np.asarray(ravel_pytree(gradient)[0])

    def difference(entry: jax.Array) -> jax.Array:
        h = step * jnp.maximum(1.0, jnp.abs(point[entry]))
        ahead, behind = point.at[entry].add(h), point.at[entry].add(-h)
        # Over the step that was taken, which rounding makes a little different from 2h.
        return (loss(unravel(ahead)) - loss(unravel(behind))) / (ahead[entry] - behind[entry])

    entries = jnp.arange(point.size)
    numeric = np.asarray(
        jax.jit(lambda them: jax.lax.map(difference, them, batch_size=64))(entries)
    )
    # A loss known to a few eps gives differences known to a few eps·loss/h. What is smaller than
    # that over the tolerance is compared with that.
    noise = 8 * np.finfo(np.float64).eps * max(abs(float(loss(parameters))), 1e-3) / step
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), noise / tolerance)
    errors = np.abs(given - numeric) / scale
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    path, index = _locate(leaves, worst)
    return GradientCheck(
        worst_error=float(errors[worst]),
        tolerance=tolerance,
        path=path,
        index=index,
        gradient=float(given[worst]),
        difference=float(numeric[worst]),
        num_entries=point.size,
    )


def _locate(leaves: list[tuple[Any, Any]], entry: int) -> tuple[str, tuple[int, ...]]:
    """Leaf and index of an entry of the ravelled tree."""
    for path, leaf in leaves:
        if entry < leaf.size:
            index = np.unravel_index(entry, leaf.shape)
            return _name(path), tuple(map(int, index))
        entry -= leaf.size
    raise IndexError(entry)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
