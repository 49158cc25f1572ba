"""The command line: `jbce check`, `audit`, `evaluate`, `calibrate` and `explain`.

check      is the gradient of a loss right?
audit      how many ulps is a loss off, and where does it collapse?
evaluate   every metric of models by their predictions in files, and which differences are real
calibrate  a map to honest probabilities, and what it is worth
explain    which examples make up the loss?
"""

from ._main import main as main

__all__ = ["main"]
