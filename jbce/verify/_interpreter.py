"""Runs a jaxpr again, in ball arithmetic or along a direction as a power series.

Floats are jets (`_jet.py`); integers, booleans and keys are what they are, since they carry no
rounding. A primitive without floating point operands is executed by jax itself.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive
from numpy.typing import NDArray

from .._definitions import definition_of
from ._jet import NAN, ZERO, Jet, arb, constant, objects, zeros

Value = Any  # Jet, or an array of integers, booleans or keys
Rule = Callable[..., Any]

_RULES: dict[str, Rule] = {}
_DEFINED: dict[str, Callable[..., Any]] = {}


class Undecided(Exception):
    """Something that ball arithmetic cannot settle; the message says what, and where."""


class UnknownPrimitive(Undecided):
    """A primitive of which no meaning in exact arithmetic is known."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Declares how `(run, equation, *values) -> value or list of values` evaluates primitives."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


def register_definition(primitive: Primitive | str, definition: Callable[..., Any]) -> None:
    """Tells the checker what a primitive computes.

    Args:
        primitive: as it stands in a jaxpr, or its name.
        definition: `(*arrays, **params) -> array` (or a list, where there are several results),
            written with `jax.numpy`; right in exact arithmetic.

    Example:
        >>> import jax.numpy as jnp
        >>> register_definition("my_softplus", lambda x: jnp.log1p(jnp.exp(x)))
    """
    _DEFINED[str(primitive)] = definition


def meaning(primitive: Primitive) -> Callable[..., Any] | None:
    """The definition of a primitive that has one."""
    return _DEFINED.get(primitive.name) or definition_of(primitive)


# Functions of jax whose custom rule is right and whose body is made of bit patterns, by their name.
_BODIES_OF_BITS: dict[str, Callable[..., Any]] = {
    "exp_neg_sq": lambda x: jnp.exp(-jnp.square(x)),
}


def meaning_of(equation: Any) -> Callable[..., Any] | None:
    """The definition of what an equation computes, if it has one."""
    definition = meaning(equation.primitive)
    if definition is not None or equation.primitive.name != "custom_jvp_call":
        return definition
    body = equation.params["call_jaxpr"]
    told = getattr(getattr(body, "jaxpr", body), "debug_info", None)
    named = _BODIES_OF_BITS.get(getattr(told, "func_name", ""))
    if named is None or "bitcast_convert_type" not in str(body):
        return None
    return lambda *xs, **_: [named(*xs)]


