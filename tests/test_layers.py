"""The house: imports point down, a folder has one door, and importing is cheap."""

import ast
import pathlib
import subprocess
import sys

import pytest

import jbce

PACKAGE = pathlib.Path(jbce.__file__).parent
LAYERS = {
    "_typing": 0,
    "_definitions": 0,
    "_whole_file": 0,
    "_exact": 1,
    "verify": 1,
    "numerics": 2,
    "_arguments": 3,
    "losses": 4,
    "logdomain": 5,
    "curvature": 5,
    "linear": 5,
    "metrics": 5,
    "_optimum": 5,
    "calibration": 6,
    "training": 6,
    "plots": 7,
    "cli": 8,
    "__init__": 9,
}
SUBMODULES = sorted({p.stem for p in PACKAGE.iterdir() if p.name[0] != "_"} - {"py"})


def _imports(path):
    """(module path relative to the package or outside name, line) of every import of a file."""
    inside = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                yield str(node.module), node.lineno
                continue
            base = (*inside,)[: len(inside) + 1 - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield ".".join(("jbce", *base, *name.split("."))), node.lineno


def _files():
    return [path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts]


def _layer(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_and_through_the_door(path):
    layer = _layer(path)
    for module, line in _imports(path):
        where = f"{path.relative_to(PACKAGE)}:{line} imports {module}"
        assert "_src" not in module, where
        parts = module.split(".")
        if parts[0] != "jbce":
            continue
        if parts[1] == layer:
            continue
        assert LAYERS[parts[1]] < LAYERS[layer], where
        assert len(parts) == 2, f"{where}, past its door"


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_folder_has_one_door_and_a_file_is_not_long(path):
    inside = path.relative_to(PACKAGE)
    if len(inside.parts) > 1:
        assert inside.name.startswith("_")
    assert len(path.read_text().splitlines()) <= 420


def test_the_core_needs_jax_and_jaxtyping_only():
    code = (
        "import sys, jax, jaxtyping; before = set(sys.modules)\n"
        "import jbce; jbce.losses; jbce.numerics; jbce.metrics\n"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    extras = {"flax", "optax", "sklearn", "matplotlib", "rich", "flint", "chex", "pyarrow", "scipy"}
    assert not extras & set(found.stdout.split())


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodules_load_when_touched(name):
    assert getattr(jbce, name).__name__ == f"jbce.{name}"
    assert name in dir(jbce)
    assert getattr(jbce, name).__doc__


def test_an_unknown_attribute_is_one():
    with pytest.raises(AttributeError, match="no attribute 'metrix'"):
        jbce.metrix  # noqa: B018


def test_nothing_is_computed_or_configured_at_import():
    code = (
        "import os; os.environ['JAX_PLATFORMS'] = 'none such'\n"
        "os.environ.pop('JAX_ENABLE_X64', None); import jax, jbce\n"
        "jbce.numerics, jbce.metrics; print(jax.config.jax_enable_x64)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]
