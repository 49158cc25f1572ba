"""What is the log loss of eight predictions, row by row, and why do some print 0.214 for it?

Command:  python -m experiments worked_example
Minutes:  0.1
Expect:   0.494 nats, which are 0.214 bans: one loss in two units. Five ways to compute it agree
          to the last digits.

The log loss asks, for every example, which probability the model gave to what actually happened.
That is the corrected probability: p where the event happened, 1 − p where it did not. The loss of
the example is minus its logarithm, and the log loss is the mean: 0 for certainty that was
justified, without bound for certainty that was not.

The eight predictions are those of a well-known introduction, whose formula has the natural
logarithm but whose table was computed with the logarithm to base 10.
"""

import decimal
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import jbce
from jbce import metrics

from ._record import Record

IDS = ("ID6", "ID1", "ID7", "ID8", "ID2", "ID3", "ID4", "ID5")
ACTUAL = (1, 1, 1, 0, 0, 1, 1, 0)
# As decimals, so that the reference value is that of the table as it is printed.
PREDICTED = ("0.94", "0.90", "0.78", "0.56", "0.51", "0.47", "0.32", "0.10")


@dataclass(frozen=True)
class Config:
    """What to print."""

    digits: int = 4
    """Decimal digits in the table of the examples."""


def run(config: Config, record: Record) -> None:
    """The table, its mean in nats and bans, and the same mean computed in five ways."""
    with jax.enable_x64(True):
        labels = jnp.array(ACTUAL)
        probs = jnp.array([float(p) for p in PREDICTED])
        corrected = jnp.where(labels == 1, probs, 1 - probs)
        losses = jbce.binary_cross_entropy(probs, labels)
        logits = jnp.log(probs) - jnp.log1p(-probs)
        nats = float(metrics.log_loss(logits, labels))
        bans = float(metrics.log_loss(logits, labels, base=10))

    d = config.digits
    record.table(
        "Row by row",
        ("id", "actual", "predicted", "corrected", "ln(corrected)", "loss"),
        [
            (name, str(y), p, f"{c:.2f}", f"{math.log(c):.{d}f}", f"{loss:.{d}f}")
            for name, y, p, c, loss in zip(
                IDS, ACTUAL, PREDICTED, corrected.tolist(), losses.tolist(), strict=True
            )
        ],
        note="corrected: the probability that the model gave to what actually happened.",
    )
    record.say(
        f"The log loss is minus the mean of the logarithms: {nats:.{d}f} nats (natural logarithm). "
        f"With logarithms to base 10 the same loss is {bans:.{d}f} bans: {nats:.3f} / ln 10 = "
        f"{nats / math.log(10):.3f}."
    )
    record.say(
        f"So the {bans:.3f} that is often printed for this table is not another loss but another "
        "unit, next to a formula that says ln. Models compare alike in either; a number without "
        "its unit does not. Training uses nats."
    )
    record.metric("log_loss", nats, "nat")
    record.headline("log loss of the eight", nats, unit="nat")
    record.metric("log_loss_base_10", bans, "ban")

    reference = exact_log_loss()
    rows = []
    for name, (title, way) in WAYS.items():
        cells = [title]
        for dtype in (np.float64, np.float32):
            with jax.enable_x64(True):
                computed = way(dtype)
            assert computed.dtype == dtype
            value = dtype(computed)
            ulps = ulps_from(reference, value)
            cells += [np.format_float_positional(value), f"{ulps:+.2f}"]
            record.metric(f"ulps.{name}.{np.dtype(dtype).name}", ulps, "ulp")
        rows.append(tuple(cells))
    record.table(
        "The same loss in five ways",
        ("computed from", "float64", "ulp", "float32", "ulp"),
        rows,
        note=(
            f"The value, by 40-digit arithmetic: {reference:.20f}. ulp: the distance from it in "
            "units of the last place, that is, of the spacing of floating point numbers there. "
            "Formula: −mean(y·log p + (1 − y)·log(1 − p)). Logits: log(p / (1 − p)); softmax: two "
            "classes with the logits 0 and that. Before any loss is computed, 0.94 or its logit "
            "has been rounded to the type, which moves the value a little too."
        ),
    )


def exact_log_loss() -> decimal.Decimal:
    """The log loss of the table as printed, to 40 digits, in nats."""
    with decimal.localcontext(prec=40):
        probs = [decimal.Decimal(p) for p in PREDICTED]
        logs = [(p if y else 1 - p).ln() for p, y in zip(probs, ACTUAL, strict=True)]
        return -sum(logs, decimal.Decimal(0)) / len(logs)


def ulps_from(reference: decimal.Decimal, value: np.floating) -> float:
    """How far `value` is from the reference, in units of the last place of the value's type."""
    with decimal.localcontext(prec=40):
        spacing = decimal.Decimal(float(np.spacing(value)))
        return float((decimal.Decimal(float(value)) - reference) / spacing)


def _corrected(dtype: type) -> jax.Array:
    """−mean(log(corrected))."""
    probs, labels = _probs(dtype), jnp.array(ACTUAL)
    return -jnp.mean(jnp.log(jnp.where(labels == 1, probs, 1 - probs)))


def _formula(dtype: type) -> jax.Array:
    """−mean(y·log p + (1 − y)·log(1 − p))."""
    probs, labels = _probs(dtype), jnp.array(ACTUAL, dtype)
    return -jnp.mean(labels * jnp.log(probs) + (1 - labels) * jnp.log(1 - probs))


def _probabilities(dtype: type) -> jax.Array:
    return jbce.mean(jbce.binary_cross_entropy(_probs(dtype), jnp.array(ACTUAL)))


def _logits(dtype: type) -> jax.Array:
    return jbce.mean(jbce.sigmoid_binary_cross_entropy(_log_odds(dtype), jnp.array(ACTUAL)))


def _two_classes(dtype: type) -> jax.Array:
    """A softmax over the logits (0, log-odds) gives class 1 the probability p."""
    log_odds = _log_odds(dtype)
    logits = jnp.stack([jnp.zeros_like(log_odds), log_odds], axis=-1)
    return jbce.mean(jbce.softmax_cross_entropy_with_integer_labels(logits, jnp.array(ACTUAL)))


WAYS: dict[str, tuple[str, Callable[[type], jax.Array]]] = {
    "corrected": ("mean of −log(corrected)", _corrected),
    "formula": ("formula with y and 1 − y", _formula),
    "probs": ("jbce: probabilities", _probabilities),
    "logits": ("jbce: logits, sigmoid", _logits),
    "softmax": ("jbce: logits, softmax", _two_classes),
}


def _probs(dtype: type) -> jax.Array:
    return jnp.array([float(p) for p in PREDICTED], dtype)


def _log_odds(dtype: type) -> jax.Array:
    """log(p / (1 − p)), rounded to `dtype` once."""
    probs = np.array([float(p) for p in PREDICTED])
    return jnp.array(np.log(probs) - np.log1p(-probs), dtype)
