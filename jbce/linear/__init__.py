"""Losses of a linear layer, hidden @ kernel, whose logits never exist all at once.

For large vocabularies and many labels: memory does not grow with the number of classes, classes
may be spread over devices, and every transformation works, forward mode and Hessians too.
"""

from ._binary import (
    linear_sigmoid_binary_cross_entropy as linear_sigmoid_binary_cross_entropy,
)
from ._softmax import linear_log_odds as linear_log_odds
from ._softmax import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from ._top_k import linear_top_k as linear_top_k

__all__ = [name for name in dir() if not name.startswith("_")]
