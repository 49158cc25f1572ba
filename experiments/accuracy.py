"""How many ulps are cross-entropies off: ours, Optax's, jax.nn's and PyTorch's?

Command:  python -m experiments accuracy
Minutes:  1.5
Expect:   ours at most 0.503 for the binary loss and 6 for the categorical one; the others lose
          every digit (1e7 ulp) of a confident example's loss, gradient or second derivative.

Binary: float32 logits taken evenly from all bit patterns, labels 0 and 1, but where results are
below the smallest normal number. Categorical, integer labels: rows of 2 to 1,000 classes, spreads
from 0.1 to 20, common offsets to ±1000, margins to 60, for every loss and gradient entry ≥ 1e-30.
All as written by their users, compiled where they can be: `optax.losses`, log-sum-exp minus the
label's logit with `jax.nn`, `torch.nn.functional`. PyTorch (the extra `peers`) is left out where it
is not installed. Errors are in units in the last place of the exact result.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jbce

from . import _categorical, certify
from ._record import Record


@dataclass(frozen=True)
class Config:
    """What to try."""

    stride: int = 5003
    """Of all float32 logits, one of so many."""
    max_classes: int = 1000
    """Leaves out rows that are longer."""


def run(config: Config, record: Record) -> None:
    """Measure everyone and tell the worst."""
    bits = np.arange(0, 2**32, config.stride, dtype=np.uint64).astype(np.uint32)
    logits = bits.view(np.float32)
    logits = logits[np.isfinite(logits)]
    peers = _binary_peers()
    _tell(
        record,
        f"Binary, the worst of {len(logits):,} logits, in ulps",
        {who: _binary_errors(derivatives, logits) for who, derivatives in peers.items()},
    )
    recipes = [r for r in _categorical.recipes(1) if r.num_classes <= config.max_classes]
    worst: dict[str, dict[str, float]] = {}
    for who, loss in _categorical_peers().items():
        tried = [_categorical.errors(loss, recipe) for recipe in recipes]
        worst[who] = {name: max(errors[name] for errors in tried) for name in tried[0]}
    _tell(record, f"Categorical, the worst of {len(recipes)} batches of rows, in ulps", worst)


def _tell(record: Record, title: str, worst: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(worst.values())))
    record.table(
        title, ("", *names), [(who, *(f"{e[n]:.3g}" for n in names)) for who, e in worst.items()]
    )
    for who, errors in worst.items():
        kind = title.split(",")[0].lower()
        record.headline(f"worst error, {kind}, {who}", max(errors.values()), unit="ulp")
        for name, ulps in errors.items():
            metric = f"{title.split(',')[0]} {who} {name}".lower().replace("'", "")
            record.metric(metric.replace(" ", "_").replace(".", "_"), ulps, "ulp")


def _binary_errors(derivatives: Callable[..., Any], logits: np.ndarray) -> dict[str, float]:
    worst: dict[str, float] = dict.fromkeys(certify.ORDERS, 0.0)
    for label in (0, 1):
        exact = certify.exact(jnp.asarray(logits), label)
        for name, found, truth in zip(
            certify.ORDERS, derivatives(logits, label), exact, strict=True
        ):
            ulps = _categorical.ulps(np.asarray(found, np.float64), np.asarray(truth))
            counts = np.abs(np.asarray(truth)) >= np.finfo(np.float32).smallest_normal
            worst[name] = max(worst[name], float(ulps[counts].max()))
    return worst


def _binary_peers() -> dict[str, Callable[..., Any]]:
    peers = {
        "jbce": _three_orders(jbce.sigmoid_binary_cross_entropy),
        "Optax": _three_orders(optax.sigmoid_binary_cross_entropy),
        "jax.nn": _three_orders(lambda x, y: jax.nn.softplus(x) - x * y),
    }
    return peers | ({"PyTorch": _torch_binary} if importlib.util.find_spec("torch") else {})


def _three_orders(loss: Callable[..., jax.Array]) -> Callable[..., Any]:
    def derivatives(logits: np.ndarray, label: int) -> Any:
        x = jnp.asarray(logits)
        labels = jnp.full(x.shape, label, x.dtype)

        def slope(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            return jax.grad(lambda x: function(x).sum())

        def value(x: jax.Array) -> jax.Array:
            return loss(x, labels)

        return [jax.jit(f)(x) for f in (value, slope(value), slope(slope(value)))]

    return derivatives


def _torch_binary(logits: np.ndarray, label: int) -> Any:
    torch = importlib.import_module("torch")
    x = torch.from_numpy(logits.copy()).requires_grad_()
    labels = torch.full_like(x, label)
    functional = torch.nn.functional
    losses = functional.binary_cross_entropy_with_logits(x, labels, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    return [tensor.detach().numpy() for tensor in (losses, gradient, second)]


def _categorical_peers() -> dict[str, Callable[..., Any]]:
    losses = {
        "jbce": jbce.softmax_cross_entropy_with_integer_labels,
        "Optax": optax.softmax_cross_entropy_with_integer_labels,
        "jax.nn": _categorical.usual,
    }
    peers = {who: certify.losses_and_gradients(loss) for who, loss in losses.items()}
    return peers | ({"PyTorch": _torch_categorical} if importlib.util.find_spec("torch") else {})


def _torch_categorical(logits: np.ndarray, labels: np.ndarray) -> Any:
    torch = importlib.import_module("torch")
    x = torch.from_numpy(logits).requires_grad_()
    losses = torch.nn.functional.cross_entropy(x, torch.from_numpy(labels).long(), reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), x)
    return losses.detach().numpy(), gradient.numpy()
