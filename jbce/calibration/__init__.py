"""Calibration: maps of logits, fitted to held-out labels, whose probabilities can be believed.

Every fit takes (logits, labels) as the metrics do and returns a NamedTuple that is called on
logits and gives calibrated logits, which go straight into losses and metrics:

    calibrated = fit_temperature(logits, labels)(new_logits)

A fit is the optimum itself, not some steps towards it: the weighted mean log loss is convex in the
parameters, and Newton's method in float64 goes to the rounding of its gradient. Fits run under
`jit`, under `vmap` over a leading axis of models or penalties, and are differentiable through the
optimum, in both modes:

    fitted = jax.vmap(fit_temperature, in_axes=(0, None))(logits_of_models, labels)
    calibrated = jax.vmap(lambda fitted, logits: fitted(logits))(fitted, logits_of_models)

An undefined example (NaN logits, a label that is not one) makes a fit NaN, unless `where` leaves it
out or its weight is 0.
"""

from ._binary import Beta as Beta
from ._binary import Platt as Platt
from ._binary import fit_beta as fit_beta
from ._binary import fit_platt as fit_platt
from ._cross_fit import cross_fit as cross_fit
from ._decomposition import Decomposition as Decomposition
from ._decomposition import Terms as Terms
from ._decomposition import decomposition as decomposition
from ._files import load as load
from ._files import save as save
from ._isotonic import Isotonic as Isotonic
from ._isotonic import fit_isotonic as fit_isotonic
from ._multiclass import Dirichlet as Dirichlet
from ._multiclass import Vector as Vector
from ._multiclass import fit_dirichlet as fit_dirichlet
from ._multiclass import fit_vector as fit_vector
from ._temperature import Temperature as Temperature
from ._temperature import fit_temperature as fit_temperature

__all__ = [name for name in dir() if not name.startswith("_")]
