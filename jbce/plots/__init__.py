"""Figures from results: training, calibration, ranking, scores, and differences of models.

Every function takes results by label, and returns a Matplotlib `Figure` of its own (no state is
shared with `matplotlib.pyplot`); `svg` turns a figure into text, the same text every time.

    training_curve          the loss per epoch
    reliability_diagram     accuracy against confidence       of jbce.metrics.reliability
    roc_curve               true against false positive rate  of jbce.metrics.roc_curve
    precision_recall_curve  precision against recall          of jbce.metrics.precision_recall_curve
    score_distributions     the positives' and the negatives' log-odds         of score_histogram
    metric_differences      models against a baseline         of jbce.metrics.compare
    audit_heatmap           errors in ulp over the margin     of jbce.verify.audit

Needs the extra `evaluate`: python -m pip install 'jbce[evaluate]'
"""

from ._audit import audit_heatmap as audit_heatmap
from ._canvas import svg as svg
from ._differences import metric_differences as metric_differences
from ._ranking import precision_recall_curve as precision_recall_curve
from ._ranking import roc_curve as roc_curve
from ._reliability import reliability_diagram as reliability_diagram
from ._scores import ScoreHistogram as ScoreHistogram
from ._scores import score_distributions as score_distributions
from ._scores import score_histogram as score_histogram
from ._training import training_curve as training_curve

__all__ = [name for name in dir() if not name.startswith("_")]
