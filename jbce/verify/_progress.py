"""A line on the terminal that says what is going on, once it has taken a while."""

import sys
import time

_PATIENCE = 2.0  # seconds


class Progress:
    """Says stages on standard error, if somebody watches and it takes long."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.shown = False

    def says(self, stage: str) -> None:
        """Names what starts now."""
        seconds = time.monotonic() - self.started
        if seconds > _PATIENCE and sys.stderr.isatty():
            print(f"\rverify: {stage} ({seconds:.0f} s) ...\033[K", end="", file=sys.stderr)
            self.shown = True

    def ends(self) -> None:
        """Clears the line."""
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
