"""Losses of arrays that are spread over devices, in processes of their own with 8 of them."""

import os
import signal
import socket
import subprocess
import sys

import pytest

HEAD = """
import functools, re
import jax, jax.numpy as jnp, numpy as np, jbce
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jbce.linear import (
    linear_log_odds, linear_sigmoid_binary_cross_entropy, linear_softmax_cross_entropy, linear_top_k
)

def close(found, wanted, rtol=1e-5, atol=1e-6):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)

def collectives(compiled):
    names = "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"
    lines = re.findall(r"= .*? ([a-z-]+)\\(", compiled.as_text())
    return {name: sum(line in (name, name + "-start") for line in lines) for name in names}

def meshes():
    for axis_type in (AxisType.Explicit, AxisType.Auto):
        mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(axis_type,) * 2)
        with jax.set_mesh(mesh):
            yield axis_type, lambda a, *spec: jax.device_put(a, NamedSharding(mesh, P(*spec)))
"""
BATCHES = """
key = jax.random.key(0)
logits = 4 * jax.random.normal(key, (16, 5))
index = jax.random.randint(key, (8, 16), 0, 5)
cases = {
    "integer": (jbce.softmax_cross_entropy_with_integer_labels, index),
    "dense": (jbce.softmax_cross_entropy, jax.nn.softmax(jax.random.normal(key, (8, 16, 5)))),
    "binary": (jbce.sigmoid_binary_cross_entropy, jax.random.uniform(key, (8, 16, 5))),
    "divergence": (jbce.softmax_kl_divergence, jax.random.normal(key, (8, 16, 5))),
}
mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
for name, (loss, labels) in cases.items():
    # Every device has the same logits and labels of its own: the gradient is a sum over devices.
    def local(x, y):
        return jax.lax.pmean(jnp.mean(loss(x, y[0])), "batch")

    spread = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P())
    found = jax.jit(jax.value_and_grad(spread))(logits, labels)
    whole = lambda x: jnp.mean(jnp.stack([jnp.mean(loss(x, y)) for y in labels]))
    close(found, jax.jit(jax.value_and_grad(whole))(logits))

for name, (loss, labels) in cases.items():
    def average(x, y):
        return jnp.mean(loss(x, y))

    plain = jax.value_and_grad(average)(logits, labels[0])
    for axis_type in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((8,), ("batch",), axis_types=(axis_type,))
        with jax.set_mesh(mesh):
            x, y = (jax.device_put(a, NamedSharding(mesh, P("batch"))) for a in (logits, labels[0]))
            close(jax.jit(jax.value_and_grad(average))(x, y), plain)
            if name == "divergence":  # of arrays one of which is not spread
                close(jax.jit(jax.value_and_grad(average))(x, labels[0]), plain)
                close(jax.jit(jax.value_and_grad(average))(logits, y), plain)
"""
CLASSES = """
keys = jax.random.split(jax.random.key(0), 3)
x, y = 4 * jax.random.normal(keys[0], (16, 64)), jax.random.randint(keys[1], (16,), 0, 64)
q, weights = jax.nn.softmax(jax.random.normal(keys[2], (16, 64))), jnp.linspace(0, 2, 64)
integer = jbce.softmax_cross_entropy_with_integer_labels
losses = {
    "integer": (integer, y),
    "smoothed": (functools.partial(integer, label_smoothing=0.1, z_loss=0.1), y),
    "weighed": (functools.partial(integer, class_weights=weights), y),
    "dense": (jbce.softmax_cross_entropy, q),
    "log_odds": (jbce.log_odds, y),
    "focal": (jbce.softmax_focal_loss_with_integer_labels, y),
    "log domain": (jbce.logdomain.softmax_cross_entropy_with_integer_labels, y),
}
def both_of(loss):
    def both(x, labels):
        losses = loss(x, labels)
        return jnp.sum(losses), losses
    return jax.value_and_grad(both, has_aux=True)

wanted = {name: jax.jit(both_of(loss))(x, labels) for name, (loss, labels) in losses.items()}
for axis_type, put in meshes():
    for name, (loss, labels) in losses.items():
        both = both_of(loss)
        for batch in (None,) if axis_type == AxisType.Auto else ("data",):
            spread = put(x, batch, "model"), put(labels, batch, *["model"] * (labels.ndim - 1))
            compiled = jax.jit(both).lower(*spread).compile()
            close(compiled(*spread), wanted[name], atol=2e-5)
            # of a row only what there is one of is gathered
            gathered = re.findall(r"(\\[[\\d,]*\\])[^=]* all-gather", compiled.as_text())
            assert not any("64" in shape.strip("[]").split(",") for shape in gathered)
"""
LINEAR = """
keys = jax.random.split(jax.random.key(0), 4)
rows, features, classes = 256, 16, 16_384
hidden = jax.random.normal(keys[0], (rows, features))
kernel = jax.random.normal(keys[1], (features, classes))
labels = jax.random.randint(keys[2], (rows,), 0, classes)
cotangent = jax.random.normal(keys[3], (rows,))
options = {"label_smoothing": 0.1, "z_loss": 0.01, "bias": jnp.linspace(-1, 1, classes)}

def gradient(loss):
    def of(hidden, kernel, labels, cotangent):
        losses, pull = jax.vjp(lambda h, k: loss(h, k, labels), hidden, kernel)
        return losses, pull(cotangent)
    return of

def plain(hidden, kernel, labels):
    bias = options["bias"]
    rest = {name: value for name, value in options.items() if name != "bias"}
    return jbce.softmax_cross_entropy_with_integer_labels(hidden @ kernel + bias, labels, **rest)

integer = jbce.softmax_cross_entropy_with_integer_labels
def curved(loss):
    def summed(h, k, y):
        return jnp.sum(loss(h, k, y))
    def product(h, k, y):
        along = lambda h, k: jax.grad(summed, (0, 1))(h, k, y)
        return jax.jvp(along, (h, k), (jnp.cos(h), jnp.sin(k)))[1]
    return product

wanted = jax.jit(gradient(plain))(hidden, kernel, labels, cotangent)
unsmoothed = functools.partial(linear_softmax_cross_entropy, block_size=128)
wanted_unsmoothed = jax.jit(gradient(unsmoothed))(hidden, kernel, labels, cotangent)
wanted_curved = jax.jit(curved(lambda h, k, y: integer(h @ k, y)))(hidden, kernel, labels)
wanted_odds = jbce.log_odds(hidden @ kernel, labels)
wanted_best = jax.lax.top_k(hidden @ kernel, 5)
sets = jnp.stack([labels, (labels + 1) % classes], 1)
dense = jnp.zeros((rows, classes), bool).at[jnp.arange(rows)[:, None], sets].set(True)
binary = jbce.sigmoid_binary_cross_entropy(hidden @ kernel, dense).sum(1)
for axis_type, put in meshes():
    layouts = [("model", "data", 3)]
    if axis_type == AxisType.Explicit:  # compiled to the same programs
        layouts = [("model", None, 2), (None, "data", 1), (("data", "model"), None, 2)]
    for of_classes, of_batch, reductions in layouts:
        given = (
            put(hidden, of_batch, None), put(kernel, None, of_classes),
            put(labels, of_batch), put(cotangent, of_batch),
        )
        names = {"axis_name": of_classes, "batch_axis_name": of_batch}
        names = {} if axis_type == AxisType.Explicit else names
        ours = functools.partial(linear_softmax_cross_entropy, block_size=64, **names, **options)
        compiled, materialised = (
            jax.jit(gradient(loss)).lower(*given).compile() for loss in (ours, plain)
        )
        close(compiled(*given), wanted, 1e-4, 1e-5)
        found = collectives(compiled)
        assert found == {**dict.fromkeys(found, 0), "all-reduce": reductions}, (names, found)
        sizes = [c.memory_analysis().temp_size_in_bytes for c in (compiled, materialised)]
        # The gradient of a kernel that is not spread is summed over the devices.
        kept = 0 if of_classes else kernel.nbytes
        assert sizes[0] - kept <= (sizes[1] - kept) / 5, (of_classes, of_batch, sizes)

    # second derivatives, and the other functions, with classes and batch spread
    names = {"axis_name": "model", "batch_axis_name": "data"}
    names = {"block_size": 128} | ({} if axis_type == AxisType.Explicit else names)
    h, k, y = put(hidden, "data", None), put(kernel, None, "model"), put(labels, "data")
    if axis_type == AxisType.Explicit:
        found = jax.jit(curved(functools.partial(linear_softmax_cross_entropy, **names)))(h, k, y)
        close(found, wanted_curved, 1e-4, 1e-4)
    odds = jax.jit(functools.partial(linear_log_odds, **names))(h, k, y)
    close(odds, wanted_odds, 1e-4, 1e-4)
    best = jax.jit(functools.partial(linear_top_k, k=5, **names))(h, k)
    close(best, wanted_best, 1e-4)
    multi = functools.partial(linear_sigmoid_binary_cross_entropy, **names)
    close(jax.jit(multi)(h, k, put(sets, "data", None)), binary, 1e-4)
    close(jax.jit(multi)(h, k, put(dense, "data", "model")), binary, 1e-4)
    try:
        linear_softmax_cross_entropy(hidden, kernel, labels, axis_name="modle")
    except ValueError as error:
        assert "no mesh axis 'modle'" in str(error) and "'data', 'model'" in str(error)
    else:
        raise AssertionError("a mesh axis that is not there")
    try:
        linear_softmax_cross_entropy(hidden, kernel[:, :13], labels, axis_name="model")
    except ValueError as error:
        assert "13 classes cannot be spread evenly over the 4 devices" in str(error)
    else:
        raise AssertionError("classes that do not divide")

    try:
        linear_softmax_cross_entropy(
            hidden, kernel, labels, axis_name="model", batch_axis_name="model"
        )
    except ValueError as error:
        assert "Mesh axis 'model' cannot spread both" in str(error)
    else:
        raise AssertionError("one axis for both")

    # inside of a shard_map the kernel is the shard
    def local(h, k, y):
        return linear_softmax_cross_entropy(h, k, y, axis_name="model", block_size=128)

    spread = jax.shard_map(
        local, in_specs=(P("data"), P(None, "model"), P("data")), out_specs=P("data")
    )
    found = jax.jit(gradient(spread))(h, k, y, put(cotangent, "data"))
    close(found, wanted_unsmoothed, 1e-4, 1e-5)
"""


