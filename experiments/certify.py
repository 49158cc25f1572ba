"""How many ulps are the losses off, at worst, over all float32 logits?

Command:  python -m experiments certify --exhaustive
Minutes:  1
Expect:   binary, at most 0.503 ulp for the value and 0.501 for gradient and second derivative;
          0.65, 0.53 and 0.54 for the forms without float64; categorical, about 3 for the loss and
          5 for the gradient. With --exhaustive all 2³² logits are tried: about 25 minutes on 2
          cores, resumed where it was stopped.

Binary: every float32 bit pattern is a logit (without --exhaustive one of 509): value, gradient and
second derivative for the labels 0 and 1 beside the same functions in float64, which are right to
1e-15 and share neither the polynomials nor the rounding. The distance counts in units in the last
place of the exact result; results below the smallest normal number may be flushed to 0 and are left
out. "without float64" are the forms that platforms without it get, run here.

Categorical: rows of 2 to 10,007 classes, spreads from 0.1 to 20, common offsets to ±1000 and
margins to 60, for every loss and every gradient entry ≥ 1e-30; row sums in ulps of the largest
entry.

--write keeps the worst arguments in tests/certificate.json, where the tests replay them.
"""

import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jbce
from jbce.losses import _binary
from jbce.numerics import _logistic

from ._categorical import errors, recipes
from ._record import Record, strict_json, write_text

CERTIFICATE = Path(__file__).parent.parent / "tests" / "certificate.json"
STATE = Path(__file__).parent.parent / "runs" / "certify" / "state.json"
BLOCK = 2**23  # logits tried at a time
ORDERS = ("value", "gradient", "second derivative")
FORMS = ("binary", "binary without float64")
CATEGORICAL = {
    "integer labels": jbce.softmax_cross_entropy_with_integer_labels,
    "dense labels": lambda x, y: jbce.softmax_cross_entropy(x, jax.nn.one_hot(y, x.shape[-1])),
}


@dataclass(frozen=True)
class Config:
    """What to try."""

    exhaustive: bool = False
    """Every float32 logit; goes on where an interrupted run stopped."""
    stride: int = 509
    """Otherwise one logit of so many."""
    seeds: int = 1
    """Batches of categorical rows of each kind."""
    write: bool = False
    """Keep the worst arguments in tests/certificate.json."""
    progress: bool = True
    """Show a progress bar."""


def run(config: Config, record: Record) -> None:
    """Sweep, tell the worst, and keep it if asked to."""
    stride = 1 if config.exhaustive else config.stride
    binary = sweep(stride, config.progress)
    categorical = sample(config.seeds, config.progress)
    for name, worst in (binary | categorical).items():
        record.metric(name.replace(" ", "_").replace("'", ""), worst["ulps"], "ulp")
    for name, sweep_of in (("binary", binary), ("categorical", categorical)):
        if sweep_of:
            worst = max(entry["ulps"] for entry in sweep_of.values())
            record.headline(f"worst of everything {name}", worst, unit="ulp")
    count = "all 2³²" if stride == 1 else f"{2**32 // stride:,}"
    record.table(
        f"The worst of {count} float32 logits",
        ("function", "ulps", "at the logit"),
        [(name, f"{worst['ulps']:.4f}", f"{worst['logit']:.9g}") for name, worst in binary.items()],
        note="in units in the last place of the exact result; 0.5 is correctly rounded.",
    )
    record.table(
        f"The worst of {sum(1 for _ in recipes(config.seeds))} batches of rows",
        ("function", "ulps", "classes", "spread", "offset", "margins to"),
        [
            (name, f"{worst['ulps']:.2f}", *(f"{worst[key]:g}" for key in list(worst)[2:]))
            for name, worst in categorical.items()
        ],
        note="row sums in ulps of the largest entry of the row.",
    )
    if config.write:
        entry = {"exhaustive": config.exhaustive, "worst": binary, "categorical": categorical}
        table = json.loads(CERTIFICATE.read_text()) if CERTIFICATE.exists() else {}
        write_text(CERTIFICATE, strict_json(table | {platform(): entry}))


