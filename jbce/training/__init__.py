"""Training: Flax classifiers, fitted with Optax inside one compiled function.

Needs flax, optax and rich, which come with the extra: `pip install 'jbce[training]'`.
"""

from ._fit import DivergenceError as DivergenceError
from ._fit import FitResult as FitResult
from ._fit import fit as fit
from ._loop import History as History
from ._models import MLP as MLP
from ._models import LogisticRegression as LogisticRegression

__all__ = [name for name in dir() if not name.startswith("_")]