FIT = """
import optax
from flax import nnx
from jbce import training

random = np.random.default_rng(0)
features = random.normal(size=(50, 6)).astype("f4")
labels = random.integers(0, 8, 50).astype("i4")
choice = dict(epochs=4, batch_size=16, key=jax.random.key(1), optimizer=optax.adam(0.1))
choice |= dict(validation=(features, labels), patience=4)

def fit(model_of=8, **more):
    model = training.MLP(6, [4], model_of, rngs=nnx.Rngs(0))
    return training.fit(model, (features, labels), **choice, **more)

def leaves(result):
    return jax.tree.leaves(nnx.state(result.model, nnx.Param)) + [*result.history]

alone = leaves(fit())
spread = {"output.kernel": P(None, "classes"), "output.bias": P("classes")}
for shape, partition in (((2, 4), spread),):
    mesh = jax.make_mesh(shape, ("data", "classes"))
    found = fit(mesh=mesh, partition=partition)
    kernel = found.model.output.kernel[...]
    assert len(kernel.sharding.device_set) == 8
    assert kernel.addressable_shards[0].data.shape == (4, 8 // (shape[1] if partition else 1))
    for a, b in zip(leaves(found), alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
for wrong, says in (
    (dict(partition=spread), "none came"),
    (dict(mesh=jax.make_mesh((8,), ("model",))), "axis `data`"),
    (dict(mesh=mesh, partition={"kernel": P()}), "output.kernel"),
):
    try:
        fit(**wrong)
    except ValueError as error:
        assert says in str(error), error
    else:
        raise AssertionError(says)

def make(rngs, learning_rate):
    return training.Trial(training.MLP(6, [4], 8, rngs=rngs), optax.adam(learning_rate))

swept = [
    training.sweep(
        make, {"learning_rate": [0.01, 0.02, 0.05, 0.1]}, seeds=2, data=(features, labels),
        validation=(features, labels), epochs=2, batch_size=16, key=jax.random.key(0),
        metrics=[jbce.metrics.log_loss],
        devices=devices,
    ).logits
    for devices in (None, jax.devices()[:4])
]
np.testing.assert_allclose(*swept, rtol=1e-4, atol=1e-5)
"""


