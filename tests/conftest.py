import atexit
import importlib.metadata
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Threads of OpenMP (scikit-learn's, BLAS's) spin while they wait for each other: beside another
# test process that has the cores, boosting a small table takes 190 s instead of 4.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "XLA_FLAGS" not in os.environ:
    # Without LLVM's optimisations the ten thousand small programs of these tests, of which most run
    # once, compile in a third of the time (where random weights are drawn, in a tenth: LLVM unrolls
    # loops over few elements). Tests marked `ulps`, whose bounds depend on every instruction, run
    # as users' programs do, too: tests/test_code_generator.py.
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        # Nor with the newer code generator, and without threads of its own.
        os.environ["XLA_FLAGS"] += (
            " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        )
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # The test processes, which inherit this, compile each program once between them.
    _cache = tempfile.mkdtemp(prefix="jbce-compiled-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest
from jaxtyping import config as jaxtyping_config


@pytest.fixture(autouse=True)
def strict(request):
    """Strict dtypes and ranks around our own functions, unless the test is marked `jax_defaults`.

    (optax.adam and peers' own test files do not run under strict promotion.)
    """
    if request.node.get_closest_marker("jax_defaults"):
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def unchecked_signatures():
    """Calls as users make them, with signatures unchecked: our own errors speak."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture
def key():
    return jax.random.key(0)
