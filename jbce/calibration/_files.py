"""Fitted maps as files that outlive the program."""

import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._whole_file import write_whole
from ._binary import Beta, Platt
from ._isotonic import Isotonic
from ._multiclass import Dirichlet, Vector
from ._temperature import Temperature

Fitted = Temperature | Platt | Beta | Vector | Dirichlet | Isotonic

METHODS = {
    "temperature": Temperature,
    "platt": Platt,
    "beta": Beta,
    "vector": Vector,
    "dirichlet": Dirichlet,
    "isotonic": Isotonic,
}
# The axes of each field, from the last; models may come before them.
AXES = {
    "temperature": [()],
    "platt": [(), ()],
    "beta": [(), (), ()],
    "vector": [("classes",), ("classes",)],
    "dirichlet": [("classes", "classes"), ("classes",)],
    "isotonic": [("examples",), ("examples",)],
}
FORMAT = {"format": "jbce.calibration", "version": "1"}
DTYPES = ("float32", "float64")


def save(path: str | os.PathLike[str], fitted: Fitted, *, overwrite: bool = False) -> None:
    """Writes a fitted map: as text for `.json`, as raw numbers for `.safetensors`.

    The file appears whole or not at all.

    Args:
        path: of the file, whose suffix chooses the format.
        fitted: what a fit returned, of one model or, by `vmap`, of several.
        overwrite: replaces a file that is there.

    Raises:
        FileExistsError: a file is there, and `overwrite` is False.
        ImportError: `.safetensors`, and the extra `evaluate` is not installed.
        TypeError: `fitted` is not a fitted map.
        ValueError: the suffix is neither, or the fields of `fitted` do not fit together.

    Edges: inf and NaN come back.
    Error: none; `load` returns the same bits.

    Example:
        >>> import tempfile, pathlib
        >>> import jax.numpy as jnp
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "temperature.json"
        >>> save(path, Temperature(jnp.array(1.5)))
        >>> load(path)
        Temperature(temperature=Array(1.5, dtype=float32...))

    Source: https://huggingface.co/docs/safetensors for that format.
    """
    path = pathlib.Path(path)
    method = next((name for name, kind in METHODS.items() if type(fitted) is kind), None)
    if method is None:
        raise TypeError(f"`fitted` must be a fitted map, but a {type(fitted).__name__} came.")
    fields = {name: np.asarray(value) for name, value in fitted._asdict().items()}
    fault = _fault(method, fields)
    if fault:
        raise ValueError(f"`fitted` is not one map: {fault}.")
    if path.suffix == ".json":
        content = _to_json(method, fields)
    elif path.suffix == ".safetensors":
        content = _safetensors().save(fields, metadata={**FORMAT, "method": method})
    else:
        raise ValueError(f"`path` must end in .json or .safetensors, but {path} came.")
    write_whole(path, content, overwrite=overwrite)


def load(path: str | os.PathLike[str]) -> Fitted:
    """Reads a map that `save` wrote.

    Args:
        path: of the file, whose suffix tells the format.

    Returns:
        The fitted map, bit for bit; float64 parameters stay float64.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: `.safetensors`, and the extra `evaluate` is not installed.
        ValueError: the suffix is neither, or the file is damaged, holds something else, or an
            unknown method, or parameters of wrong names, dtypes or shapes. Nothing in a file is
            ever executed.

    Example: see `save`.
    """
    path = pathlib.Path(path)
    if path.suffix not in (".json", ".safetensors"):
        raise ValueError(f"`path` must end in .json or .safetensors, but {path} came.")
    read = _of_json if path.suffix == ".json" else _of_safetensors
    try:
        about, fields = read(path.read_bytes())
        for name, value in FORMAT.items():
            if about.get(name) != value:
                raise ValueError(f"its {name} is {about.get(name)!r} instead of {value!r}")
        method = about.get("method")
        if method not in METHODS:
            raise ValueError(f"its method is {method!r}, which is none of {', '.join(METHODS)}")
        fault = _fault(method, fields)
        if fault:
            raise ValueError(fault)
    except ValueError as error:
        raise ValueError(f"{path} is not a fitted map of jbce.calibration: {error}.") from error
    with jax.enable_x64(True):
        return METHODS[method](**{name: jnp.asarray(value) for name, value in fields.items()})


def _fault(method: str, fields: dict[str, np.ndarray]) -> str:
    """What is wrong with the fields of a map, in words; nothing if nothing is."""
    names = METHODS[method]._fields
    if sorted(fields) != sorted(names):
        return f"its parameters are {sorted(fields)} instead of {sorted(names)}"
    shown = ", ".join(f"{name} {fields[name].dtype}{list(fields[name].shape)}" for name in names)
    dtypes = {str(fields[name].dtype) for name in names}
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        return f"its parameters must be all float32 or all float64, not {shown}"
    sizes, models = {}, set()
    for name, axes in zip(names, AXES[method], strict=True):
        shape = fields[name].shape
        if len(shape) < len(axes):
            return f"its parameters have wrong shapes: {shown}"
        models.add(shape[: len(shape) - len(axes)])
        for axis, size in zip(axes, shape[len(shape) - len(axes) :], strict=True):
            sizes.setdefault(axis, set()).add(size)
    if len(models) > 1 or any(len(size) > 1 for size in sizes.values()):
        return f"its parameters have shapes that do not fit together: {shown}"
    return ""


def _to_json(method: str, fields: dict[str, np.ndarray]) -> bytes:
    parameters = {
        # The shortest text that gives the float64 back gives the float32 back too.
        name: {
            "dtype": str(value.dtype),
            "shape": value.shape,
            "values": [_to_number(number) for number in value.ravel().tolist()],
        }
        for name, value in fields.items()
    }
    return json.dumps({**FORMAT, "method": method, "parameters": parameters}, indent=1).encode()


def _to_number(number: float) -> float | str:
    return number if np.isfinite(number) else str(number)  # JSON has no inf


def _of_json(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    about = json.loads(content)
    parameters = about.pop("parameters", None) if isinstance(about, dict) else None
    if not isinstance(parameters, dict):
        raise ValueError("it has no parameters")
    fields = {}
    for name, value in parameters.items():
        try:
            dtype, shape, numbers = value["dtype"], value["shape"], value["values"]
            if dtype not in DTYPES:
                raise ValueError(f"dtype {dtype}")
            numbers = np.array([float(number) for number in numbers], np.float64)
            fields[name] = numbers.astype(dtype).reshape(shape)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"its parameter {name} cannot be read ({error})") from error
    return about, fields


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files that end in .safetensors need safetensors, which comes with the extra: "
            "pip install 'jbce[evaluate]'",
            name="safetensors",
        ) from error
    return safetensors.numpy


def _of_safetensors(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    read = _safetensors()
    try:
        fields = read.load(content)
    except Exception as error:  # its own class, or the KeyError of a dtype
        raise ValueError(f"it is no safetensors file ({error})") from error
    # The header that was just read: its length in 8 bytes, then JSON.
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]).get("__metadata__", {}), fields
