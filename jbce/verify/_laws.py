"""What holds for every cross-entropy, in exact arithmetic."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import as_floating
from ._enclose import enclosed
from ._interpreter import Undecided
from ._signature import KINDS, Kind, kind_of


class Law(NamedTuple):
    """One law, and whether it holds."""

    name: str
    verdict: Literal["right", "wrong", "undecided"]
    detail: str

    def __str__(self) -> str:
        return f"{self.verdict.upper():9s} {self.name}" + (f": {self.detail}" * bool(self.detail))


class LawsReport(NamedTuple):
    """The laws of a loss."""

    laws: tuple[Law, ...]

    @property
    def verdict(self) -> Literal["right", "wrong", "undecided"]:
        """Wrong beats undecided beats right."""
        verdicts = {law.verdict for law in self.laws}
        if "wrong" in verdicts:
            return "wrong"
        return "undecided" if "undecided" in verdicts else "right"

    def __str__(self) -> str:
        return "\n".join(map(str, self.laws))


def check_laws(
    loss: Callable[..., Any], logits: Any, labels: Any, *, kind: Kind | None = None
) -> LawsReport:
    """Judges a loss by what holds for every cross-entropy, in exact arithmetic.

    Categorical: a number that is added to all logits changes nothing; the rows of the gradient sum
    to 0; classes may change places; the Hessian is positive semi-definite (along random
    directions). Binary: the loss of x and label 1 is that of −x and label 0; it is convex.

    Args:
        loss: `(logits, labels)` to one loss per example, binary or categorical over the last axis.
        logits: of the shape `[batch, classes]`, or `[batch]` for a binary loss.
        labels: what the loss takes.
        kind: "binary", "integer" or "dense" labels; found out if not named.

    Returns:
        A report: the `laws` with their verdicts, and a `verdict` of all.

    Raises:
        TypeError: the loss is none of the three kinds.

    Example:
        >>> import jax, jax.numpy as jnp, jbce
        >>> logits = jax.random.normal(jax.random.key(0), (4, 3))
        >>> loss = jbce.softmax_cross_entropy_with_integer_labels
        >>> print(check_laws(loss, logits, jnp.array([0, 1, 2, 0])))
        RIGHT     shift invariance
        RIGHT     rows of the gradient sum to 0
        RIGHT     permutation equivariance
        RIGHT     positive semi-definite Hessian
        >>> def wrong(x, y):
        ...     return loss(x, y) - x[:, 0]
        >>> check_laws(wrong, logits, jnp.array([0, 1, 2, 0])).verdict
        'wrong'
    """
    kind = kind_of(loss) if kind is None else kind
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}, but {kind!r} came.")
    logits, labels = as_floating("logits", logits), jnp.asarray(labels)
    random = np.random.default_rng(0)

    def gradient(x: Any) -> Any:
        return jax.grad(lambda x: jnp.sum(loss(x, labels)))(x)

    directions = [
        jnp.asarray(random.integers(-8, 9, logits.shape) / 8, logits.dtype) for _ in range(3)
    ]

    def curvatures(x: Any) -> Any:
        return [jnp.sum(d * jax.jvp(gradient, (x,), (d,))[1]) for d in directions]

    if kind == "binary":
        ones, zeros = jnp.ones_like(logits), jnp.zeros_like(logits)
        laws = [
            _vanishes("L(x, 1) = L(−x, 0)", lambda x: loss(x, ones) - loss(-x, zeros), logits),
            _is_positive("positive second derivative", curvatures, logits),
        ]
        return LawsReport(tuple(laws))

    order = random.permutation(logits.shape[-1])
    if kind == "integer":
        moved = jnp.asarray(np.argsort(order))[labels]
    else:
        moved = labels[..., order]

    def permuted(x: Any) -> Any:
        there = jax.grad(lambda x: jnp.sum(loss(x[..., order], moved)))(x)
        return [loss(x, labels) - loss(x[..., order], moved), gradient(x) - there]

    # Dense labels sum to 1 within a few ulps only, and both laws are off by what is missing.
    eps = 0.0 if kind == "integer" else 8 * float(jnp.finfo(logits.dtype).eps)
    shift = jnp.asarray(0.625, logits.dtype)
    laws = [
        _vanishes(
            "shift invariance", lambda x: loss(x + shift, labels) - loss(x, labels), logits, eps
        ),
        _vanishes("rows of the gradient sum to 0", lambda x: jnp.sum(gradient(x), -1), logits, eps),
        _vanishes("permutation equivariance", permuted, logits),
        _is_positive("positive semi-definite Hessian", curvatures, logits),
    ]
    return LawsReport(tuple(laws))


def _bounds(function: Callable[..., Any], logits: Any, *, widen: bool = False) -> tuple[Any, Any]:
    found = enclosed(function, (logits,), widen=widen)
    enclosures = jax.tree.leaves(found, is_leaf=lambda e: hasattr(e, "lower"))
    lower = np.concatenate([np.ravel(e.lower) for e in enclosures])
    upper = np.concatenate([np.ravel(e.upper) for e in enclosures])
    return lower, upper


def _vanishes(name: str, function: Callable[..., Any], logits: Any, tolerance: float = 0.0) -> Law:
    """`tolerance` is for what labels that are rounded leave of a sum that should be 1."""
    try:
        lower, upper = _bounds(function, logits)
    except Undecided as undecided:
        return Law(name, "undecided", str(undecided))
    if np.isnan(lower).any():
        return Law(name, "undecided", "something is not a number")
    off = np.maximum(np.maximum(lower, -upper), 0)
    if off.max(initial=0) > tolerance:  # unless constants that are rounded explain it
        lower, upper = _bounds(function, logits, widen=True)
        off = np.maximum(np.maximum(lower, -upper), 0)
    if off.max(initial=0) > tolerance:
        at = int(np.argmax(off))
        return Law(name, "wrong", f"off by {off[at]:.6g} at {at}")
    return Law(name, "right", "")


def _is_positive(name: str, function: Callable[..., Any], logits: Any) -> Law:
    try:
        lower, upper = _bounds(function, logits)
    except Undecided as undecided:
        return Law(name, "undecided", str(undecided))
    if np.isnan(lower).any():
        return Law(name, "undecided", "something is not a number")
    if (upper < 0).any():
        return Law(name, "wrong", f"{upper.min():.6g} along a direction")
    return Law(name, "right", "")
