"""Is a gradient right? The public questions."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from ._check import Check
from ._differences import check_by_differences
from ._interpreter import Undecided, UnknownPrimitive
from ._program import Leaves
from ._report import GradientError, GradientReport

Mode = Literal["reverse", "forward"]
Function = Callable[..., Any]


def check_gradients(
    fn: Function,
    *args: Any,
    argnums: int | Sequence[int] = 0,
    order: int = 1,
    modes: Mode | Sequence[Mode] = ("reverse", "forward"),
    seed: int = 0,
) -> GradientReport:
    """Judges the gradient that jax computes for `fn` against the true one.

    No finite differences, no step, no tolerance: the program of the derivative is run again in
    ball arithmetic, and so is that of the truth, for which all custom derivative rules are opened
    and exact functions replaced by their definitions; power series along random directions confirm
    it. Then the floats are judged too.

    Args:
        fn: a function of arrays, or trees of them, to one floating point number.
        args: where to judge it. Leaves that are not floating point are held.
        argnums: which arguments to differentiate in.
        order: 1, or 2 for the Hessian times a random direction.
        modes: "reverse", "forward" or both; of order 2, the outer one.
        seed: of the directions.

    Returns:
        A report: `verdict` is "right", "wrong" or "undecided"; `blame` is "rule" if the derivative
        is wrong in exact arithmetic, and "arithmetic" if it is right there and the floats have lost
        more than half of their digits against the gradient's scale and conditioning.

    Raises:
        TypeError: there is no floating point argument, or `fn` does not return one floating point
            number.
        ValueError: `order`, `modes` or `argnums` are not among those that there are.

    Edges:
        What `stop_gradient` holds is a constant of the truth too. Of a Flax module every floating
        point leaf counts, statistics too, unless only its parameters are handed over.
        A kink (relu at 0, the maximum of equal numbers) is undecided, with its one-sided slopes,
        if it is one of the whole function. Directions are sampled: that no kink was seen is no
        proof that there is none. Primitives that are not known are judged by differences.
        The truth of an iteration is the derivative of its steps: an implicit rule, which holds in
        the limit, is called wrong if the steps have not reached it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> loss = lambda x: jnp.mean(jnp.log1p(jnp.exp(-x)))
        >>> check_gradients(loss, jnp.linspace(-3.0, 3.0, 500)).verdict
        'right'
        >>> @jax.custom_jvp
        ... def half(x):
        ...     return x / 2
        >>> _ = half.defjvp(lambda primals, tangents: (half(*primals), 0 * tangents[0]))
        >>> report = check_gradients(lambda x: jnp.mean(half(x)), jnp.ones(500))
        >>> report.verdict, report.blame
        ('wrong', 'rule')

    Source:
        Griewank and Walther, Evaluating Derivatives (2008), chapter 13, for power series; Tucker,
        Validated Numerics (2011), for enclosures.
    """
    if order not in (1, 2):
        raise ValueError(f"`order` must be 1 or 2, but {order} came.")
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if not modes or set(modes) - {"reverse", "forward"}:
        raise ValueError(f"`modes` must name 'reverse', 'forward' or both, but {modes!r} came.")
    leaves = Leaves(args, argnums)
    check = Check(leaves, leaves.function(fn), order, modes, seed)
    try:
        return check.report()
    except UnknownPrimitive as unknown:
        return check_by_differences(leaves, check.function, order, str(unknown))
    except Undecided as undecided:
        return check.summary("undecided", undecided=[str(undecided)])


def assert_gradients(fn: Function, *args: Any, **settings: Any) -> None:
    """`check_gradients`, for tests.

    Raises:
        GradientError: the verdict is not "right"; the message is the report.

    Example:
        >>> import jax.numpy as jnp
        >>> assert_gradients(lambda x: jnp.sum(jnp.sin(x)), jnp.arange(3.0))
    """
    report = check_gradients(fn, *args, **settings)
    if report.verdict != "right":
        raise GradientError(str(report))
