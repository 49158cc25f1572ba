"""Closed forms of gradients and second derivatives against jax's derivatives of the losses."""

import definitions
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jbce
from jbce import curvature

INF, NAN = np.inf, np.nan
KEY = jax.random.key(0)
LOGITS = 4 * jax.random.normal(KEY, (7, 5))
VECTORS = jax.random.normal(jax.random.key(1), (7, 5))
INDEX = jax.random.randint(KEY, (7,), 0, 5)
DENSE = jax.nn.softmax(2 * jax.random.normal(jax.random.key(2), (7, 5)))
HARD = jax.random.bernoulli(KEY, 0.5, (7, 5)).astype(jnp.float32)


def _hessians(x):
    return definitions.categorical(x, np.full(x.shape, 1 / x.shape[-1]))[2]


def test_products_are_those_of_the_hessian():
    exact = np.einsum("bij,bj->bi", _hessians(LOGITS), np.float64(VECTORS))
    scale = np.abs(exact).max()
    found = curvature.softmax_hessian_product(LOGITS, VECTORS)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6 * scale)
    loss = jbce.softmax_cross_entropy_with_integer_labels
    _, automatic = jax.jvp(jax.grad(lambda x: loss(x, INDEX).sum()), (LOGITS,), (VECTORS,))
    np.testing.assert_allclose(found, automatic, rtol=1e-6)
    diagonal = np.einsum("bii->bi", _hessians(LOGITS))
    np.testing.assert_allclose(curvature.softmax_hessian_diagonal(LOGITS), diagonal, rtol=2e-6)
    binary = curvature.sigmoid_hessian_product(LOGITS, VECTORS)
    exact = definitions.binary(LOGITS, 0.0)[2] * np.float64(VECTORS)
    assert definitions.ulps(binary, exact).max() <= 1.1


@pytest.mark.parametrize("axis", [-1, 0, (0, 1), (1, 0)], ids=str)
def test_the_factor_is_a_square_root_of_the_hessian(axis):
    where = jax.random.bernoulli(KEY, 0.8, LOGITS.shape)
    for exists in (None, where):
        root = curvature.softmax_hessian_factor_product(
            LOGITS, VECTORS, axis, exists, transposed=True
        )
        product = curvature.softmax_hessian_factor_product(LOGITS, root, axis, exists)
        wanted = curvature.softmax_hessian_product(LOGITS, VECTORS, axis, exists)
        np.testing.assert_allclose(product, wanted, rtol=1e-4, atol=1e-7)
        if exists is not None:
            assert bool((wanted == jnp.where(exists, wanted, 0)).all())
    other = jnp.cos(VECTORS)
    transposed = jax.linear_transpose(
        lambda v: curvature.softmax_hessian_factor_product(LOGITS, v, axis), VECTORS
    )(other)[0]
    found = curvature.softmax_hessian_factor_product(LOGITS, other, axis, transposed=True)
    np.testing.assert_allclose(found, transposed, rtol=1e-5, atol=1e-7)


def test_confident_rows_do_not_cancel():
    x = jnp.array([[60.0, 0.0, 0.0]])
    e = np.exp(-60.0)
    one = jnp.array([[1.0, 0.0, 0.0]])
    found = curvature.softmax_hessian_product(x, one)
    np.testing.assert_allclose(found, [[2 * e, -e, -e]], rtol=1e-6)
    np.testing.assert_allclose(curvature.softmax_hessian_diagonal(x), [[2 * e, e, e]], rtol=1e-6)
    norm = curvature.softmax_gradient_norm_with_integer_labels(x, jnp.array([0]))
    np.testing.assert_allclose(norm, np.sqrt(6) * e, rtol=1e-6)
    np.testing.assert_allclose(curvature.softmax_gradient_norm(x, one), np.sqrt(6) * e, rtol=1e-6)


def test_gradient_norms():
    cases = [
        (
            curvature.softmax_gradient_norm_with_integer_labels,
            jbce.softmax_cross_entropy_with_integer_labels,
            INDEX,
        ),
        (curvature.softmax_gradient_norm, jbce.softmax_cross_entropy, DENSE),
    ]
    for norm, loss, labels in cases:
        gradient = jax.grad(lambda x, f=loss, y=labels: f(x, y).sum())(LOGITS)
        exact = np.linalg.norm(np.float64(gradient), axis=1)
        np.testing.assert_allclose(norm(LOGITS, labels), exact, rtol=2e-6)
        where = jnp.arange(7) % 2 == 0
        np.testing.assert_array_equal(
            norm(jnp.where(where[:, None], LOGITS, NAN), labels, where=where),
            jnp.where(where, norm(LOGITS, labels), 0),
        )
        assert np.isnan(norm(LOGITS.at[0, 0].set(NAN), labels)[0])
    slope = jax.grad(lambda x: jbce.sigmoid_binary_cross_entropy(x, HARD).sum())(LOGITS)
    np.testing.assert_allclose(
        curvature.sigmoid_gradient_norm(LOGITS, HARD), jnp.abs(slope), rtol=1e-6
    )
    np.testing.assert_allclose(
        curvature.sigmoid_gradient_norm(LOGITS, HARD, -1), np.linalg.norm(slope, axis=1), rtol=1e-6
    )


@pytest.mark.jax_defaults
def test_the_gauss_newton_product_is_the_matrix():
    features = jax.random.normal(KEY, (7, 3))

    def model(params):
        return jnp.tanh(features @ params["kernel"]) @ params["head"]

    params = {
        "kernel": jax.random.normal(jax.random.key(1), (3, 4)),
        "head": jax.random.normal(jax.random.key(2), (4, 5)),
    }
    flat, back = ravel_pytree(params)
    jacobian = np.asarray(jax.jacobian(lambda f: model(back(f)))(flat), np.float64)
    matrix = np.einsum("bip,bij,bjq->pq", jacobian, _hessians(model(params)), jacobian)
    vector = jnp.cos(jnp.arange(flat.size, dtype=jnp.float32))
    found = curvature.gauss_newton_product(
        model, params, back(vector), curvature.softmax_hessian_product
    )
    found, _ = ravel_pytree(found)
    np.testing.assert_allclose(found, matrix @ np.float64(vector), rtol=1e-4, atol=1e-4)
