"""Metrics: (logits, labels) of a whole evaluation set to one number that judges the model.

Every metric takes the same arguments. `labels` of the shape of `logits` are binary, with one logit
per example; integer `labels` with one axis fewer are class indices over the last axis of `logits`.
`weights` says how much an example counts and `where` which examples exist. All are pure functions
that run under `jit`, and under `vmap` over a leading axis of models:

    jax.vmap(roc_auc, in_axes=(0, None))(logits_of_models, labels)

An undefined example (NaN logits, several classes at +inf or none that exists, a label that is not
one) makes a metric NaN, unless `where` leaves it out or its weight is 0. Sums run in float64,
whatever the dtype of the logits, so they hold at 1e8 examples.
"""

from ._accuracy import accuracy as accuracy
from ._calibration import Reliability as Reliability
from ._calibration import expected_calibration_error as expected_calibration_error
from ._calibration import reliability as reliability
from ._proper import brier_score as brier_score
from ._proper import log_loss as log_loss
from ._ranking import roc_auc as roc_auc

__all__ = [name for name in dir() if not name.startswith("_")]
