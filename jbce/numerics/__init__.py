"""Exact functions and their derivatives, under all losses; they have never heard of labels."""

from ._entropy import binary_entropy as binary_entropy
from ._entropy import entropy as entropy
from ._log_sum import log_mixture as log_mixture
from ._log_sum import logaddexp as logaddexp
from ._log_sum import safe_log as safe_log
from ._logistic import log_sigmoid as log_sigmoid
from ._logistic import logistic_density as logistic_density
from ._logistic import sigmoid as sigmoid
from ._logistic import softplus as softplus
from ._max_tail import MaxTail as MaxTail
from ._max_tail import exp_of_difference as exp_of_difference
from ._max_tail import max_tail as max_tail
from ._probability import log1mexp as log1mexp
from ._probability import logit as logit
from ._probability import xlogy as xlogy
from ._small import binary_negentropy as binary_negentropy
from ._small import expm1mx as expm1mx
from ._small import exprel as exprel
from ._small import log_softplus as log_softplus
from ._softmax import log_softmax as log_softmax
from ._softmax import logsumexp as logsumexp
from ._softmax import one_minus_softmax as one_minus_softmax
from ._softmax import softmax as softmax
from ._softmax import softmax_tangent as softmax_tangent
from ._sum import compensated_sum as compensated_sum

__all__ = [name for name in dir() if not name.startswith("_")]
