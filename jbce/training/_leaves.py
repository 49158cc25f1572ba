"""The arrays of a pytree: by the names of their places, and random keys as numbers."""

from typing import Any

import jax
import jax.numpy as jnp


def is_key(leaf: Any) -> bool:
    """Whether it holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def numbers_of(leaf: Any) -> Any:
    """The leaf, or the numbers that its keys are."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def like(leaf: Any, numbers: Any) -> jax.Array:
    """What `numbers_of` made numbers of, of the kind of `leaf`."""
    numbers = jnp.asarray(numbers)
    if not is_key(leaf):
        return numbers
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))


def name_of(place: tuple[Any, ...]) -> str:
    """A place in nested dictionaries and lists, as `output.kernel`."""
    return ".".join(str(getattr(part, "key", getattr(part, "idx", part))) for part in place)
