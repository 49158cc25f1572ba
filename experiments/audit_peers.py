"""Where do cross-entropies lose their digits: ours, Optax's, jax.nn's, PyTorch's, Keras's?

Command:  python -m experiments audit_peers
Minutes:  1
Expect:   ours below 4 ulp at every margin and dtype; every other softmax cross-entropy loses all
          digits past a margin of 17 in float32 and 6 in bfloat16.

Rows of three classes, the label ahead of the others by a margin (binary: the logit, label 1), from
−30 to 60: value, gradient and second derivative beside the function itself in exact arithmetic
(`jbce.verify.audit`). PyTorch (float32) and Keras come with the extra `peers` and are left out
where they are not installed.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

import jbce
from jbce import verify
from jbce.plots import audit_heatmap

from ._categorical import usual
from ._record import Record


@dataclass(frozen=True)
class Config:
    """What to try."""

    step: float = 1.5
    """Between margins."""


def run(config: Config, record: Record) -> None:
    """Audit everyone; a table, sentences and heat maps."""
    margins = np.arange(-30, 60 + config.step, config.step).tolist()
    reports: dict[str, verify.AuditReport] = {}
    for name, loss in _jax_losses().items():
        reports[name] = verify.audit(loss, margins=margins)
    for name, (reference, derivatives) in _torch_losses().items():
        reports[name] = verify.audit(
            reference, dtypes=["float32"], margins=margins, derivatives=derivatives
        )
    for dtype in DTYPES:
        rows = []
        for name, report in reports.items():
            if dtype in report.dtypes:
                cells = [report.worst(dtype, quantity) for quantity in QUANTITIES]
                rows.append((name, *("" if np.isnan(c) else f"{c:.3g}" for c in cells)))
                record.metric(f"{name} {dtype} loss".replace(" ", "_"), cells[0], "ulp")
        record.table(f"The worst error in ulp, {dtype} logits", ("loss", *QUANTITIES), rows)
    for name in ("jbce, integer", "Optax, integer"):
        worst = max(reports[name].worst(dtype, "loss") for dtype in DTYPES)
        record.headline(f"worst loss over all margins and dtypes, {name}", worst, unit="ulp")
    for name, report in reports.items():
        record.say(f"{name}: " + " ".join(report.collapse(d) for d in report.dtypes))
    record.figure(
        "audit",
        audit_heatmap(reports),
        "Errors of the loss and of its gradient at the label, in ulp, over the margin.",
    )


DTYPES = ("float32", "bfloat16", "float16")
QUANTITIES = ("loss", "gradient at the label", "other gradients", "second derivative")


def _jax_losses() -> dict[str, Callable[..., Any]]:
    losses = {
        "jbce, binary": jbce.sigmoid_binary_cross_entropy,
        "Optax, binary": optax.sigmoid_binary_cross_entropy,
        "jbce, integer": jbce.softmax_cross_entropy_with_integer_labels,
        "Optax, integer": optax.softmax_cross_entropy_with_integer_labels,
        "jax.nn, integer": usual,
        "jbce, dense": jbce.softmax_cross_entropy,
        "Optax, dense": optax.softmax_cross_entropy,
    }
    return losses | _keras_losses()


def _keras_losses() -> dict[str, Callable[..., Any]]:
    if not importlib.util.find_spec("keras"):
        return {}
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras: Any = importlib.import_module("keras")

    def integer(logits: Any, labels: Any) -> Any:
        return keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    def binary(logits: Any, labels: Any) -> Any:
        return keras.ops.binary_crossentropy(labels, logits, from_logits=True)

    return {"Keras, binary": binary, "Keras, integer": integer}


def _torch_losses() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    if not importlib.util.find_spec("torch"):
        return {}
    torch: Any = importlib.import_module("torch")
    functional = torch.nn.functional

    def three(loss: Callable[..., Any], direction: Callable[..., Any]) -> Callable[..., Any]:
        def derivatives(logits: Any, labels: Any) -> Any:
            x = torch.from_numpy(logits.copy()).requires_grad_()
            y = torch.from_numpy(labels.copy())
            losses = loss(x, y.long() if labels.dtype.kind == "i" else y)
            (slopes,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
            (seconds,) = torch.autograd.grad(direction(slopes).sum(), x)
            seconds = seconds if seconds.ndim == 1 else seconds[:, 0]
            return [tensor.detach().numpy() for tensor in (losses, slopes, seconds)]

        return derivatives

    return {
        "PyTorch, binary": (
            optax.sigmoid_binary_cross_entropy,
            three(
                lambda x, y: functional.binary_cross_entropy_with_logits(x, y, reduction="none"),
                lambda slopes: slopes,
            ),
        ),
        "PyTorch, integer": (
            optax.softmax_cross_entropy_with_integer_labels,
            three(
                lambda x, y: functional.cross_entropy(x, y, reduction="none"),
                lambda slopes: slopes[:, 0],
            ),
        ),
    }
