"""Rules of the primitives that run programs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._interpreter import Run, Undecided, Value, place, rule
from ._jet import Jet, objects
from ._structure import stacked, take

_LIMIT = 100_000  # steps of a loop


@rule(
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "custom_vmap_call",
    "eval_jaxpr",
    "linear_call",
)
def _call(run: Run, equation: Any, *values: Value) -> list[Value]:
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call", "callee"):
        if name in equation.params:
            return run.body(equation.params[name], list(values))
    raise Undecided(f"`{equation.primitive.name}` at {place(equation)} shows no program to run")


@rule("cond")
def _cond(run: Run, equation: Any, index: Value, *values: Value) -> list[Value]:
    branches = equation.params["branches"]
    number = int(np.clip(int(np.asarray(index)), 0, len(branches) - 1))
    return run.body(branches[number], list(values))


@rule("while")
def _while(run: Run, equation: Any, *values: Value) -> list[Value]:
    p = equation.params
    split = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    of_cond, of_body = list(values[: split[0]]), list(values[split[0] : split[1]])
    state = list(values[split[1] :])
    for _ in range(_LIMIT):
        (goes_on,) = run.body(p["cond_jaxpr"], of_cond + state)
        if not bool(np.asarray(goes_on)):
            return state
        state = run.body(p["body_jaxpr"], of_body + state)
    raise Undecided(f"`while` at {place(equation)} has not ended after {_LIMIT:,} steps")


@rule("scan")
def _scan(run: Run, equation: Any, *values: Value) -> list[Value]:
    p = equation.params
    jaxpr = p["jaxpr"]
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    length = p["length"]
    # What is scanned over has one axis more outside than inside; so has what is collected.
    scanned = [
        len(outer.aval.shape) > len(v.aval.shape)
        for outer, v in zip(equation.invars, inner.invars, strict=True)
    ]
    collected = [
        len(outer.aval.shape) > len(v.aval.shape)
        for outer, v in zip(equation.outvars, inner.outvars, strict=True)
    ]
    num_carry = collected.index(True) if True in collected else len(collected)
    num_scanned = sum(scanned)
    num_consts = len(values) - num_carry - num_scanned
    consts = list(values[:num_consts])
    carry = list(values[num_consts : num_consts + num_carry])
    xs = list(values[num_consts + num_carry :])
    steps: list[list[Value]] = []
    order = range(length - 1, -1, -1) if p["reverse"] else range(length)
    for i in order:
        results = run.body(jaxpr, [*consts, *carry, *(_slice(x, i) for x in xs)])
        carry = results[:num_carry]
        steps.append(results[num_carry:])
    if p["reverse"]:
        steps.reverse()
    outs = []
    for number, v in enumerate(equation.outvars[num_carry:]):
        outs.append(_stack([step[number] for step in steps], v.aval))
    return [*carry, *outs]


def _slice(x: Value, index: int) -> Value:
    return take(x, index) if isinstance(x, Jet) else x[index]


def _stack(values: list[Value], aval: Any) -> Value:
    if not values:
        empty = np.zeros(aval.shape, aval.dtype)
        return Jet([objects([], aval.shape)]) if empty.dtype.kind == "f" else empty
    if isinstance(values[0], Jet):
        return stacked(values, 0)
    if jnp.issubdtype(aval.dtype, jax.dtypes.extended):
        return jnp.stack(values)
    return np.stack([np.asarray(v) for v in values])