class Run:
    """One evaluation.

    Args:
        order: of the power series; 0 is ball arithmetic alone.
        widen: literals that are no integers stand for all numbers that round to them: jax's own
            rules carry constants like 2/√π in floating point.
    """

    def __init__(self, order: int = 0, *, widen: bool = False) -> None:
        self.order = order
        self.widen = widen
        self.defining: list[str] = []  # definitions that are being run
        self.ties: list[str] = []  # comparisons of equal numbers, by primitive and place

    # ---- programs --------------------------------------------------------------------------------

    def program(self, closed: Any, args: Sequence[Value]) -> list[Value]:
        """Evaluates a closed jaxpr."""
        return self.jaxpr(closed.jaxpr, [self.lift(c) for c in closed.consts], args)

    def jaxpr(self, jaxpr: Any, consts: Sequence[Value], args: Sequence[Value]) -> list[Value]:
        environment: dict[Any, Value] = {}
        last_use: dict[Any, int] = {}
        for index, equation in enumerate(jaxpr.eqns):
            last_use.update({v: index for v in equation.invars if not isinstance(v, Literal)})
        kept = {v for v in jaxpr.outvars if not isinstance(v, Literal)}

        def read(atom: Any) -> Value:
            return self._literal(atom) if isinstance(atom, Literal) else environment[atom]

        environment.update(zip(jaxpr.constvars, consts, strict=True))
        environment.update(zip(jaxpr.invars, args, strict=True))
        for index, equation in enumerate(jaxpr.eqns):
            results = self.equation(equation, [read(v) for v in equation.invars])
            environment.update(zip(equation.outvars, results, strict=True))
            for v in equation.invars:  # what is dead goes: a ball takes a hundred bytes
                if not isinstance(v, Literal) and last_use[v] == index and v not in kept:
                    environment.pop(v, None)
        return [read(v) for v in jaxpr.outvars]

    def body(self, jaxpr: Any, args: Sequence[Value]) -> list[Value]:
        """Evaluates the jaxpr of a higher-order primitive, closed or not."""
        if hasattr(jaxpr, "jaxpr"):
            return self.program(jaxpr, args)
        return self.jaxpr(jaxpr, [], args)

    def equation(self, equation: Any, values: list[Value]) -> list[Value]:
        """Evaluates one equation."""
        primitive = equation.primitive
        if any(_is_complex(v) for v in [*equation.invars, *equation.outvars]):
            raise UnknownPrimitive(f"complex numbers at {place(equation)} are not known here")
        if any(_is_key(v) for v in values) and primitive.name not in _PROGRAMS:
            result = primitive.bind(*values, **equation.params)
            return [self.lift(r) for r in (result if primitive.multiple_results else [result])]
        definition = meaning_of(equation)
        if definition is not None and primitive.name in self.defining:
            raise UnknownPrimitive(
                f"the definition of `{primitive.name}` uses the primitive itself"
            )
        if definition is not None:
            self.defining.append(primitive.name)
            try:
                return self._defined(equation, definition, values)
            finally:
                self.defining.pop()
        has_floats = any(isinstance(v, Jet) for v in values)
        if primitive.name in _RULES and (has_floats or primitive.name in _ALWAYS):
            result = _RULES[primitive.name](self, equation, *values)
            return list(result) if primitive.multiple_results else [result]
        if has_floats:
            raise UnknownPrimitive(
                f"the primitive `{primitive.name}` at {place(equation)} is not known in exact "
                "arithmetic; jbce.verify.register_definition tells what it computes"
            )
        if primitive.name in _BY_NUMPY:
            return [np.asarray(_BY_NUMPY[primitive.name](*values), equation.outvars[0].aval.dtype)]
        result = primitive.bind(*(jnp.asarray(v) for v in values), **equation.params)
        return [self.lift(r) for r in (result if primitive.multiple_results else [result])]

    def _defined(self, equation: Any, definition: Any, values: list[Value]) -> list[Value]:
        avals = [v.aval for v in equation.invars]
        params = {} if equation.primitive.name == "custom_jvp_call" else equation.params
        return self.program(_program_of(definition, params, avals), values)

    # ---- numbers ---------------------------------------------------------------------------------

    def lift(self, value: Any) -> Value:
        """An array as a value of this evaluation; floats become exact."""
        if isinstance(value, Jet) or _is_key(value):
            return value
        value = np.asarray(value)
        return constant(value) if jnp.issubdtype(value.dtype, jnp.floating) else value

    def _literal(self, literal: Any) -> Value:
        value = literal.val
        if jnp.issubdtype(literal.aval.dtype, jnp.floating):
            number = np.asarray(value, literal.aval.dtype)
            return self._widened(self.lift(number), number) if self.widen else self.lift(number)
        return np.asarray(value, literal.aval.dtype)

    def _widened(self, jet: Jet, value: Any) -> Jet:
        number = float(np.asarray(value, np.float64))
        if not np.isfinite(number) or number == round(number):
            return jet
        half_ulp = abs(number) * float(jnp.finfo(np.asarray(value).dtype).eps) / 2
        return Jet([objects([arb(number, half_ulp)], ())])

    # ---- comparisons -----------------------------------------------------------------------------

    def signs(self, a: Jet, b: Jet, equation: Any) -> NDArray[Any]:
        """The sign of a − b: −1, 0, 1, or 2 beside a NaN.

        Of jets it is the sign just after 0: that of the first coefficient that is not 0.

        Raises:
            Undecided: a ball straddles 0.
        """
        signs = np.zeros(a.shape, np.int8)
        flat = signs.reshape(-1)
        length = max(len(a.coefficients), len(b.coefficients))
        columns = [_column(jet, k) for k in range(length) for jet in (a, b)]
        tied = False
        for index in range(flat.size):
            for k in range(length):
                p, q = columns[2 * k][index], columns[2 * k + 1][index]
                if p is q:
                    continue
                if p > q:
                    flat[index] = 1
                elif p < q:
                    flat[index] = -1
                elif p.is_nan() or q.is_nan():
                    flat[index] = 2
                elif self.widen:  # as what the program says, not as what it may stand for
                    if p.mid() != q.mid():
                        flat[index] = 1 if p.mid() > q.mid() else -1
                    else:
                        continue
                elif p.is_exact() and q.is_exact():
                    tied = True
                    continue
                elif self.order:
                    continue  # equal as far as can be told: the next coefficient decides
                else:
                    raise Undecided(
                        f"`{equation.primitive.name}` at {place(equation)} compares {p.str(5)} "
                        f"with {q.str(5)}, which cannot be told apart"
                    )
                break
        if tied:
            self.ties.append(f"`{equation.primitive.name}` at {place(equation)}")
        return signs


