"""Losses of arrays that are spread over devices, in a process of its own with 8 of them."""

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, jbce
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

key = jax.random.key(0)
logits = 4 * jax.random.normal(key, (16, 5))
index = jax.random.randint(key, (8, 16), 0, 5)
cases = {
    "integer": (jbce.softmax_cross_entropy_with_integer_labels, index),
    "dense": (jbce.softmax_cross_entropy, jax.nn.softmax(jax.random.normal(key, (8, 16, 5)))),
    "binary": (jbce.sigmoid_binary_cross_entropy, jax.random.uniform(key, (8, 16, 5))),
}
mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
for name, (loss, labels) in cases.items():
    # Every device has the same logits and labels of its own: the gradient is a sum over devices.
    def local(x, y):
        return jax.lax.pmean(jnp.mean(loss(x, y[0])), "batch")

    spread = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P())
    found = jax.jit(jax.value_and_grad(spread))(logits, labels)
    whole = lambda x: jnp.mean(jnp.stack([jnp.mean(loss(x, y)) for y in labels]))
    for a, b in zip(found, jax.value_and_grad(whole)(logits), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

for axis_type in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        for name, (loss, labels) in cases.items():
            def average(x, y):
                return jnp.mean(loss(x, y))

            plain = jax.value_and_grad(average)(logits, labels[0])
            x, y = (jax.device_put(a, NamedSharding(mesh, P("batch"))) for a in (logits, labels[0]))
            for a, b in zip(jax.jit(jax.value_and_grad(average))(x, y), plain, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
print("equal")
"""


def test_spread_over_eight_devices():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ
        | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == ["equal"], found.stderr
