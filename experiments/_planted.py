"""Functions whose gradients are right, wrong or undecided by construction, to try checkers on.

A wrong one carries a planted error in a derivative rule; where it is planted is known.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
import optax
from flax import nnx
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

import jbce
from jbce import numerics, verify

Array = Any
Kind = Literal["right", "wrong", "kink"]


@dataclass(frozen=True)
class Case:
    """A function of its arguments to one number."""

    name: str
    kind: Kind
    function: Callable[..., Any]
    args: tuple[Any, ...]
    order: int = 1
    argnums: int | tuple[int, ...] = 0
    blame: str | None = None
    """Of a wrong one: "rule" or "arithmetic"."""
    where: tuple[int, ...] | None = None
    """The index of the planted error, where it is in one entry."""


def cases() -> list[Case]:
    """All of them."""
    return [*_wrong(), *_right(), *_kinks()]


# ---- tools ---------------------------------------------------------------------------------------


def _random(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _labels(batch: int, num_classes: int) -> Array:
    return jnp.asarray(np.random.default_rng(1).integers(0, num_classes, batch), jnp.int32)


def _elementwise(value: Callable[..., Any], slope: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one array with the derivative that it is told."""
    function = jax.custom_jvp(value)
    function.defjvp(lambda primals, tangents: (function(*primals), slope(*primals) * tangents[0]))
    return function


