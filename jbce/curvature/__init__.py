"""Gradients and second derivatives of cross-entropies in their logits, in closed form.

In its logits a cross-entropy has one second derivative that goes by three names: Hessian, Fisher
information, and the middle factor of the Gauss-Newton matrix. It does not depend on the label, only
on the mass of the labels (1), and is diag(p) − p·pᵀ, or σ'(x) for a binary label.
"""

from ._gradient_norm import sigmoid_gradient_norm as sigmoid_gradient_norm
from ._gradient_norm import softmax_gradient_norm as softmax_gradient_norm
from ._gradient_norm import (
    softmax_gradient_norm_with_integer_labels as softmax_gradient_norm_with_integer_labels,
)
from ._products import gauss_newton_product as gauss_newton_product
from ._products import sigmoid_hessian_product as sigmoid_hessian_product
from ._products import softmax_hessian_diagonal as softmax_hessian_diagonal
from ._products import softmax_hessian_factor_product as softmax_hessian_factor_product
from ._products import softmax_hessian_product as softmax_hessian_product

__all__ = [name for name in dir() if not name.startswith("_")]
