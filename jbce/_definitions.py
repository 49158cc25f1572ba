"""What the primitives of exact functions mean: their mathematical definitions.

In exact arithmetic a kernel's polynomials and bit patterns mean nothing. So each primitive comes
with the plain `jax.numpy` function that it computes; whoever judges a program reads it there.
"""

from collections.abc import Callable
from typing import Any

from jax.extend.core import Primitive

_DEFINITIONS: dict[Primitive, Callable[..., Any]] = {}


def define(primitive: Primitive, definition: Callable[..., Any]) -> None:
    """Declares what a primitive computes.

    Args:
        primitive: as it stands in a jaxpr.
        definition: `(*arrays, **params) -> array` (or a list, where the primitive has several
            results), written with `jax.numpy`; right in exact arithmetic, whatever it loses in
            floating point.
    """
    _DEFINITIONS[primitive] = definition


def definition_of(primitive: Primitive) -> Callable[..., Any] | None:
    """The definition of a primitive, or None."""
    return _DEFINITIONS.get(primitive)
