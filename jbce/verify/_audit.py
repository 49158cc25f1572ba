"""How many ulps a loss is off, over margins and dtypes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._enclose import evaluate
from ._floats import ulp
from ._jet import Balls, ray
from ._program import as_function, stripped
from ._signature import Kind, kind_of

MARGINS = tuple(float(m) for m in np.arange(-30, 61, 1.5))
DTYPES = ("float32", "bfloat16", "float16")
QUANTITIES = ("loss", "gradient at the label", "other gradients", "second derivative")
NO_DIGIT = 0.5  # a relative error from which on nothing is right


class AuditRow(NamedTuple):
    """The errors at one margin, in units in the last place of what the loss returns."""

    dtype: str
    margin: float
    """The label's logit less the largest other one (binary: the logit, for label 1)."""
    ulps: dict[str, float]
    """By quantity: the loss, the gradient at the label and elsewhere, the second derivative."""
    relative: dict[str, float]
    """The same, as parts of the exact value."""


class AuditReport(NamedTuple):
    """How exact a loss is; `str` is a table with a sentence on where it collapses."""

    kind: Kind
    rows: tuple[AuditRow, ...]

    @property
    def dtypes(self) -> list[str]:
        """Those that were audited, in their order."""
        return list(dict.fromkeys(row.dtype for row in self.rows))

    def worst(self, dtype: str, quantity: str) -> float:
        """The largest error in ulps; NaN where nothing could be measured.

        Args:
            dtype: one of those that were audited.
            quantity: "loss", "gradient at the label", "other gradients" or "second derivative".

        Raises:
            ValueError: it is none of them.
        """
        if dtype not in self.dtypes:
            raise ValueError(f"`dtype` must be one of {self.dtypes}, but {dtype!r} came.")
        if quantity not in QUANTITIES:
            raise ValueError(f"`quantity` must be one of {QUANTITIES}, but {quantity!r} came.")
        return max(
            (
                row.ulps[quantity]
                for row in self.rows
                if row.dtype == dtype and quantity in row.ulps
            ),
            default=float("nan"),
        )

    def collapse(self, dtype: str) -> str:
        """Where it has no correct digit left, in one sentence."""
        places = [
            f"the {quantity} from a margin of {margin:g}"
            for quantity in QUANTITIES
            for side in (1, -1)
            if (margin := self._lost_from(dtype, quantity, side)) is not None
        ]
        measured = [self.worst(dtype, q) for q in QUANTITIES if self._has(q)]
        worst = max((ulps for ulps in measured if ulps == ulps), default=float("nan"))
        if places:
            return f"{dtype}: loses every digit of {', '.join(places)}."
        return f"{dtype}: never collapses; at worst {worst:.3g} ulp."

    def _lost_from(self, dtype: str, quantity: str, side: int) -> float | None:
        """The margin on one side of 0 from which on no digit is left, as far as is measured."""
        rows = sorted(
            (abs(row.margin), row.relative[quantity])
            for row in self.rows
            if row.dtype == dtype and quantity in row.relative and side * row.margin >= 0
        )
        lost = None
        for margin, relative in reversed(rows):
            if relative < NO_DIGIT:
                break
            lost = side * margin
        return lost if lost is not None and len(rows) > 1 and abs(lost) < rows[-1][0] else None

    def _has(self, quantity: str) -> bool:
        return any(quantity in row.ulps for row in self.rows)

    def __str__(self) -> str:
        dtypes, quantities = self.dtypes, [q for q in QUANTITIES if self._has(q)]
        width = max(map(len, quantities))
        lines = ["worst error in ulp".ljust(width) + "".join(d.rjust(12) for d in dtypes)]
        for quantity in quantities:
            cells = "".join(f"{self.worst(d, quantity):12.3g}" for d in dtypes)
            lines.append(quantity.ljust(width) + cells)
        return "\n".join(lines + [self.collapse(dtype) for dtype in dtypes])


