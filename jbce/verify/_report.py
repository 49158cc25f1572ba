"""What a check of gradients says."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple


class GradientError(AssertionError):
    """A gradient is wrong, or could not be shown to be right."""


class Worst(NamedTuple):
    """The entry that is furthest from its true value."""

    path: str
    """Where in the arguments, as "argument 0['kernel']"."""
    index: tuple[int, ...]
    mode: str
    came: float
    """What the derivative rule (in exact arithmetic) or the floats (if they are to blame) say."""
    lower: float
    """The true value is at least this ..."""
    upper: float
    """... and at most this."""
    ulps: float
    """How far apart they are, in units in the last place of the entry's dtype."""

    def __str__(self) -> str:
        place = self.path + (f"[{', '.join(map(str, self.index))}]" if self.index else "")
        true = f"{self.lower:.9g}"
        if f"{self.upper:.9g}" != true:
            true = f"between {true} and {self.upper:.9g}"
        return (
            f"{place}, {self.mode} mode: {self.came:.9g} came, {true} is true ({self.ulps:.3g} ulp)"
        )


class Caught(NamedTuple):
    """The smallest errors that this very check would have caught in the derivative rule."""

    scale: float
    """A relative error of all entries."""
    flip: float
    """The size of an entry whose sign is wrong."""
    drop: float
    """The size of an entry that is missing."""


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """The verdict on a gradient; `str` says it in sentences."""

    verdict: Literal["right", "wrong", "undecided"]
    blame: Literal["rule", "arithmetic"] | None
    """Whether the derivative rule is wrong, or right and lost in rounding."""
    worst: Worst | None
    """The worst entry; of floats, if the rule is right."""
    undecided: Sequence[str]
    """What could not be settled, and what would settle it."""
    caught: Caught | None
    notes: Sequence[str]
    order: int
    num_entries: int
    evidence: Literal["enclosures", "differences"]
    """What the verdict rests on: proof, or numerical differentiation."""

    def raise_if_wrong(self) -> None:
        """Raises:
        GradientError: the verdict is "wrong".
        """
        if self.verdict == "wrong":
            raise GradientError(str(self))

    def __str__(self) -> str:
        what = "gradient" if self.order == 1 else "second derivative"
        lines = [f"{self.verdict.upper()}: the {what}, {self.num_entries:,} entries."]
        if self.verdict == "wrong" and self.blame == "rule":
            lines.append("The derivative rule is wrong, in exact arithmetic too. The worst entry:")
        elif self.verdict == "wrong":
            lines.append(
                "The rule is right, but floating point has lost more than half of its digits; "
                "jbce.verify.audit shows where. The worst entry:"
            )
        elif self.verdict == "right":
            proof = "lies in its enclosure" if self.evidence == "enclosures" else "agrees"
            lines.append(
                f"Every entry of the rule {proof}, and the floats have kept half of their digits "
                "against the largest entry, or what the conditioning leaves. The worst float:"
            )
        elif self.worst is not None:
            lines.append("Of the entries that can be judged none is wrong. The worst float:")
        if self.worst is not None:
            lines.append(f"  {self.worst}")
        lines += [f"Undecided: {reason}" for reason in self.undecided]
        if self.caught and self.verdict == "right" and math.isfinite(self.caught.flip):
            lines.append(
                f"Would have caught: a factor of 1 ± {self.caught.scale:.1g} on all entries, the "
                f"wrong sign of an entry of {self.caught.flip:.1g}, the loss of one of "
                f"{self.caught.drop:.1g}."
            )
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)


def rounded(ball: Any) -> tuple[float, float]:
    """A ball as an interval of floats, for reading."""
    return float(ball.lower()), float(ball.upper())
