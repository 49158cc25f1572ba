"""Runs Optax's own tests of its classification losses with ours in their place.

In a process of its own (`python optax_losses.py`), with jax's defaults, as Optax's tests need them.
"""

import sys
import unittest

from absl import flags
from optax.losses import _classification, _classification_test

import jbce

OURS = (
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
)

CASES = (
    "GeneralizedKLDivergenceTest",
    "KLDivergenceTest",
    "KLDivergenceWithLogTargetsTest",
    "PolyLossTest",
    "SafeSoftmaxCrossEntropyTest",
    "SigmoidCrossEntropyTest",
    "SigmoidFocalLossTest",
    "SoftmaxCrossEntropyTest",
    "SoftmaxCrossEntropyWithIntegerLabelsTest",
)  # the others are about hinges, sparsemax and CTC

if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    for name in OURS:
        assert hasattr(_classification, name), name
        setattr(_classification, name, getattr(jbce, name))
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite(load(vars(_classification_test)[name]) for name in CASES)
    result = unittest.TextTestRunner(stream=sys.stdout).run(suite)
    bad = [case.id() for case, _ in (*result.failures, *result.errors)]
    print(f"{result.testsRun} tests of Optax's, of which these fail: {bad}")
    sys.exit(bool(bad))