def _column(jet: Jet, k: int) -> list[Any]:
    coefficient = jet[k]
    return [ZERO] * jet.value.size if coefficient is None else coefficient.ravel().tolist()


# Integers and booleans without a compilation for each shape.
_BY_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "select_n": lambda which, *cases: np.choose(np.asarray(which, np.int8), cases),
}

_PROGRAMS = {
    *("scan", "while", "cond", "jit", "pjit", "closed_call", "core_call", "remat", "remat2"),
    *("checkpoint", "custom_jvp_call", "custom_vjp_call", "custom_vmap_call", "eval_jaxpr"),
    "linear_call",
}

# What also needs its rule without floats: it makes some, or numpy does it.
_ALWAYS = _PROGRAMS | {
    *("convert_element_type", "reshape", "broadcast_in_dim", "slice", "squeeze", "transpose"),
}


def _is_key(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.extended)


def _is_complex(atom: Any) -> bool:
    dtype = getattr(atom.aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating)


@functools.lru_cache(maxsize=512)
def _traced(definition: Any, params: Any, avals: Any) -> Any:
    with jax.enable_x64(True):
        return jax.make_jaxpr(lambda *xs: definition(*xs, **dict(params)))(*avals)


def _program_of(
    definition: Callable[..., Any], params: dict[str, Any], avals: Sequence[Any]
) -> Any:
    shapes = tuple(jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals)
    return _traced(definition, tuple(sorted(params.items())), shapes)


def place(equation: Any) -> str:
    """Where in the user's source an equation comes from, as well as is known."""
    try:
        frame = next(
            f
            for f in equation.source_info.traceback.frames
            if "/jax/" not in f.file_name and "/jbce/verify/" not in f.file_name
        )
    except (AttributeError, StopIteration):
        return "an unknown place"
    return f"{frame.file_name}:{frame.line_num}"


def moved(move: Callable[..., Any], *values: Value, fill: Any = None) -> Any:
    """A primitive that moves elements: executed on their numbers, then each number replaced.

    What comes out with a negative number is `fill`, NaN if none is named.
    """
    jets = [v for v in values if isinstance(v, Jet)]
    numbers, count = [], 0
    for value in values:
        if isinstance(value, Jet):
            size = value.value.size
            own = jnp.arange(count, count + size, dtype=jnp.int32)
            numbers.append(own.reshape(value.shape))
            count += size
        else:
            numbers.append(jnp.asarray(value))
    results = move(*numbers)
    single = not isinstance(results, list | tuple)
    pools: list[Any] = []
    for k in range(max(len(jet.coefficients) for jet in jets)):
        parts = [jet[k] for jet in jets]
        if all(part is None for part in parts):
            pools.append(None)
            continue
        flat = [
            zeros(jet.value.size) if part is None else part.reshape(-1)
            for jet, part in zip(jets, parts, strict=True)
        ]
        last = (NAN if fill is None else fill) if k == 0 else ZERO
        pools.append(np.concatenate([*flat, objects([last], (1,))]))
    out = []
    for result in [results] if single else results:
        where = np.asarray(result)
        where = np.where(where < 0, count, where)
        taken = [
            None if pool is None else objects(pool[where.ravel()], where.shape) for pool in pools
        ]
        out.append(Jet(taken))
    return out[0] if single else out
