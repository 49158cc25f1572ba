"""Rigorous bounds of what a function computes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from . import _control as _control
from . import _products as _products
from ._interpreter import Run, Undecided, Value
from ._jet import Balls, Jet, precision

FIRST_PRECISION = 128
LAST_PRECISION = 2048
_TIGHT = 2.0**-60
_NEGLIGIBLE = 1e-330  # a radius below every float64


class Enclosure(NamedTuple):
    """lower ≤ exact ≤ upper, element by element, in float64; NaN where there is no number."""

    lower: NDArray[Any]
    upper: NDArray[Any]


def evaluate(
    closed: Any,
    leaves: Sequence[Any],
    *,
    order: int = 0,
    widen: bool = False,
    limit: int = LAST_PRECISION,
) -> tuple[list[Value], list[str]]:
    """Runs a closed jaxpr with more and more bits, until the results are tight.

    Args:
        closed: the program.
        leaves: its arguments; arrays, or jets.
        order: of the power series that jets among the arguments start.
        widen: see `Run`.
        limit: bits at which a result is taken as it is.

    Returns:
        The results, and the comparisons of equal numbers on the way.

    Raises:
        Undecided: a comparison cannot be settled with `limit` bits.
    """
    bits = FIRST_PRECISION
    while True:
        with precision(bits), jax.enable_x64(True):  # programs have the dtypes that they have
            try:
                run = Run(order, widen=widen)
                results = run.program(closed, [run.lift(leaf) for leaf in leaves])
                if bits >= limit or widen or all(_is_tight(r) for r in results):
                    return results, run.ties
            except Undecided:
                if bits >= limit or widen:
                    raise
        bits *= 4


def _is_tight(value: Value) -> bool:
    if not isinstance(value, Jet):
        return True
    for ball in value.value.ravel():
        if ball.is_exact() or not ball.is_finite():
            continue
        radius = ball.rad()
        if radius > abs(ball.mid()) * _TIGHT and radius > _NEGLIGIBLE:
            return False
    return True


def bounds(balls: Balls) -> Enclosure:
    """Balls as intervals of float64, rounded outwards."""
    lower = np.array([float(b.lower()) for b in balls.ravel()]).reshape(balls.shape)
    upper = np.array([float(b.upper()) for b in balls.ravel()]).reshape(balls.shape)
    exact = np.array([b.is_exact() and float(b.mid()) == b for b in balls.ravel()], bool)
    exact = exact.reshape(balls.shape)
    return Enclosure(
        np.where(exact, lower, np.nextafter(lower, -np.inf)),
        np.where(exact, upper, np.nextafter(upper, np.inf)),
    )


def enclose(fn: Callable[..., Any], *args: Any) -> Any:
    """Rigorous bounds of `fn(*args)` in exact arithmetic.

    The jaxpr of `fn` is run again in ball arithmetic, in which every number carries a bound of its
    error, with more bits until the bounds are tight. Arguments and constants are taken as the
    exact numbers that they are; rounding, precision and dtype of floats mean nothing; exact
    functions of jbce, and primitives of `register_definition`, are what they are defined to be.

    Args:
        fn: any function that jax can trace, of arrays or trees of them.
        args: its arguments.

    Returns:
        `fn`'s result with an `Enclosure(lower, upper)` of float64 arrays in the place of each
        array; both are the result itself for integers and booleans.

    Raises:
        Undecided: a comparison that no precision settles, as of two equal numbers that are rounded
            differently; or a primitive that is not known (the message says how to register one).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits = jnp.array([20.0, 0.0])
        >>> jax.nn.logsumexp(logits) - logits[0]
        Array(0., dtype=float32)
        >>> bounds = enclose(lambda x: jax.nn.logsumexp(x) - x[0], logits)
        >>> f"{bounds.lower:.14e} {bounds.upper:.14e}"
        '2.06115362031438e-09 2.06115362031438e-09'

    Source:
        Johansson, Arb: efficient arbitrary-precision midpoint-radius interval arithmetic, IEEE
        Transactions on Computers 66 (2017).
    """
    return enclosed(fn, args, widen=False)


def enclosed(fn: Callable[..., Any], args: Sequence[Any], *, widen: bool) -> Any:
    """`enclose`, also for all constants that round to those of the program."""
    leaves, tree = jax.tree.flatten(tuple(args))
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    closed, shape = jax.make_jaxpr(
        lambda *leaves: fn(*jax.tree.unflatten(tree, leaves)), return_shape=True
    )(*leaves)
    results, _ = evaluate(closed, leaves, widen=widen)
    enclosures = [
        bounds(r.value) if isinstance(r, Jet) else Enclosure(np.asarray(r), np.asarray(r))
        for r in results
    ]
    return jax.tree.unflatten(jax.tree.structure(shape), enclosures)