def _pulled(value: Callable[..., Any], gradient: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays whose gradients, `(cotangent, *arrays) -> tuple`, are as told."""
    function = jax.custom_vjp(value)
    function.defvjp(lambda *xs: (value(*xs), xs), lambda xs, cotangent: gradient(cotangent, *xs))
    return function


def _entry(index: int, factor: float, size: int) -> Array:
    return jnp.ones(size).at[index].set(factor)


def _sigmoid_bce(x: Array, y: Array) -> Array:
    return jnp.log1p(jnp.exp(x)) - x * y


def _linear_only(
    forward: Callable[..., Any], transpose: Callable[..., Any]
) -> Callable[[Array], Array]:
    """A derivative rule that is one thing forwards and another backwards."""

    @jax.custom_jvp
    def function(x: Array) -> Array:
        return jnp.sin(x)

    @function.defjvp
    def _rule(primals: Any, tangents: Any) -> Any:
        (x,), (t,) = primals, tangents
        slope = jnp.cos(x)
        moved = jax.custom_derivatives.linear_call(
            lambda r, t: forward(r * t), lambda r, c: transpose(r * c), slope, t
        )
        return function(x), moved

    return function


_wrong_when_mapped = Primitive("sine_wrong_when_mapped")
_wrong_when_mapped.def_impl(lambda x: jnp.sin(x))
_wrong_when_mapped.def_abstract_eval(lambda x: x)
mlir.register_lowering(_wrong_when_mapped, mlir.lower_fun(jnp.sin, multiple_results=False))
ad.defjvp(_wrong_when_mapped, lambda t, x: t * jnp.cos(x))
batching.primitive_batchers[_wrong_when_mapped] = lambda xs, axes: (jnp.sin(2 * xs[0]), axes[0])
verify.register_definition(_wrong_when_mapped, jnp.sin)


# ---- wrong ---------------------------------------------------------------------------------------


def _wrong() -> list[Case]:
    return [*_wrong_elementwise(), *_wrong_structures(), *_wrong_orders_and_modes()]


def _wrong_elementwise() -> list[Case]:
    x = _random(1024)
    y = (x > 0.3).astype(jnp.float32)
    wide = _random(10_000)

    def bce_with(slope: Callable[..., Any]) -> Callable[..., Any]:
        loss = _elementwise(lambda x: _sigmoid_bce(x, y), slope)
        return lambda x: jnp.mean(loss(x))

    def residual(x: Array) -> Array:
        return jax.nn.sigmoid(x) - y

    softplus = functools.partial(_elementwise, lambda x: jnp.log1p(jnp.exp(x)))
    one_wrong = _entry(17, 1.1, 10_000)
    hardly_wrong = _entry(4321, 1 + 2e-6, 10_000)
    dropped = _entry(5000, 0.0, 10_000)
    flipped = _entry(7, -1.0, 10_000)

    def mean_of(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: jnp.mean(function(x))

    wrong = functools.partial(Case, kind="wrong", blame="rule")
    return [
        wrong("zero gradient of a mean", function=bce_with(lambda x: 0 * x), args=(x,)),
        wrong("flipped sign of a mean", function=bce_with(lambda x: -residual(x)), args=(x,)),
        wrong("twice the gradient", function=bce_with(lambda x: 2 * residual(x)), args=(x,)),
        wrong(
            "a factor of 1 + 2e-6", function=bce_with(lambda x: residual(x) * (1 + 2e-6)), args=(x,)
        ),
        wrong("labels left out", function=bce_with(jax.nn.sigmoid), args=(x,)),
        wrong(
            "10 % in one entry of 10,000",
            function=mean_of(softplus(lambda x: jax.nn.sigmoid(x) * one_wrong)),
            args=(wide,),
            where=(17,),
        ),
        wrong(
            "2e-6 in one entry of 10,000",
            function=mean_of(softplus(lambda x: jax.nn.sigmoid(x) * hardly_wrong)),
            args=(wide,),
            where=(4321,),
        ),
        wrong(
            "one entry of 10,000 dropped",
            function=mean_of(softplus(lambda x: jax.nn.sigmoid(x) * dropped)),
            args=(wide,),
            where=(5000,),
        ),
        wrong(
            "the sign of one entry of 10,000",
            function=mean_of(softplus(lambda x: jax.nn.sigmoid(x) * flipped)),
            args=(wide,),
            where=(7,),
        ),
        wrong(
            "a power too low",
            function=lambda x: jnp.sum(_elementwise(lambda x: x**3, lambda x: 2 * x**2)(x)),
            args=(_random(20),),
        ),
        wrong(
            "half of a product rule",
            function=lambda x: jnp.sum(_elementwise(lambda x: x * jnp.sin(x), jnp.sin)(x)),
            args=(_random(20),),
        ),
        wrong(
            "the other branch",
            function=lambda x: jnp.sum(
                _elementwise(jax.nn.relu, lambda x: jnp.where(x < 0, 1.0, 0.0))(x)
            ),
            args=(_random(20),),
        ),
        wrong(
            "a temperature forgotten",
            function=lambda x: jnp.mean(
                _elementwise(lambda x: jnp.log1p(jnp.exp(x / 3)), lambda x: jax.nn.sigmoid(x / 3))(
                    x
                )
            ),
            args=(_random(50),),
        ),
        wrong(
            "a gradient that is clipped",
            function=lambda x: jnp.sum(
                _elementwise(jnp.square, lambda x: jnp.clip(2 * x, -1.0, 1.0))(x)
            ),
            args=(_random(20, scale=3.0),),
        ),
        wrong(
            "5 % wrong in bfloat16",
            function=lambda x: jnp.mean(
                _elementwise(jnp.sin, lambda x: jnp.cos(x) * jnp.asarray(1.05, x.dtype))(x)
            ),
            args=(_random(64).astype(jnp.bfloat16),),
        ),
        Case(
            "a rule in bfloat16",
            "wrong",
            lambda x: jnp.sum(
                _elementwise(
                    jnp.sin, lambda x: jnp.cos(x).astype(jnp.bfloat16).astype(jnp.float32)
                )(x)
            ),
            (_random(50),),
            blame="arithmetic",
        ),
        Case(
            "a confident softmax cross-entropy",
            "wrong",
            lambda x: jnp.sum(
                optax.softmax_cross_entropy_with_integer_labels(x, jnp.array([0, 0]))
            ),
            (jnp.array([[20.0, 0.0, 0.0], [18.0, 1.0, -1.0]]),),
            blame="arithmetic",
        ),
    ]


def _wrong_structures() -> list[Case]:
    a, b = _random(6, 6), _random(6, 6, seed=2)
    logits, labels = _random(8, 5), _labels(8, 5)

    product = _pulled(jnp.matmul, lambda c, a, b: (c @ b.T, c.T @ a))

    def cross_entropy(x: Array) -> Array:
        chosen = jnp.take_along_axis(x, labels[:, None], 1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(x, axis=1) - chosen)

    def probs_only(c: Array, x: Array) -> tuple[Array]:
        return (c * jax.nn.softmax(x, axis=1) / 8,)

    def wrong_axis(c: Array, x: Array) -> tuple[Array]:
        return (c * (jax.nn.softmax(x, axis=0) - jax.nn.one_hot(labels, 5)) / 8,)

    def unnormalised(c: Array, x: Array) -> tuple[Array]:
        return (c * jnp.exp(x - jnp.max(x)),)

    affine = _pulled(
        lambda x, w, bias: x @ w + bias, lambda c, x, w, bias: (c @ w.T, x.T @ c, c[0])
    )
    shifted = _pulled(
        lambda x: jnp.cumsum(x), lambda c, x: (jnp.roll(jnp.cumsum(c[::-1])[::-1], 1),)
    )
    swapped = _pulled(lambda x, y: jnp.sin(x - y), lambda c, x, y: (c * jnp.cos(x - y),) * 2)

    def convolved(x: Array, kernel: Array) -> Array:
        return jnp.convolve(x, kernel, mode="valid")

    unflipped = _pulled(
        convolved, lambda c, x, k: (jnp.convolve(c, k), jnp.convolve(x, c[::-1], mode="valid"))
    )

    def recurrence(x: Array) -> Array:
        return jax.lax.scan(lambda h, t: (jnp.tanh(h + t), None), jnp.zeros(()), x)[0]

    no_carry = _pulled(
        recurrence, lambda c, x: (jnp.zeros_like(x).at[-1].set(c * (1 - recurrence(x) ** 2)),)
    )

    def penalised(params: dict[str, Array]) -> Array:
        return jnp.sum(jnp.sin(params["kernel"])) + jnp.sum(params["bias"] ** 2)

    no_penalty = _pulled(
        penalised,
        lambda c, p: ({"kernel": c * jnp.cos(p["kernel"]), "bias": c * 1.9 * p["bias"]},),
    )
    tree = {"kernel": _random(3, 4), "bias": _random(4, seed=3)}
    wrong = functools.partial(Case, kind="wrong", blame="rule")
    return [
        wrong(
            "a matrix transposed",
            function=lambda a, b: jnp.sum(jnp.sin(product(a, b))),
            args=(a, b),
            argnums=(0, 1),
        ),
        wrong(
            "softmax without the labels",
            function=_pulled(cross_entropy, probs_only),
            args=(logits,),
        ),
        wrong(
            "softmax over the wrong axis",
            function=_pulled(cross_entropy, wrong_axis),
            args=(logits,),
        ),
        wrong(
            "a softmax that is not normalised",
            function=_pulled(lambda x: jax.nn.logsumexp(x), unnormalised),
            args=(_random(7),),
        ),
        wrong(
            "a bias of the first example only",
            function=lambda x, w, bias: jnp.sum(jnp.tanh(affine(x, w, bias))),
            args=(_random(5, 3), _random(3, 4, seed=2), _random(4, seed=3)),
            argnums=(0, 1, 2),
        ),
        wrong(
            "a gradient shifted by one",
            function=lambda x: jnp.sum(jnp.sin(shifted(x))),
            args=(_random(12),),
        ),
        wrong(
            "an argument's sign",
            function=lambda x, y: jnp.sum(swapped(x, y)),
            args=(_random(9), _random(9, seed=4)),
            argnums=(0, 1),
        ),
        wrong(
            "a kernel that is not flipped",
            function=lambda x, k: jnp.sum(jnp.sin(unflipped(x, k))),
            args=(_random(12), _random(3, seed=5)),
            argnums=(0, 1),
        ),
        wrong("a carry forgotten", function=no_carry, args=(_random(6),)),
        wrong("a leaf of a tree 5 % off", function=no_penalty, args=(tree,)),
    ]


def _wrong_orders_and_modes() -> list[Case]:
    x = _random(10)
    stopped = _elementwise(jnp.sin, lambda x: jax.lax.stop_gradient(jnp.cos(x)))
    inner = _elementwise(jnp.cos, lambda x: -1.01 * jnp.sin(x))
    second_off = _elementwise(jnp.sin, inner)

    def double(t: Array) -> Array:
        return 2 * t

    def same(t: Array) -> Array:
        return t

    other_value = jax.custom_vjp(jnp.sin)
    other_value.defvjp(lambda x: (jnp.sin(x) + 0.01, x), lambda x, c: (c * jnp.cos(x),))
    wrong = functools.partial(Case, kind="wrong", blame="rule")
    return [
        wrong(
            "a second derivative stopped",
            function=lambda x: jnp.sum(stopped(x)),
            args=(x,),
            order=2,
        ),
        wrong(
            "a second derivative 1 % off",
            function=lambda x: jnp.sum(second_off(x)),
            args=(x,),
            order=2,
        ),
        wrong(
            "wrong in forward mode only",
            function=lambda x: jnp.sum(_linear_only(double, same)(x)),
            args=(x,),
        ),
        wrong(
            "wrong in reverse mode only",
            function=lambda x: jnp.sum(_linear_only(same, double)(x)),
            args=(x,),
        ),
        wrong(
            "wrong under vmap only",
            function=lambda x: jnp.sum(_wrong_when_mapped.bind(x)),
            args=(x,),
        ),
        wrong(
            "another value under differentiation",
            function=lambda x: jnp.sum(other_value(x)),
            args=(x,),
        ),
        wrong(
            "|x| with a derivative of 1 at 0",
            function=lambda x: jnp.sum(jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))),
            args=(jnp.array([0.0, 1.0, -2.0]),),
            where=(0,),
        ),
    ]


# ---- right ---------------------------------------------------------------------------------------


class _Convolutional(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.convolution = nnx.Conv(1, 3, (3, 3), rngs=rngs)
        self.linear = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        hidden = nnx.max_pool(jnp.tanh(self.convolution(x)), (2, 2), (2, 2))
        return self.linear(jnp.mean(hidden, axis=(1, 2)))


def _right() -> list[Case]:
    return [*_right_losses(), *_right_functions(), *_right_networks()]


def _right_losses() -> list[Case]:
    logits, labels = _random(8, 5, scale=3.0), _labels(8, 5)
    dense = jax.nn.softmax(_random(8, 5, seed=2))
    hard = (_random(40, seed=6) > 0).astype(jnp.float32)
    confident = jnp.array([[40.0, 0.0, 0.0], [-20.0, 3.0, 1.0]])
    probs = jax.nn.sigmoid(_random(10))
    right = functools.partial(Case, kind="right")

    def mean(loss: Callable[..., Any], *labels: Any, **settings: Any) -> Callable[..., Any]:
        return lambda x: jnp.mean(loss(x, *labels, **settings))

    ours = [
        right(
            "sigmoid_binary_cross_entropy",
            function=mean(jbce.sigmoid_binary_cross_entropy, hard),
            args=(_random(40),),
        ),
        right(
            "softmax_cross_entropy_with_integer_labels",
            function=mean(jbce.softmax_cross_entropy_with_integer_labels, labels),
            args=(logits,),
        ),
        right(
            "softmax_cross_entropy in both arguments",
            function=lambda x, q: jbce.mean(jbce.softmax_cross_entropy(x, q)),
            args=(logits, dense),
            argnums=(0, 1),
        ),
        right(
            "binary_cross_entropy of probabilities",
            function=mean(jbce.binary_cross_entropy, hard[:10]),
            args=(probs,),
        ),
        right("log_odds", function=mean(jbce.log_odds, labels), args=(logits,)),
        right(
            "a confident loss of ours",
            function=mean(jbce.softmax_cross_entropy_with_integer_labels, jnp.array([0, 1])),
            args=(confident,),
        ),
        right(
            "the Hessian of a confident loss of ours",
            function=mean(jbce.softmax_cross_entropy_with_integer_labels, jnp.array([0, 1])),
            args=(confident,),
            order=2,
        ),
        right(
            "the Hessian of the binary loss",
            function=mean(jbce.sigmoid_binary_cross_entropy, hard),
            args=(_random(40, scale=8.0),),
            order=2,
        ),
        right(
            "the merge of two summaries",
            function=lambda x: numerics.max_tail(x[:2]).merge(numerics.max_tail(x[2:])).logsumexp(),
            args=(_random(5),),
        ),
        right("entropy", function=lambda x: jnp.sum(numerics.entropy(x)), args=(logits,)),
    ]
    theirs = [
        right(
            "optax: sigmoid_binary_cross_entropy",
            function=mean(optax.sigmoid_binary_cross_entropy, hard),
            args=(_random(40),),
        ),
        right(
            "optax: softmax_cross_entropy_with_integer_labels",
            function=mean(optax.softmax_cross_entropy_with_integer_labels, labels),
            args=(logits,),
        ),
        right(
            "optax: softmax_cross_entropy",
            function=mean(optax.softmax_cross_entropy, dense),
            args=(logits,),
        ),
        right(
            "optax: sigmoid_focal_loss",
            function=mean(optax.sigmoid_focal_loss, hard, gamma=2.0),
            args=(_random(40),),
        ),
        right(
            "optax: poly_loss_cross_entropy",
            function=mean(optax.losses.poly_loss_cross_entropy, dense),
            args=(logits,),
        ),
        right(
            "optax: kl_divergence",
            function=lambda x: jnp.mean(optax.losses.kl_divergence(jax.nn.log_softmax(x), dense)),
            args=(logits,),
        ),
    ]
    return ours + theirs


def _right_functions() -> list[Case]:
    x, positive = _random(12), jnp.abs(_random(12)) + 0.1
    inside = jnp.tanh(_random(12))
    right = functools.partial(Case, kind="right")

    def total(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: jnp.sum(function(x))

    many = {
        "gelu": (jax.nn.gelu, x),
        "silu": (jax.nn.silu, x),
        "selu": (jax.nn.selu, x),
        "softplus at 0": (jax.nn.softplus, x.at[0].set(0)),
        "log_softmax with a tie": (lambda x: jnp.sin(jax.nn.log_softmax(x)), x.at[0].set(x[1])),
        "logsumexp with a tie": (jax.nn.logsumexp, x.at[0].set(x[1])),
        "logaddexp at equal numbers": (lambda x: jnp.logaddexp(x, x[0]), x),
        "erf": (special.erf, x),
        "erf_inv": (special.erfinv, inside),
        "gammaln": (special.gammaln, positive),
        "digamma": (special.digamma, positive),
        "log_ndtr": (special.log_ndtr, x),
        "entr": (special.entr, positive),
        "xlogy": (lambda x: special.xlogy(x, 2 * x), positive),
        "a guarded square root": (
            lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0),
            x,
        ),
        "stop_gradient": (lambda x: jax.lax.stop_gradient(x) * x, x),
        "sort": (lambda x: jnp.sort(x) * jnp.arange(12.0), x),
        "cumulative product": (jnp.cumprod, positive),
        "einsum": (lambda x: jnp.einsum("i,j,k->", x, jnp.sin(x), x), x),
        "gather and scatter": (
            lambda x: jnp.asarray(x).at[jnp.array([0, 3, 3])].add(x[5:8] ** 2) ** 2,
            x,
        ),
        "cond": (lambda x: jax.lax.cond(jnp.sum(x) > 0, jnp.sin, jnp.cos, x), x),
        "remat": (jax.checkpoint(lambda x: jnp.sin(jnp.exp(x))), x),
        "scan": (lambda x: jax.lax.scan(lambda h, t: (jnp.tanh(h + t), h), jnp.zeros(()), x)[1], x),
        "while with a fixed count": (
            lambda x: jax.lax.fori_loop(0, 3, lambda i, h: jnp.sin(h) + x, x),
            x,
        ),
        "bfloat16 softplus": (jax.nn.softplus, x.astype(jnp.bfloat16)),
        "float16 sine": (jnp.sin, x.astype(jnp.float16)),
        "a mean of 4,096": (lambda x: jnp.mean(jnp.log1p(jnp.exp(x))), _random(4096)),
        "an identity at 1e5": (lambda x: x, 1e5 + x),
        "a small square at 1e6": (lambda x: x**2 / 1e6, 1e6 + x),
    }
    ordered = {"tanh, order 2": (jnp.tanh, x), "erf, order 2": (special.erf, x)}
    return [
        *(right(n, function=total(f), args=(a,)) for n, (f, a) in many.items()),
        *(right(n, function=total(f), args=(a,), order=2) for n, (f, a) in ordered.items()),
    ]


def _right_networks() -> list[Case]:
    features, labels = _random(16, 4), _labels(16, 3)
    mlp = nnx.Sequential(
        nnx.Linear(4, 8, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(8, 3, rngs=nnx.Rngs(1))
    )
    mlp_graph, mlp_state = nnx.split(mlp)
    cnn_graph, cnn_state = nnx.split(_Convolutional())
    images = _random(2, 6, 6, 1)

    def train(state: Any) -> Array:
        logits = nnx.merge(mlp_graph, state)(features)
        return jbce.mean(jbce.softmax_cross_entropy_with_integer_labels(logits, labels))

    def convolve(state: Any) -> Array:
        logits = nnx.merge(cnn_graph, state)(images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels[:2] % 2))

    def attend(params: dict[str, Array]) -> Array:
        q, k, v = (features @ params[name] for name in "qkv")
        weights = jax.nn.softmax(q @ k.T / 2, axis=-1)
        return jnp.mean(jnp.square(weights @ v))

    def embed(table: Array) -> Array:
        return jnp.mean(jnp.tanh(table[labels]) ** 2)

    def drop(x: Array) -> Array:
        kept = jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)
        return jnp.mean(jnp.where(kept, x / 0.5, 0) ** 2)

    def normalise(x: Array) -> Array:
        centred = x - jnp.mean(x, axis=0)
        return jnp.sum(jnp.sin(centred / jnp.sqrt(jnp.mean(centred**2, axis=0) + 1e-5)))

    right = functools.partial(Case, kind="right")
    params = {name: _random(4, 4, seed=i) for i, name in enumerate("qkv")}
    return [
        right("a Flax network with our loss", function=train, args=(mlp_state,)),
        right("a convolutional Flax network", function=convolve, args=(cnn_state,)),
        right("attention", function=attend, args=(params,)),
        right("an embedding", function=embed, args=(_random(3, 4),)),
        right("dropout", function=drop, args=(features,)),
        right("batch normalisation", function=normalise, args=(features,)),
    ]


# ---- kinks ---------------------------------------------------------------------------------------


def _kinks() -> list[Case]:
    at_zero = jnp.array([1.0, 0.0, -2.0])
    tie = jnp.array([1.0, 1.0, -2.0])
    many: dict[str, tuple[Callable[..., Any], Array]] = {
        "relu at 0": (jax.nn.relu, at_zero),
        "abs at 0": (jnp.abs, at_zero),
        "leaky_relu at 0": (jax.nn.leaky_relu, at_zero),
        "relu6 at 6": (jax.nn.relu6, at_zero + 5),
        "clip at its bound": (lambda x: jnp.clip(x, -2.0, 2.0), at_zero),
        "a hinge at its margin": (lambda x: jnp.maximum(0, 1 - x), tie),
        "the maximum of equal numbers": (jnp.max, tie),
        "a norm of one at 0": (lambda x: jnp.linalg.norm(x, ord=1), at_zero),
        "the smallest of eight equal numbers": (
            lambda x: jax.nn.relu(jnp.min(x)),
            jnp.zeros(8),
        ),
        "a median of equal numbers": (jnp.median, tie),
        "sorted equal numbers": (lambda x: jnp.sort(x)[0] * 2 + jnp.sort(x)[1], -tie),
        "elu with another slope at 0": (lambda x: jax.nn.elu(x, 2.0), at_zero),
        "where at its border": (lambda x: jnp.where(x > 0, x, 3 * x), at_zero),
        "a step at 0": (lambda x: jnp.where(x > 0, x + 1, x), at_zero),
        "floor at an integer": (lambda x: jnp.floor(x) + x, at_zero),
        "max pooling of equal numbers": (
            lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (1,), "VALID"),
            tie,
        ),
    }
    cases = [
        Case(name, "kink", functools.partial(_total, function), (args,))
        for name, (function, args) in many.items()
    ]
    squared = functools.partial(_total, lambda x: jax.nn.relu(x) ** 2)
    return [*cases, Case("the second derivative of relu²", "kink", squared, (at_zero,), order=2)]


def _total(function: Callable[..., Any], x: Array) -> Array:
    return jnp.sum(function(x))
