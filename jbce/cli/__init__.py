"""The command line: `jbce check` and `jbce audit`."""

from ._main import main as main

__all__ = ["main"]