def audit(
    fn: Callable[..., Any],
    reference: Callable[..., Any] | None = None,
    *,
    kind: Kind | None = None,
    dtypes: str | Sequence[Any] = DTYPES,
    margins: Sequence[float] = MARGINS,
    derivatives: Callable[..., Any] | None = None,
) -> AuditReport:
    """Measures value, gradient and second derivative of a loss, in ulps, over margins and dtypes.

    The truth is the function itself in exact arithmetic, with its derivative rules opened, at the
    logits as the dtype rounds them.

    Args:
        fn: `(logits, labels)` to one loss per example; optax's, jax.nn's, yours.
        reference: what `fn` is meant to compute, if not what it says.
        kind: "binary", "integer" or "dense" labels; found out if not named.
        dtypes: of the logits. (A loss of probabilities is none of logits: wrap it.)
        margins: the label's logit less the largest other one, of rows of 3 classes; for a binary
            loss the logit, for label 1.
        derivatives: for what jax cannot trace: `(logits, labels)`, numpy arrays of float32, to
            losses, gradients and second derivatives in the label's logit; needs `reference`.

    Returns:
        A report: `rows`, `worst(dtype, quantity)`, `collapse(dtype)`, and a table as `str`.

    Raises:
        TypeError: the function is no loss of the common signatures.
        ValueError: float64 is named while `jax_enable_x64` is off.
        Undecided: it cannot be evaluated in exact arithmetic.

    Example:
        >>> import optax
        >>> loss = optax.softmax_cross_entropy_with_integer_labels
        >>> print(audit(loss, dtypes=["float32"]).collapse("float32"))  # doctest: +ELLIPSIS
        float32: loses every digit of the loss from a margin of 15, the gradient at the label ...

    Source:
        Prieto et al., Grokking at the edge of numerical stability (2025), arXiv 2501.04697.
    """
    dtypes = [jnp.dtype(d).name for d in ([dtypes] if isinstance(dtypes, str) else dtypes)]
    if "float64" in dtypes and jnp.result_type(float) != jnp.float64:
        raise ValueError("`dtypes` names float64, which wants jax_enable_x64 (jax.enable_x64).")
    reference = fn if reference is None else reference
    kind = kind or kind_of(reference)
    rows: list[AuditRow] = []
    for dtype in dtypes:
        logits, labels = _inputs(kind, margins, dtype)
        if derivatives is None:
            found = jax.jit(_derivatives(fn, labels, kind))(logits)
        else:
            found = derivatives(np.asarray(logits), np.asarray(labels))
        rows += _measured(found, _exact(reference, logits, labels, kind), margins, dtype, kind)
    return AuditReport(kind, tuple(rows))


def _inputs(kind: Kind, margins: Sequence[float], dtype: str) -> tuple[Any, Any]:
    margin = jnp.asarray(margins, dtype)
    if kind == "binary":
        return margin, jnp.ones(len(margins), dtype)
    logits = jnp.stack([margin, jnp.zeros_like(margin), jnp.full_like(margin, -1.0)], axis=-1)
    if kind == "integer":
        return logits, jnp.zeros(len(margins), jnp.int32)
    return logits, jnp.zeros_like(logits).at[:, 0].set(1)


def _derivatives(fn: Callable[..., Any], labels: Any, kind: Kind) -> Callable[..., Any]:
    """logits → losses, gradients, second derivatives in the label's logit."""

    def total(x: Any) -> Any:
        return jnp.sum(fn(x, labels))

    def three(x: Any) -> Any:
        direction = jnp.ones_like(x) if kind == "binary" else jnp.zeros_like(x).at[:, 0].set(1)
        gradients, seconds = jax.jvp(jax.grad(total), (x,), (direction,))
        return fn(x, labels), gradients, seconds if kind == "binary" else seconds[:, 0]

    return three


def _exact(reference: Callable[..., Any], logits: Any, labels: Any, kind: Kind) -> list[Balls]:
    program = jax.make_jaxpr(lambda x: reference(x, labels))(logits)
    with jax.enable_x64(True):
        body = as_function(stripped(program))
        derivatives = jax.make_jaxpr(_derivatives(lambda x, _: body(x), labels, kind))(logits)
    results, ties = evaluate(derivatives, [logits])
    if ties:  # as the maximum of equal numbers: the limit is taken, from one side
        slopes = np.linspace(1, 2, logits.size).reshape(logits.shape)
        results, _ = evaluate(derivatives, ray([logits], [slopes]), order=2)
    return [result.value for result in results]


def _measured(
    found: Any, exact: list[Balls], margins: Sequence[float], dtype: str, kind: Kind
) -> list[AuditRow]:
    losses, gradients, seconds = found
    rows = []
    for index, margin in enumerate(margins):
        quantities: dict[str, list[tuple[Any, Any, Any]]] = {
            "loss": [(losses, exact[0], (index,))],
            "second derivative": [(seconds, exact[2], (index,))],
        }
        if kind == "binary":
            quantities["gradient at the label"] = [(gradients, exact[1], (index,))]
        else:
            quantities["gradient at the label"] = [(gradients, exact[1], (index, 0))]
            quantities["other gradients"] = [(gradients, exact[1], (index, j)) for j in (1, 2)]
        ulps, relative = {}, {}
        for quantity, places in quantities.items():
            errors = [_error(came, true, place) for came, true, place in places]
            errors = [error for error in errors if error is not None]
            if errors:
                ulps[quantity] = max(error[0] for error in errors)
                relative[quantity] = max(error[1] for error in errors)
        rows.append(AuditRow(dtype, float(margin), ulps, relative))
    return rows


def _error(came: Any, true: Balls, place: tuple[int, ...]) -> tuple[float, float] | None:
    """Ulps and relative error; None where the exact value is below the smallest normal number."""
    finfo = jnp.finfo(came.dtype)
    exact = float(true[place].mid())
    size = abs(exact)
    if size < float(finfo.smallest_normal):
        return None
    number = float(np.asarray(came[place], np.float64))
    off = abs(number - exact) if np.isfinite(number) else np.inf
    return float(off / ulp(exact, came.dtype)), float(off / size)
