"""Training: Flax classifiers, fitted with Optax inside one compiled function.

Needs flax, optax, grain, orbax-checkpoint, polars, rich and safetensors, which come with the extra:
`pip install 'jbce[training]'`.
"""

from ._callbacks import JSONLines as JSONLines
from ._callbacks import Report as Report
from ._checkpoints import CheckpointError as CheckpointError
from ._checkpoints import Checkpoints as Checkpoints
from ._checkpoints import CheckpointWarning as CheckpointWarning
from ._convex import Logistic as Logistic
from ._convex import fit_logistic_regression as fit_logistic_regression
from ._data import Data as Data
from ._devices import WorkerLostError as WorkerLostError
from ._files import Files as Files
from ._fit import FitResult as FitResult
from ._fit import fit as fit
from ._loop import History as History
from ._models import CNN as CNN
from ._models import MLP as MLP
from ._models import LogisticRegression as LogisticRegression
from ._saved import load_model as load_model
from ._saved import save_model as save_model
from ._sweep import sweep as sweep
from ._sweep_program import Trial as Trial
from ._sweep_result import SweepResult as SweepResult
from ._trouble import DivergenceError as DivergenceError

__all__ = [name for name in dir() if not name.startswith("_")]
