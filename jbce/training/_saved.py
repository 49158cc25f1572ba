"""Models as files: raw numbers, and a description in words. Nothing in a file is ever executed."""

import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import describe
from .._whole_file import write_whole
from ._extra import extra
from ._leaves import from_file, is_key, like, name_of, numbers_of, to_file
from ._models import ACTIVATIONS, MODELS

with extra():
    import safetensors
    import safetensors.numpy
    from flax import nnx

_FORMAT = {"format": "jbce.training", "version": "1"}


def save_model(path: str | os.PathLike[str], model: nnx.Module, *, overwrite: bool = False) -> None:
    """Writes a model as a safetensors file, with a JSON description in its header.

    The file appears whole or not at all.

    Args:
        path: of the file, which ends in .safetensors.
        model: any Flax NNX module. Those of `jbce.training` can be loaded from the file alone.
        overwrite: replaces a file that is there.

    Raises:
        FileExistsError: a file is there, and `overwrite` is False.
        ValueError: the path ends otherwise, or a model of ours has an activation without a name.

    Error: none; `load_model` gives the same logits, bit for bit.

    Example:
        >>> import pathlib, tempfile
        >>> from flax import nnx
        >>> from jbce import training
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(path, training.MLP(4, [8], rngs=nnx.Rngs(0)))
        >>> load_model(path).description["hidden_sizes"]
        [8]

    Source: https://huggingface.co/docs/safetensors for the format.
    """
    path = _checked(path)
    name = type(model).__name__
    about = {"model": name, "arguments": None}
    if MODELS.get(name) is type(model):
        about["arguments"] = model.description  # pyright: ignore[reportAttributeAccessIssue]
    content = safetensors.numpy.save(
        to_file(_arrays(model)),
        metadata={**_FORMAT, "description": json.dumps(about)},
    )
    write_whole(path, content, overwrite=overwrite)


def load_model(path: str | os.PathLike[str], model: nnx.Module | None = None) -> Any:
    """Reads a model that `save_model` wrote.

    Args:
        path: of the file.
        model: a model of the architecture that the file must hold, which is left as it is; None:
            what the file describes, one of `jbce.training`.

    Returns:
        A model with the numbers of the file; what the file describes is in evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else, or a model of another
            architecture than `model`.

    Example: see `save_model`.
    """
    path = _checked(path)
    try:
        arrays, description = _read(path)
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is not a model of jbce.training: {error}.") from error
    if model is None:
        model = _made(path, description)
    graphdef, state = nnx.split(model)
    wanted = _arrays(model)
    for name in sorted(wanted.keys() | arrays.keys()):
        shown = [
            describe(of[name]) if name in of else "not there"  # pyright: ignore[reportArgumentType]
            for of in (arrays, wanted)
        ]
        if shown[0] != shown[1]:
            raise ValueError(
                f"{path} holds a model of another architecture "
                f"({description.get('model')}): its {name} is {shown[0]}, where "
                f"{type(model).__name__} has {shown[1]}."
            )
    leaves = jax.tree.leaves_with_path(nnx.to_pure_dict(state))
    values = [like(leaf, arrays[name_of(place)]) for place, leaf in leaves]
    return nnx.merge(graphdef, jax.tree.unflatten(jax.tree.structure(state), values))


def _checked(path: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"`path` must end in .safetensors, but {path} came.")
    return path


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    content = path.read_bytes()
    arrays = from_file(safetensors.numpy.load(content))
    size = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    for name, value in _FORMAT.items():
        if about.get(name) != value:
            raise ValueError(f"its {name} is {about.get(name)!r} instead of {value!r}")
    description = json.loads(about["description"])
    if not isinstance(description, dict):
        raise ValueError("its description is none")
    return arrays, description


def _made(path: pathlib.Path, description: dict[str, Any]) -> nnx.Module:
    kind, arguments = MODELS.get(str(description.get("model"))), description.get("arguments")
    if kind is None or not isinstance(arguments, dict):
        raise ValueError(
            f"{path} holds a {description.get('model')}, which is no model of jbce.training; hand "
            "over a `model` of its architecture."
        )
    arguments = dict(arguments)
    try:
        if "activation" in arguments:
            arguments["activation"] = ACTIVATIONS[arguments["activation"]]
        if arguments.get("dtype") is not None:
            arguments["dtype"] = jnp.dtype(arguments["dtype"])
        made = nnx.eval_shape(lambda: kind(**arguments, rngs=nnx.Rngs(0)))
        made.eval()
        return made
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} describes no model: {error}.") from error


def _arrays(model: nnx.Module) -> dict[str, Any]:
    """The numbers of a model by their places, random keys as the numbers that they are."""
    state = nnx.to_pure_dict(nnx.state(model))
    return {name_of(place): _numbers(leaf) for place, leaf in jax.tree.leaves_with_path(state)}


def _numbers(leaf: Any) -> Any:
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return np.asarray(numbers_of(leaf))
    return jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
