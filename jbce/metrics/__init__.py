"""Metrics: (logits, labels) of a whole evaluation set to one number that judges the model.

Every metric takes the same arguments. `labels` of the shape of `logits` are binary, with one logit
per example; integer `labels` with one axis fewer are class indices over the last axis of `logits`.
`weights` says how much an example counts and `where` which examples exist. All are pure functions
that run under `jit`, and under `vmap` over a leading axis of models:

    jax.vmap(roc_auc, in_axes=(0, None))(logits_of_models, labels)

`from_probs(metric)` is the same metric of probabilities; `stream` evaluates metrics batch by batch;
`bootstrap`, `influence` and `compare` say how sure a metric is, and a difference of two.

An undefined example (NaN logits, several classes at +inf or none that exists, a label that is not
one) makes a metric NaN, unless `where` leaves it out or its weight is 0; so does a metric that is
not defined (nothing counts, or only one class where two are compared). A row without any class
costs a log loss of 0, as everywhere in jbce. Sums run in float64,
whatever the dtype of the logits, so they hold at 1e8 examples.
"""

from ._accuracy import accuracy as accuracy
from ._accuracy import top_k_accuracy as top_k_accuracy
from ._calibration import Reliability as Reliability
from ._calibration import expected_calibration_error as expected_calibration_error
from ._calibration import reliability as reliability
from ._class_wise import f1_score as f1_score
from ._class_wise import precision as precision
from ._class_wise import recall as recall
from ._compare import Comparison as Comparison
from ._compare import compare as compare
from ._compare import compare_estimates as compare_estimates
from ._confusion import balanced_accuracy as balanced_accuracy
from ._confusion import confusion_matrix as confusion_matrix
from ._confusion import matthews_correlation as matthews_correlation
from ._decomposition import BrierDecomposition as BrierDecomposition
from ._decomposition import brier_decomposition as brier_decomposition
from ._histogram import BoundedRocAuc as BoundedRocAuc
from ._histogram import histogram_roc_auc as histogram_roc_auc
from ._intervals import Interval as Interval
from ._intervals import confidence_interval as confidence_interval
from ._intervals import influence as influence
from ._over_seeds import compare_over_seeds as compare_over_seeds
from ._paired import Moments as Moments
from ._paired import PairedStream as PairedStream
from ._paired import paired_stream as paired_stream
from ._probabilities import from_probs as from_probs
from ._proper import brier_score as brier_score
from ._proper import log_loss as log_loss
from ._ranking import PrecisionRecallCurve as PrecisionRecallCurve
from ._ranking import RocCurve as RocCurve
from ._ranking import average_precision as average_precision
from ._ranking import precision_recall_curve as precision_recall_curve
from ._ranking import roc_auc as roc_auc
from ._ranking import roc_curve as roc_curve
from ._resampling import bootstrap as bootstrap
from ._smooth import smooth_calibration_error as smooth_calibration_error
from ._stream import Stream as Stream
from ._stream import Sums as Sums
from ._stream import stream as stream

__all__ = [name for name in dir() if not name.startswith("_")]
