"""Cross-entropy for research in JAX: exact losses, verified gradients, batched evaluation.

The losses and their reductions are here by name; the submodules load when first touched:

    jbce.numerics   exact functions and their derivatives, under all losses
    jbce.losses     (logits, labels) to one loss per example, and reductions
    jbce.logdomain  the logarithms of the losses, where a loss would underflow
    jbce.curvature  gradient norms and second derivatives in logits, in closed form
    jbce.linear     losses of a linear layer, without its logits
    jbce.metrics    judging models from logits: metrics, streams, intervals, comparisons
    jbce.calibration   fitted maps of logits, whose probabilities can be believed
    jbce.training   Flax classifiers fitted with Optax       (extra: training)
    jbce.verify     judging any function: enclosures, gradients, audits  (extra: verify)
    jbce.cli        the commands `jbce check`, `audit`, `evaluate`, `calibrate`, `explain`
    jbce.plots      figures from results                     (extra: evaluate)
"""

import importlib as _importlib
from types import ModuleType as _ModuleType

from .losses import asymmetric_loss as asymmetric_loss
from .losses import (
    balanced_softmax_loss_with_integer_labels as balanced_softmax_loss_with_integer_labels,
)
from .losses import binary_cross_entropy as binary_cross_entropy
from .losses import categorical_cross_entropy as categorical_cross_entropy
from .losses import distillation_loss as distillation_loss
from .losses import (
    generalized_cross_entropy_with_integer_labels as generalized_cross_entropy_with_integer_labels,
)
from .losses import generalized_kl_divergence as generalized_kl_divergence
from .losses import jensen_shannon_divergence as jensen_shannon_divergence
from .losses import kl_divergence as kl_divergence
from .losses import kl_divergence_with_log_targets as kl_divergence_with_log_targets
from .losses import log_odds as log_odds
from .losses import mean as mean
from .losses import poly_loss_cross_entropy as poly_loss_cross_entropy
from .losses import safe_softmax_cross_entropy as safe_softmax_cross_entropy
from .losses import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from .losses import sigmoid_focal_loss as sigmoid_focal_loss
from .losses import smooth_labels as smooth_labels
from .losses import softmax_cross_entropy as softmax_cross_entropy
from .losses import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from .losses import (
    softmax_cross_entropy_with_target_logits as softmax_cross_entropy_with_target_logits,
)
from .losses import softmax_focal_loss_with_integer_labels as softmax_focal_loss_with_integer_labels
from .losses import softmax_jensen_shannon_divergence as softmax_jensen_shannon_divergence
from .losses import softmax_kl_divergence as softmax_kl_divergence
from .losses import (
    symmetric_cross_entropy_with_integer_labels as symmetric_cross_entropy_with_integer_labels,
)
from .losses import total as total

_SUBMODULES = (
    "calibration",
    "cli",
    "curvature",
    "linear",
    "logdomain",
    "losses",
    "metrics",
    "numerics",
    "plots",
    "training",
    "verify",
)
__all__ = [name for name in dir() if not name.startswith("_") and name not in _SUBMODULES]


def __getattr__(name: str) -> _ModuleType:
    if name in _SUBMODULES:
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})
