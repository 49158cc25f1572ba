"""Minima of smooth convex functions, and their derivatives."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from ._typing import Array

Objective = Callable[[Any, Any], Array]  # (parameters, data), two pytrees, to a number in nats
Curvatures = Callable[[Any, Any], Any]  # (parameters, data) to numbers like the parameters
Solver = Callable[[Objective, Curvatures | None, Any, Any], Any]  # to parameters

MAX_STEPS = 200
_STEEPEST = 4.0  # of the parameters to begin with, in standard units
MAX_HALVINGS = 40


# The parameters θ(data) that minimise F(θ, data) satisfy ∇F(θ(data), data) = 0. Differentiated:
#
#   ∇²F·dθ + ∂(∇F)/∂data·d data = 0
#
# so that a derivative costs one linear system, however θ was found.
@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def optimum(
    objective: Objective, solver: Solver, curvatures: Curvatures | None, start: Any, data: Any
) -> Any:
    """The parameters that minimise `objective`, differentiable in `data` any number of times.

    To be called with 64-bit types enabled. JAX transposes and vectorises what the objective and
    the solver do outside of that block, and there the rules of slices, gathers, maxima and `@`
    make float32 numbers: they do without them (`products` and `dot` are what `@` is for).

    Args:
        objective: convex and twice differentiable in the parameters.
        solver: finds the parameters; `newton`, or one that knows more about the objective.
        curvatures: positive numbers, roughly the diagonal of the Hessian; None: all alike.
        start: float64 parameters to begin with; they stay where the objective does not depend on
            them.
        data: a pytree of arrays.
    """
    return solver(objective, curvatures, start, data)


@optimum.defjvp
def _optimum_jvp(
    objective: Objective,
    solver: Solver,
    curvatures: Curvatures | None,
    primals: tuple[Any, Any],
    tangents: tuple[Any, Any],
) -> tuple[Any, Any]:
    # The rule runs when somebody differentiates, outside the 64-bit block of the fit.
    with jax.enable_x64(True):
        start, data = primals
        found = optimum(objective, solver, curvatures, start, data)
        flat, shaped = ravel_pytree(found)
        scales = lax.stop_gradient(_scales(curvatures, found, data))

        def gradient(at: Array, data: Any) -> Array:
            return ravel_pytree(jax.grad(objective)(shaped(at), data))[0]

        def hessian(vector: Array) -> Array:
            return jax.jvp(lambda at: gradient(at, data), (flat,), (vector,))[1]

        def solve(product: Callable[[Array], Array], rhs: Array) -> Array:
            return conjugate_gradients(product, rhs, 1e-15, scales)

        _, moved = jax.jvp(lambda data: gradient(flat, data), (data,), (tangents[1],))
        # Reverse mode solves the transposed system, which is the same one.
        return found, shaped(lax.custom_linear_solve(hessian, -moved, solve, symmetric=True))


def _scales(curvatures: Curvatures | None, parameters: Any, data: Any) -> Array:
    if curvatures is None:
        return jnp.ones_like(ravel_pytree(parameters)[0])
    return ravel_pytree(curvatures(parameters, data))[0]


def dot(a: Array, b: Array) -> Array:
    """Σ a·b."""
    return jnp.sum(a * b)


def products(rows: Array, others: Array) -> Array:
    """rows @ others.T, without the preferred dtype that `@` writes down."""
    return lax.dot_general(rows, others, (((1,), (1,)), ((), ())))


def binary_losses(logits: Array, labels: Array) -> Array:
    """softplus(logit) − label·logit, of primitives whose rules make no float32 number."""
    # From the end at which both are small for a label of 0 or 1.
    small = jnp.log1p(jnp.exp(-jnp.where(logits < 0, -logits, logits)))
    return small + jnp.where(logits < 0, -labels * logits, (1 - labels) * logits)


def categorical_losses(logits: Array, labels: Array) -> Array:
    """logsumexp(logits) − logits[label], of such primitives.

    No gather finds the label, and no derivative of a maximum is taken, as `jax.nn.logsumexp` does.
    """
    below = logits - jnp.max(lax.stop_gradient(logits), axis=-1, keepdims=True)
    at_label = jnp.sum(jnp.where(is_class(labels, logits), below, 0.0), axis=-1)
    return jnp.log(jnp.sum(jnp.exp(below), axis=-1)) - at_label


def is_class(labels: Array, rows: Array) -> Array:
    """One-hot of class indices [*batch], of the shape of `rows`."""
    return lax.broadcasted_iota(jnp.int32, rows.shape, rows.ndim - 1) == labels[..., None]


class _Progress(NamedTuple):
    at: Array
    value: Array
    gradient: Array
    decrement: Array  # of the last step: −gradient·step, twice the decrease that it promised
    steps: Array
    stuck: Array


class _Trial(NamedTuple):
    length: Array
    at: Array
    value: Array
    gradient: Array
    halvings: Array
    accepted: Array


def newton(
    objective: Objective,
    curvatures: Curvatures | None,
    start: Any,
    data: Any,
    *,
    matrix: Callable[[Array, Any], Array] | None = None,
) -> Any:
    """Newton's method, its steps from conjugate gradients and shortened where they overshoot.

    `matrix` gives the second derivatives at flat parameters where they are few; without it, each
    of their products with a direction is taken through the data.

    Ends with the step that promises less than 1e-20 nats: what it leaves is the square of that,
    hence rounding. Where the infimum lies at infinity, the steps promise less and less, and the
    parameters that they have reached are finite.
    """
    flat_start, shaped = ravel_pytree(start)
    # Where every probability is 0 or 1 there is no curvature to go by: start nearer to none.
    flat_start = flat_start * jnp.minimum(1.0, _STEEPEST / jnp.max(jnp.abs(flat_start)))
    value_and_gradient = jax.value_and_grad(lambda flat: objective(shaped(flat), data))
    gradient_of = jax.grad(lambda flat: objective(shaped(flat), data))

    def goes_on(now: _Progress) -> Array:
        return (now.decrement > 1e-20) & ~now.stuck & (now.steps < MAX_STEPS)

    def step(now: _Progress) -> _Progress:
        if matrix is None:
            _, hessian = jax.linearize(gradient_of, now.at)
        else:
            hessian = partial(_times, matrix(now.at, data))
        # Loose while far, so that no product is wasted and convergence stays quadratic.
        tolerance = jnp.clip(jnp.sqrt(now.decrement), 1e-7, 0.1)
        scales = _scales(curvatures, shaped(now.at), data)
        direction = conjugate_gradients(hessian, -now.gradient, tolerance, scales)
        slope = dot(now.gradient, direction)

        def attempt(length: Array, halvings: Array) -> _Trial:
            at = now.at + length * direction
            value, gradient = value_and_gradient(at)
            # Enough decrease; or, where decrease drowns in rounding, a slope that has flattened.
            falls = value <= now.value + 1e-4 * length * slope
            level = value <= now.value + 1e-14 * jnp.abs(now.value)
            flattens = jnp.abs(dot(gradient, direction)) <= 0.9 * jnp.abs(slope)
            return _Trial(length, at, value, gradient, halvings, falls | (level & flattens))

        # Nothing tried yet: the loop begins with length 1, and the objective is compiled once.
        one = jnp.ones_like(now.value)
        trial = lax.while_loop(
            lambda trial: ~trial.accepted & (trial.halvings < MAX_HALVINGS),
            lambda trial: attempt(trial.length / 2, trial.halvings + 1),
            _Trial(2 * one, now.at, now.value, now.gradient, -jnp.ones_like(now.steps), one < 0),
        )
        taken = trial.accepted
        return _Progress(
            at=jnp.where(taken, trial.at, now.at),
            value=jnp.where(taken, trial.value, now.value),
            gradient=jnp.where(taken, trial.gradient, now.gradient),
            decrement=-slope,
            steps=now.steps + 1,
            stuck=~taken,
        )

    value, gradient = value_and_gradient(flat_start)
    none = jnp.zeros([], jnp.int32)
    first = _Progress(flat_start, value, gradient, jnp.ones_like(value), none, jnp.isnan(value))
    return shaped(lax.while_loop(goes_on, step, first).at)


def _times(matrix: Array, vector: Array) -> Array:
    return lax.dot_general(matrix, vector, (((1,), (0,)), ((), ())))


class _Solution(NamedTuple):
    x: Array
    residual: Array
    direction: Array
    square: Array  # of the residual's norm, in the scales
    steps: Array
    flat: Array  # the product has no curvature along the direction


def conjugate_gradients(
    product: Callable[[Array], Array], rhs: Array, tolerance: float | Array, scales: Array
) -> Array:
    """x with product(x) = rhs for a symmetric positive (semi-)definite product.

    The residual is at most `tolerance` times `rhs` in norm, or as small as rounding lets it be.
    Directions in which the product is 0 are left alone. `scales`, positive, are roughly the
    diagonal of the product; the closer, the fewer products.
    """
    limit = 2 * rhs.size + 20
    goal = tolerance**2 * (dot(rhs, rhs / scales))

    def goes_on(now: _Solution) -> Array:
        return (now.square > goal) & (now.steps < limit) & ~now.flat

    def step(now: _Solution) -> _Solution:
        image = product(now.direction)
        curvature = dot(now.direction, image)
        flat = ~(curvature > 0)
        length = jnp.where(flat, 0.0, now.square / jnp.where(flat, 1.0, curvature))
        residual = now.residual - length * image
        scaled = residual / scales
        square = dot(residual, scaled)
        return _Solution(
            x=now.x + length * now.direction,
            residual=residual,
            direction=scaled + square / now.square * now.direction,
            square=square,
            steps=now.steps + 1,
            flat=flat,
        )

    none, scaled = jnp.zeros([], jnp.int32), rhs / scales
    first = _Solution(jnp.zeros_like(rhs), rhs, scaled, dot(rhs, scaled), none, jnp.zeros([], bool))
    return lax.while_loop(goes_on, step, first).x
