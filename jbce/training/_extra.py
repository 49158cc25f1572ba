"""The packages that this part of jbce needs beyond those that `import jbce` needs."""

import contextlib
from collections.abc import Iterator

_PACKAGES = ("flax", "optax", "rich", "orbax", "grain", "pyarrow", "polars", "safetensors")


@contextlib.contextmanager
def extra() -> Iterator[None]:
    """Around the import of such a package: says how to get it.

    Raises:
        ImportError: the package is missing.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        raise ImportError(
            f"jbce.training needs {package}, which comes with the extra: "
            "pip install 'jbce[training]'",
            name=package,
        ) from error
