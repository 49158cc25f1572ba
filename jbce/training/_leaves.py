"""The arrays of a pytree: by the names of their places, and random keys as numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


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
    impl = None if isinstance(leaf, jax.ShapeDtypeStruct) else jax.random.key_impl(leaf)
    return jax.random.wrap_key_data(numbers, impl=impl)


def to_file(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """As safetensors writes and reads them again: 8 and 16 bits that numpy lacks as integers."""
    found = {}
    for name, array in arrays.items():
        array = np.array(array, order="C")
        if array.dtype.kind == "V":
            name, array = f"{array.dtype}:{name}", array.view(f"u{array.dtype.itemsize}")
        found[name] = array
    return found


def from_file(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `to_file` was given."""
    found = {}
    for name, array in arrays.items():
        dtype = _not_of_numpy(name.partition(":")[0])
        if dtype is not None:
            name, array = name.partition(":")[2], array.view(dtype)
        found[name] = array
    return found


def _not_of_numpy(name: str) -> np.dtype | None:
    try:
        dtype = jnp.dtype(name)
    except TypeError:
        return None
    return dtype if dtype.kind == "V" else None


def name_of(place: tuple[Any, ...]) -> str:
    """A place in nested dictionaries and lists, as `output.kernel`."""
    return ".".join(str(getattr(part, "key", getattr(part, "idx", part))) for part in place)