def environment(devices):
    given = os.environ.get("XLA_FLAGS", "")
    flags = f"{given} --xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


@pytest.mark.parametrize(
    "program", [BATCHES, CLASSES, LINEAR, FIT], ids=["batches", "classes", "linear", "fit"]
)
def test_spread_over_eight_devices(program):
    found = subprocess.run(
        [sys.executable, "-c", f"{HEAD}{program}\nprint('equal')"],
        env=environment(8),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == ["equal"], found.stderr


TWO_PROCESSES = """
import sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_cpu_collectives_implementation", "gloo")
port, process = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process, local_device_ids=None)
from jax.sharding import NamedSharding, PartitionSpec as P
from jbce.linear import linear_softmax_cross_entropy

rows, features, classes = 16, 8, 512
random = np.random.default_rng(0)
hidden = random.normal(size=(rows, features)).astype("f4")
kernel = random.normal(size=(features, classes)).astype("f4")
labels = random.integers(0, classes, rows).astype("i4")

def loss(hidden, kernel, labels):
    return jnp.mean(linear_softmax_cross_entropy(hidden, kernel, labels, block_size=64))

assert jax.process_count() == 2 and jax.device_count() == 4, jax.devices()
whole = jax.jit(jax.value_and_grad(loss, (0, 1)))(hidden, kernel, labels)
for shape, of_classes, of_batch in (
    ((1, 4), "model", None), ((2, 2), "model", "data")
):
    mesh = jax.make_mesh(shape, ("data", "model"))
    with jax.set_mesh(mesh):
        def put(a, *spec):
            sharding = NamedSharding(mesh, P(*spec))
            return jax.make_array_from_callback(a.shape, sharding, lambda part: a[part])

        given = put(hidden, of_batch, None), put(kernel, None, of_classes), put(labels, of_batch)
        value, slopes = jax.jit(jax.value_and_grad(loss, (0, 1)))(*given)
        wanted, wanted_slopes = whole
        np.testing.assert_allclose(value.addressable_shards[0].data, wanted, rtol=1e-6)
        for found, right in zip(slopes, wanted_slopes, strict=True):
            for shard in found.addressable_shards:
                np.testing.assert_allclose(
                    shard.data, np.asarray(right)[shard.index], rtol=1e-4, atol=1e-7
                )
print("equal")
"""


def pair(program, *arguments):
    """Two processes that know of each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, port, str(process), *arguments],
            env=environment(2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]


def test_two_processes_are_as_one():
    for process in pair(TWO_PROCESSES):
        output, error = process.communicate(timeout=300)
        assert output.split()[-1:] == ["equal"], error


FIT_OF_TWO = """
import os, signal, sys
import jax, numpy as np
jax.config.update("jax_cpu_collectives_implementation", "gloo")
port, process, folder, dies = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "dies"
import optax
from flax import nnx
from jbce import training

random = np.random.default_rng(0)
features = random.normal(size=(50, 6)).astype("f4")
labels = random.integers(0, 8, 50).astype("i4")

def fit(**more):
    return training.fit(
        training.MLP(6, [4], 8, rngs=nnx.Rngs(0)), (features, labels), epochs=5, batch_size=16,
        key=jax.random.key(1), optimizer=optax.adam(0.1), **more,
    )

def leaves(result):
    return [*jax.tree.leaves(nnx.state(result.model, nnx.Param)), result.history.loss]

jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
alone = [np.asarray(leaf) for leaf in leaves(fit())]
first = []

def die(report):
    first.append(report.rows[0]["epoch"])
    if dies and process == 1 and report.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)

kept = training.Checkpoints(folder, seconds=0)
try:
    found = leaves(fit(mesh=jax.make_mesh((4,), ("data",)), checkpoints=kept, callbacks=[die]))
except training.WorkerLostError as error:
    print("lost:", error, flush=True)
    os._exit(3)
for a, b in zip(found, alone, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
print("equal", first[0])
"""


def test_a_fit_of_two_processes_survives_the_death_of_one(tmp_path):
    """And is the one of a single process, to rounding."""
    folder = str(tmp_path / "run")
    left, dead = pair(FIT_OF_TWO, folder, "dies")
    dead.communicate(timeout=200)
    assert dead.returncode == -signal.SIGKILL
    output, error = left.communicate(timeout=60)
    assert left.returncode == 3 and "Process 0 of 2" in output, error
    assert "Start all processes again" in output
    for process in pair(FIT_OF_TWO, folder, "lives"):
        output, error = process.communicate(timeout=300)
        assert output.split()[-2:] == ["equal", "3"], error
