"""Products of vectors with second derivatives, and with their factors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._exact import arithmetic_dtype, row_sum
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    Bool,
    Float,
    as_axes,
    as_boolean,
    as_floating,
    check_same_shape,
    one_axis,
    several_axes,
)
from ..numerics import logistic_density, one_minus_softmax, softmax, softmax_tangent


def sigmoid_hessian_product(
    logits: Float[ArrayLike, "*batch"], vectors: Float[ArrayLike, "*batch"]
) -> Float[Array, "*batch"]:
    """σ'(x)·v, the second derivative of the binary cross-entropy times a vector.

    Args:
        logits: log-odds of class 1.
        vectors: of the same shape.

    Returns:
        An array of the same shape, in float32 for 16-bit logits.

    Raises:
        TypeError: an argument is not floating point.
        ValueError: the shapes differ.

    Edges:
        0 at ±inf, NaN at NaN.

    Error:
        float32: 1 ulp.

    Example:
        >>> import jax.numpy as jnp
        >>> sigmoid_hessian_product(jnp.array([0.0, 20.0]), jnp.array([1.0, 1.0]))
        Array([2.5000000e-01, 2.0611537e-09], dtype=float32)

    Source:
        McCullagh and Nelder, Generalized Linear Models (1989), section 4.4.
    """
    x, v = _pair(logits, vectors)
    return logistic_density(x) * v


def _pair(logits: ArrayLike, vectors: ArrayLike) -> tuple[Array, Array]:
    x, v = as_floating("logits", logits), as_floating("vectors", vectors)
    check_same_shape("vectors", v, "logits", x)
    dtype = arithmetic_dtype(x.dtype, v.dtype)
    return x.astype(dtype), v.astype(dtype)


def _rows(
    logits: ArrayLike, vectors: ArrayLike, axis: Axis, where: ArrayLike | None
) -> tuple[Array, Array, int, Callable[[Array], Array]]:
    """Rows of both, their axis, and the way back to the shape that came."""
    x, v = _pair(logits, vectors)
    if where is not None:
        where = as_boolean("where", where)
        check_same_shape("where", where, "logits", x)
        x, v = jnp.where(where, x, -jnp.inf), jnp.where(where, v, 0)
    v = jnp.where(x == -jnp.inf, 0, v)  # what does not exist does not move
    axes = as_axes("logits", axis, x.ndim)
    rows, row_axis = one_axis(x, axes)

    def back(values: Array) -> Array:
        return several_axes(values, x.shape, axes)

    return rows, one_axis(v, axes)[0], row_axis, back


def softmax_hessian_product(
    logits: Float[ArrayLike, "*shape"],
    vectors: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """(diag(p) − p·pᵀ)·v = p·(v − Σp·v), the second derivative of the categorical cross-entropy.

    Also its Fisher information times v, and the directional derivative of softmax. Whatever the
    labels, as long as their mass is 1.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        vectors: of the same shape.
        axis: the class axis, or several that make one together.
        where: which classes exist.

    Returns:
        An array of the same shape, in float32 for 16-bit logits.

    Raises:
        TypeError: an argument is not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        0 for classes that do not exist, and in rows with a NaN.

    Error:
        float32: a few ulps of p·(largest difference of v); nothing cancels where p is near 1.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_hessian_product(jnp.array([20.0, 0.0]), jnp.array([1.0, 0.0]))
        Array([ 2.0611537e-09, -2.0611537e-09], dtype=float32)

    Source:
        McCullagh and Nelder, Generalized Linear Models (1989), section 5.5.
    """
    rows, v, row_axis, back = _rows(logits, vectors, axis, where)
    return back(softmax_tangent(rows, v, row_axis))


def softmax_hessian_diagonal(
    logits: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """p·(1 − p), the diagonal of the second derivative of the categorical cross-entropy.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        axis: the class axis, or several that make one together.
        where: which classes exist.

    Returns:
        An array of the same shape, in float32 for 16-bit logits.

    Raises:
        TypeError: `logits` are not floating point, or `where` is not boolean.
        ValueError: `axis` is not there.

    Edges:
        0 for classes that do not exist; NaN in rows with a NaN.

    Error:
        float32: ≤ 10 ulp; 1 − p does not cancel.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_hessian_diagonal(jnp.array([20.0, 0.0]))
        Array([2.0611537e-09, 2.0611537e-09], dtype=float32)

    Source:
        As `softmax_hessian_product`.
    """
    x, _ = _pair(logits, logits)
    return softmax(x, axis, where) * one_minus_softmax(x, axis, where)


def softmax_hessian_factor_product(
    logits: Float[ArrayLike, "*shape"],
    vectors: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
    *,
    transposed: bool = False,
) -> Float[Array, "*shape"]:
    """B·v or Bᵀ·v with B = diag(√p) − p·√pᵀ, a square root of the Hessian: B·Bᵀ = diag(p) − p·pᵀ.

    B of a standard normal vector has the Hessian as its covariance.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        vectors: of the same shape.
        axis: the class axis, or several that make one together.
        where: which classes exist.
        transposed: whether to multiply by Bᵀ.

    Returns:
        An array of the same shape, in float32 for 16-bit logits.

    Raises:
        TypeError: an argument is not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        0 for classes that do not exist, and in rows with a NaN.

    Error:
        float32: a few ulps of the largest term; what is near 1 does not cancel.

    Example:
        >>> import jax.numpy as jnp
        >>> x, v = jnp.array([1.0, 0.0, -1.0]), jnp.array([1.0, 2.0, 0.0])
        >>> root = softmax_hessian_factor_product(x, v, transposed=True)
        >>> product = softmax_hessian_factor_product(x, root)
        >>> bool(jnp.allclose(product, softmax_hessian_product(x, v)))
        True

    Source:
        The square root that generalised Gauss-Newton methods take: Dangel, Kunstner and Hennig,
        BackPACK (2020), arXiv 1912.10985.
    """
    rows, v, row_axis, back = _rows(logits, vectors, axis, where)
    probs = softmax(rows, row_axis)
    probs = jnp.where(jnp.isnan(probs), 0, probs)
    root = jnp.sqrt(jnp.where(probs > 0, probs, 1)) * (probs > 0).astype(probs.dtype)
    doubts = jnp.where(probs > 0, one_minus_softmax(rows, row_axis), 0)
    # Row j of B is √p_j·e_j − p_j·√pᵀ; its own entry is √p_j·(1 − p_j).
    own = root * doubts * v
    weight, height = (probs, root) if transposed else (root, probs)
    crossed = row_sum(weight * v, row_axis) - weight * v
    return back(own - height * crossed)


def gauss_newton_product(
    logits_of: Callable[[Any], Array],
    params: Any,
    vectors: Any,
    hessian_product: Callable[[Array, Array], Array],
) -> Any:
    """Jᵀ·H·J·v: the Gauss-Newton (Fisher) matrix of a sum of losses in the parameters of a model.

    Args:
        logits_of: from parameters to logits.
        params: where, any pytree.
        vectors: of the structure of `params`.
        hessian_product: `(logits, vectors) -> H·v`, `softmax_hessian_product` say, weighed for a
            mean.

    Returns:
        Of the structure of `params`.

    Raises:
        TypeError: as `jax.jvp`.
        ValueError: as `jax.jvp`.

    Edges:
        Positive semi-definite whatever the model, where the Hessian is not.

    Error:
        That of the model's derivatives and of `hessian_product`.

    Example:
        >>> import jax.numpy as jnp
        >>> features = jnp.array([[1.0, 2.0], [0.5, -1.0]])
        >>> def model(kernel):
        ...     return features @ kernel
        >>> kernel = jnp.zeros((2, 3))
        >>> gauss_newton_product(model, kernel, kernel + 1.0, softmax_hessian_product).shape
        (2, 3)

    Source:
        Schraudolph, Fast curvature matrix-vector products for second-order gradient descent, Neural
        Computation 14 (2002).
    """
    logits, moved = jax.jvp(logits_of, (params,), (vectors,))
    _, pull = jax.vjp(logits_of, params)
    product = hessian_product(logits, moved.astype(logits.dtype))
    return pull(product.astype(logits.dtype))[0]
