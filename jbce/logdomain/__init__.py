"""The logarithms of losses, under their names: exact where a loss itself would underflow.

A loss of 1e-30000 has the logarithm −69078, which is as good a float32 as any. The gradient of the
logarithm is that of the loss relative to the loss, so that training on the logarithm of the mean
loss goes on where the loss has become too small to matter; softmax and optimiser stay as they are.
"""

from ._binary import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from ._binary import sigmoid_focal_loss as sigmoid_focal_loss
from ._categorical import (
    generalized_cross_entropy_with_integer_labels as generalized_cross_entropy_with_integer_labels,
)
from ._categorical import softmax_cross_entropy as softmax_cross_entropy
from ._categorical import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from ._categorical import (
    softmax_focal_loss_with_integer_labels as softmax_focal_loss_with_integer_labels,
)
from ._categorical import (
    symmetric_cross_entropy_with_integer_labels as symmetric_cross_entropy_with_integer_labels,
)
from ._reduce import mean as mean
from ._reduce import total as total

__all__ = [name for name in dir() if not name.startswith("_")]
