"""Exact functions and their derivatives, under all losses; they have never heard of labels."""

from ._logistic import log_sigmoid as log_sigmoid
from ._logistic import logistic_density as logistic_density
from ._logistic import sigmoid as sigmoid
from ._logistic import softplus as softplus
from ._softmax import log_softmax as log_softmax
from ._softmax import logsumexp as logsumexp
from ._softmax import one_minus_softmax as one_minus_softmax
from ._softmax import softmax as softmax
from ._softmax import softmax_tangent as softmax_tangent

__all__ = [name for name in dir() if not name.startswith("_")]
