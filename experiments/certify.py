"""How many ulps is the binary loss off, at worst, over all float32 logits?

Command:  python -m experiments certify --exhaustive
Minutes:  0.3
Expect:   at most 0.503 ulp for the value and 0.501 for gradient and second derivative. With
          --exhaustive all 2³² logits are tried: about 10 minutes on 2 cores, resumed where it was
          stopped.

Every float32 bit pattern is a logit (without --exhaustive one of 509): value, gradient and second
derivative for the labels 0 and 1 beside the same functions in float64, which are right to 1e-15 and
share neither the polynomials nor the rounding. The distance counts in units in the last place of
the exact result; results below the smallest normal number may be flushed to 0 and are left out.

--write keeps the worst arguments in tests/certificate.json, where the tests replay them.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jbce

from ._record import Record, strict_json, write_text

CERTIFICATE = Path(__file__).parent.parent / "tests" / "certificate.json"
STATE = Path(__file__).parent.parent / "runs" / "certify" / "state.json"
BLOCK = 2**23  # logits tried at a time
ORDERS = ("value", "gradient", "second derivative")


@dataclass(frozen=True)
class Config:
    """What to try."""

    exhaustive: bool = False
    """Every float32 logit; goes on where an interrupted run stopped."""
    stride: int = 509
    """Otherwise one logit of so many."""
    write: bool = False
    """Keep the worst arguments in tests/certificate.json."""
    progress: bool = True
    """Show a progress bar."""


def run(config: Config, record: Record) -> None:
    """Sweep, tell the worst, and keep it if asked to."""
    stride = 1 if config.exhaustive else config.stride
    found = sweep(stride, config.progress)
    rows = []
    for name, worst in found.items():
        record.metric(name.replace(" ", "_"), worst["ulps"], "ulp")
        rows.append((name, f"{worst['ulps']:.4f}", f"{worst['logit']:.9g}"))
    count = "all 2³²" if stride == 1 else f"{2**32 // stride:,}"
    record.table(
        f"The worst of {count} float32 logits",
        ("function", "ulps", "at the logit"),
        rows,
        note="in units in the last place of the exact result; 0.5 is correctly rounded.",
    )
    if config.write:
        entry = {"exhaustive": config.exhaustive, "worst": found}
        table = json.loads(CERTIFICATE.read_text()) if CERTIFICATE.exists() else {}
        write_text(CERTIFICATE, strict_json(table | {platform(): entry}))


def platform() -> str:
    """What a worst argument is known for: the device's kind and the version of jax."""
    return f"{jax.default_backend()}, jax {jax.__version__}"


def sweep(stride: int, progress: bool) -> dict[str, dict[str, float]]:
    """The worst error and where, by function; all of them in one pass over the logits."""
    state: dict[str, Any] = {"stride": stride, "platform": platform(), "next": 0, "worst": {}}
    if stride == 1 and STATE.exists():
        kept = json.loads(STATE.read_text())
        if (kept["stride"], kept["platform"]) == (stride, platform()):
            state = kept
    blocks = -(-(2**32) // (BLOCK * stride))
    for block in _shown(range(state["next"], blocks), blocks, progress):
        for label in (0, 1):
            ulps, bits = _worst_of_block(jnp.uint32(block), jnp.uint32(stride), label)
            for order, at, pattern in zip(ORDERS, ulps.tolist(), bits.tolist(), strict=True):
                name = f"label {label}, {order}"
                if at > state["worst"].get(name, {"ulps": -1.0})["ulps"]:
                    logit = jax.lax.bitcast_convert_type(jnp.uint32(pattern), jnp.float32)
                    state["worst"][name] = {"ulps": at, "logit": float(logit)}
        state["next"] = block + 1
        if stride == 1:
            write_text(STATE, strict_json(state))
    if stride == 1:
        STATE.unlink()
    return dict(sorted(state["worst"].items()))


def _shown(blocks: range, total: int, progress: bool) -> Any:
    if not progress:
        return blocks
    from rich.progress import track

    return track(blocks, "logits tried", total=total, completed=blocks.start)


@functools.partial(jax.jit, static_argnums=2)
def _worst_of_block(block: jax.Array, stride: jax.Array, label: int) -> tuple[Any, Any]:
    """The largest error of each order among the block's logits, and the bits of that logit."""
    index = jax.lax.iota(jnp.uint32, BLOCK)
    bits = (block * jnp.uint32(BLOCK) + index) * stride  # wraps past the last, which repeats some
    logits = jax.lax.bitcast_convert_type(bits, jnp.float32)
    worst, where = [], []
    for found, exact in zip(_found(logits, label), _exact(logits, label), strict=True):
        errors = jnp.where(jnp.isfinite(logits), _ulps(found, exact), 0)
        at = jnp.argmax(errors)
        worst.append(errors[at])
        where.append(bits[at])
    return jnp.stack(worst), jnp.stack(where)


def _found(logits: jax.Array, label: int) -> tuple[jax.Array, ...]:
    labels = jnp.full(logits.shape, label)

    def loss(x: jax.Array) -> jax.Array:
        return jbce.sigmoid_binary_cross_entropy(x, labels)

    def slope(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]

    return loss(logits), slope(loss)(logits), slope(slope(loss))(logits)


def _exact(logits: jax.Array, label: int) -> tuple[jax.Array, ...]:
    """The definitions in float64, by XLA's own functions."""
    with jax.enable_x64(True):
        t = logits.astype(jnp.float64) * (1 - 2 * label)
        e = jnp.exp(-jnp.abs(t))
        loss = jnp.log1p(e) + jnp.maximum(t, 0.0)
        gradient = (1 - 2 * label) * jnp.where(t > 0, 1.0, e) / (1 + e)
        return loss, gradient, e / (1 + e) ** 2


def _ulps(found: jax.Array, exact: jax.Array) -> jax.Array:
    with jax.enable_x64(True):
        size = jnp.abs(exact)
        # The exponent of the exact result is that of its bits.
        bits = jax.lax.bitcast_convert_type(size, jnp.int64)
        exponent = jax.lax.shift_right_logical(bits, jnp.asarray(52, jnp.int64)) - 1023
        ulp = jnp.exp2((exponent - 23).astype(jnp.float64))
        errors = jnp.abs(found.astype(jnp.float64) - exact) / ulp
        counts = size >= float(jnp.finfo(jnp.float32).smallest_normal)
        return jnp.where(counts, errors, 0.0).astype(jnp.float32)
