"""Losses: (logits, labels) to one loss per example, and the reductions of them."""

from ._binary import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from ._categorical import log_odds as log_odds
from ._categorical import softmax_cross_entropy as softmax_cross_entropy
from ._categorical import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from ._probabilities import binary_cross_entropy as binary_cross_entropy
from ._probabilities import categorical_cross_entropy as categorical_cross_entropy
from ._reduce import mean as mean
from ._reduce import total as total

__all__ = [name for name in dir() if not name.startswith("_")]