def sample(seeds: int, progress: bool) -> dict[str, dict[str, Any]]:
    """The worst error of the categorical losses by function, and the recipe of its rows."""
    worst: dict[str, dict[str, Any]] = {}
    kinds = [(kind, loss) for kind, loss in CATEGORICAL.items()]
    tried = list(recipes(seeds))
    for recipe in _shown(range(len(tried)), len(tried), progress, "batches of rows tried"):
        for kind, loss in kinds:
            for name, ulps in errors(losses_and_gradients(loss), tried[recipe]).items():
                key = f"{kind}, {name}"
                if ulps > worst.get(key, {"ulps": -1.0})["ulps"]:
                    worst[key] = {"ulps": ulps} | asdict(tried[recipe])
    return worst


def losses_and_gradients(loss: Callable[..., jax.Array]) -> Callable[..., Any]:
    """What `errors` measures of a loss, compiled."""

    def both(logits: jax.Array, labels: jax.Array) -> Any:
        losses, pull = jax.vjp(lambda x: loss(x, labels), logits)
        return losses, pull(jnp.ones_like(losses))[0]

    return jax.jit(both)


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
    for block in _shown(range(state["next"], blocks), blocks, progress, "logits tried"):
        for form, label in itertools.product(FORMS, (0, 1)):
            ulps, bits = _worst_of_block(jnp.uint32(block), jnp.uint32(stride), form, label)
            for order, at, pattern in zip(ORDERS, ulps.tolist(), bits.tolist(), strict=True):
                name = f"{form}, label {label}, {order}"
                if at > state["worst"].get(name, {"ulps": -1.0})["ulps"]:
                    logit = jax.lax.bitcast_convert_type(jnp.uint32(pattern), jnp.float32)
                    state["worst"][name] = {"ulps": at, "logit": float(logit)}
        state["next"] = block + 1
        if stride == 1:
            write_text(STATE, strict_json(state))
    if stride == 1:
        STATE.unlink()
    return dict(sorted(state["worst"].items()))


def _shown(blocks: range, total: int, progress: bool, what: str) -> Any:
    if not progress:
        return blocks
    from rich.progress import track

    return track(blocks, what, total=total, completed=blocks.start)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _worst_of_block(block: jax.Array, stride: jax.Array, form: str, label: int) -> tuple[Any, Any]:
    """The largest error of each order among the block's logits, and the bits of that logit."""
    index = jax.lax.iota(jnp.uint32, BLOCK)
    bits = (block * jnp.uint32(BLOCK) + index) * stride  # wraps past the last, which repeats some
    logits = jax.lax.bitcast_convert_type(bits, jnp.float32)
    worst, where = [], []
    for value, truth in zip(found(form, logits, label), exact(logits, label), strict=True):
        errors = jnp.where(jnp.isfinite(logits), _ulps(value, truth), 0)
        at = jnp.argmax(errors)
        worst.append(errors[at])
        where.append(bits[at])
    return jnp.stack(worst), jnp.stack(where)


def found(form: str, logits: jax.Array, label: int) -> tuple[jax.Array, ...]:
    """Value, gradient and second derivative of the binary loss, as a form computes them."""
    labels = jnp.full(logits.shape, label)
    if form == "binary without float64":
        numbers = labels.astype(logits.dtype)
        second = _logistic.density_of_pairs(logits)
        return (
            _binary.loss_of_pairs(logits, numbers),
            _binary.residual_of_pairs(logits, numbers),
            second,
        )

    def loss(x: jax.Array) -> jax.Array:
        return jbce.sigmoid_binary_cross_entropy(x, labels)

    def slope(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]

    return loss(logits), slope(loss)(logits), slope(slope(loss))(logits)


def exact(logits: jax.Array, label: int) -> tuple[jax.Array, ...]:
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
