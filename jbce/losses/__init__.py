"""Losses: (logits, labels) to one loss per example, and the reductions of them."""

from ._binary import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from ._categorical import log_odds as log_odds
from ._categorical import softmax_cross_entropy as softmax_cross_entropy
from ._categorical import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from ._distributions import distillation_loss as distillation_loss
from ._distributions import (
    softmax_cross_entropy_with_target_logits as softmax_cross_entropy_with_target_logits,
)
from ._distributions import (
    softmax_jensen_shannon_divergence as softmax_jensen_shannon_divergence,
)
from ._distributions import softmax_kl_divergence as softmax_kl_divergence
from ._divergences import generalized_kl_divergence as generalized_kl_divergence
from ._divergences import jensen_shannon_divergence as jensen_shannon_divergence
from ._divergences import kl_divergence as kl_divergence
from ._divergences import kl_divergence_with_log_targets as kl_divergence_with_log_targets
from ._focal import asymmetric_loss as asymmetric_loss
from ._focal import sigmoid_focal_loss as sigmoid_focal_loss
from ._focal import (
    softmax_focal_loss_with_integer_labels as softmax_focal_loss_with_integer_labels,
)
from ._noisy import (
    generalized_cross_entropy_with_integer_labels as generalized_cross_entropy_with_integer_labels,
)
from ._noisy import (
    symmetric_cross_entropy_with_integer_labels as symmetric_cross_entropy_with_integer_labels,
)
from ._probabilities import binary_cross_entropy as binary_cross_entropy
from ._probabilities import categorical_cross_entropy as categorical_cross_entropy
from ._reduce import mean as mean
from ._reduce import total as total
from ._variants import (
    balanced_softmax_loss_with_integer_labels as balanced_softmax_loss_with_integer_labels,
)
from ._variants import poly_loss_cross_entropy as poly_loss_cross_entropy
from ._variants import safe_softmax_cross_entropy as safe_softmax_cross_entropy
from ._variants import smooth_labels as smooth_labels

__all__ = [name for name in dir() if not name.startswith("_")]
