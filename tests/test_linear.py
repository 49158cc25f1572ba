"""Losses of a linear layer: equal to those of its logits, at every order, and smaller."""

import itertools
import re
from typing import Any

import definitions
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbce
from jbce.linear import (
    linear_log_odds,
    linear_sigmoid_binary_cross_entropy,
    linear_softmax_cross_entropy,
    linear_top_k,
)

ROWS, FEATURES, CLASSES = 7, 5, 23  # a prime number of classes: no block size divides them
RANDOM = np.random.default_rng(0)
HIDDEN = RANDOM.normal(size=(ROWS, FEATURES))
KERNEL = RANDOM.normal(size=(FEATURES, CLASSES))
BIAS = RANDOM.normal(size=CLASSES)
LABELS = RANDOM.integers(0, CLASSES, ROWS)
PER_CLASS = RANDOM.uniform(0, 2, CLASSES)
PER_ROW = RANDOM.uniform(0.1, 0.9, ROWS)
EXAMPLES = np.arange(ROWS) % 3 != 1
EXIST = RANDOM.uniform(size=(ROWS, CLASSES)) < 0.8
EXIST[np.arange(ROWS), LABELS] = True  # a label that does not exist costs inf
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "where examples": {"where": EXAMPLES},
    "where classes": {"where": EXIST, "label_smoothing": 0.1},
    "all": {
        "label_smoothing": 0.2,
        "class_weights": PER_CLASS,
        "z_loss": PER_ROW,
        "temperature": 2.0,
        "soft_cap": PER_ROW,
        "logit_adjustment": BIAS,
        "where": EXIST,
    },
}


def derivatives(function, arguments, tangents, *, every=True):
    """Value, gradient, a Hessian-vector product; with `every` both ways, and a third derivative."""
    numbers = tuple(range(len(arguments)))
    gradient = jax.grad(function, numbers)

    def along(*arguments):
        slopes = gradient(*arguments)
        return sum(jnp.vdot(a, b) for a, b in zip(slopes, tangents, strict=True))

    def second(*arguments):
        return jax.jvp(gradient, arguments, tangents)

    value, slope = jax.jvp(function, arguments, tangents)
    found = {"value": value, "jvp": slope, "forward over reverse": second(*arguments)}
    if every:
        found["reverse over reverse"] = jax.grad(along, numbers)(*arguments)
        found["third"] = jax.jvp(second, arguments, tangents)[1]
    return found


def close(found, wanted, tolerance):
    def compare(a, b):
        scale = max(np.max(np.abs(b), initial=0), 1e-300)
        return np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0) <= tolerance * scale

    for name, value in found.items():
        for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(wanted[name]), strict=True):
            assert compare(a, b), name


# Blocks are taken apart in one way on CPU and in another elsewhere: both run here. What single
# options do to a gradient is below.
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param("none", "cpu", marks=pytest.mark.thorough),
        pytest.param("where examples", "cpu", marks=pytest.mark.thorough),
        ("where classes", "cpu"),
        ("where classes", "gpu"),
        ("all", "cpu"),
    ],
)
def test_every_derivative_is_that_of_the_plain_loss(name, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    options = OPTIONS[name]

    def loss(implementation):
        def summed(hidden, kernel, bias):
            losses = linear_softmax_cross_entropy(
                hidden,
                kernel,
                jnp.asarray(LABELS),
                bias=bias,
                block_size=4,
                implementation=implementation,
                **options,
            )
            return jnp.sum(cotangent * losses)

        return summed

    with jax.enable_x64(True):
        cotangent = jnp.asarray(RANDOM.normal(size=ROWS))
        arguments = tuple(jnp.asarray(a) for a in (HIDDEN, KERNEL, BIAS))
        tangents = tuple(jnp.cos(3 * a) for a in arguments)
        found, wanted = (
            derivatives(loss(form), arguments, tangents, every=name == "none")
            for form in ("blocks", "logits")
        )
        close(found, wanted, 1e-13)


def gradient_in_option(name, at, implementation, **others):
    """Value and gradient of the sum of the losses in one option, in float64."""

    def summed(value):
        losses = linear_softmax_cross_entropy(
            jnp.asarray(HIDDEN),
            jnp.asarray(KERNEL),
            jnp.asarray(LABELS),
            block_size=4,
            implementation=implementation,
            **{name: value},
            **others,
        )
        return jnp.sum(losses)

    return jax.value_and_grad(summed)(jnp.asarray(at))


# At 0 and 1 too, where a sweep begins: a term that counts nothing has a derivative.
@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("temperature", 0.7),
        ("soft_cap", 0.7),
        *(("label_smoothing", at) for at in (0.0, 0.7, 1.0)),
        *(("z_loss", at) for at in (0.0, 0.7)),
    ],
)
def test_options_are_differentiated_in(name, at):
    with jax.enable_x64(True):
        a, b = (gradient_in_option(name, at, form) for form in ("blocks", "logits"))
    np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.parametrize("name", ["class_weights", "logit_adjustment", "bias"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_numbers_of_classes_are_differentiated_in(name, smoothing):
    at = np.where(np.isin(np.arange(CLASSES), LABELS[:2]), 0, PER_CLASS)
    with jax.enable_x64(True):
        a, b = (
            gradient_in_option(name, at, form, label_smoothing=smoothing)[1]
            for form in ("blocks", "logits")
        )
    np.testing.assert_allclose(a, b, atol=1e-13)


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "float64")])
def test_mixed_dtypes_are_summed_in_the_wider(dtypes):
    with jax.enable_x64(True):
        hidden, kernel = (
            jnp.asarray(a).astype(dtype) for a, dtype in zip((HIDDEN, KERNEL), dtypes, strict=True)
        )
        options: dict[str, Any] = {"label_smoothing": 0.1, "z_loss": 0.1, "temperature": 2.0}
        losses = linear_softmax_cross_entropy(
            hidden, kernel, jnp.asarray(LABELS), block_size=4, **options
        )
        plain = jbce.softmax_cross_entropy_with_integer_labels(
            hidden.astype(dtypes[1]) @ kernel, jnp.asarray(LABELS), **options
        )
    assert losses.dtype == dtypes[1]
    np.testing.assert_allclose(losses, plain, rtol=10 * float(jnp.finfo(dtypes[1]).eps))


@pytest.mark.parametrize(
    ("batch", "class_axis", "block_size"),
    [((), 0, 5), ((3,), -1, None), ((2, 3), 0, 1), ((2, 3), -1, 5), ((3,), 0, 23), ((3,), -1, 100)],
)
def test_any_batch_block_and_layout(batch, class_axis, block_size):
    hidden = jnp.asarray(RANDOM.normal(size=(*batch, FEATURES)), jnp.float32)
    labels = jnp.asarray(RANDOM.integers(0, CLASSES, batch))
    kernel = jnp.asarray(KERNEL, jnp.float32)
    given = kernel if class_axis else kernel.T
    losses = linear_softmax_cross_entropy(
        hidden, given, labels, class_axis=class_axis, block_size=block_size
    )
    assert losses.shape == batch
    plain = jbce.softmax_cross_entropy_with_integer_labels(hidden @ kernel, labels)
    np.testing.assert_allclose(losses, plain, rtol=2e-6)


@pytest.mark.parametrize("over", ["kernels", "examples", "both", "options"])
def test_vmap_is_a_loop(over):
    hidden, kernel = jnp.asarray(HIDDEN, jnp.float32), jnp.asarray(KERNEL, jnp.float32)
    labels = jnp.asarray(LABELS)
    kernels = jnp.stack([kernel, 2 * kernel, -kernel])

    def gradient(hidden, kernel, labels, temperature):
        def summed(hidden, kernel):
            return jnp.sum(
                linear_softmax_cross_entropy(
                    hidden, kernel, labels, block_size=4, temperature=temperature
                )
            )

        return jax.value_and_grad(summed, (0, 1))(hidden, kernel)

    gradient = jax.jit(gradient)
    one = jnp.float32(1.0)
    cases = {
        "kernels": ((None, 0, None, None), (hidden, kernels, labels, one)),
        "examples": ((0, None, 0, None), (hidden, kernel, labels, one)),
        "both": ((0, 0, 0, None), (hidden[:3], kernels, labels[:3], one)),
        "options": ((None, None, None, 0), (hidden, kernel, labels, jnp.array([1.0, 2.0]))),
    }
    axes, arguments = cases[over]
    found = jax.vmap(gradient, axes)(*arguments)
    count = next(a.shape[0] for a, axis in zip(arguments, axes, strict=True) if axis == 0)
    rows = [
        gradient(*(a if axis is None else a[i] for a, axis in zip(arguments, axes, strict=True)))
        for i in range(count)
    ]
    wanted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


SCALES = {"initialisation": 1.0, "confident": 40.0}


@pytest.mark.parametrize(
    ("dtype", "scale", "classes"),
    [
        *(("float32", "initialisation", 1031), ("float32", "confident", 129)),
        *(("bfloat16", "initialisation", 1031), ("bfloat16", "confident", 129)),
        ("float16", "confident", 129),
    ],
)
def test_no_worse_than_the_plain_loss_beside_float64(dtype, scale, classes):
    # tokamax's `chunked_xla` is 1.4 % off for ragged vocabularies, and 0.9 % in bfloat16
    random = np.random.default_rng(1)
    rows, features = 37, 64
    labels = random.integers(0, classes, rows)
    kernel = random.normal(size=(features, classes)) / np.sqrt(features)
    hidden = random.normal(size=(rows, features))
    # towards the label's column, so that margins grow with the scale
    hidden = hidden + (SCALES[scale] - 1) * kernel[:, labels].T
    cotangent = random.normal(size=rows)
    arguments = tuple(jnp.asarray(a).astype(dtype) for a in (hidden, kernel))

    def summed(implementation):
        def function(hidden, kernel):
            if implementation == "plain":
                # Of blocks too: XLA CPU rounds products of other shapes by twice as much, or half.
                starts = range(0, classes, 64)
                blocks = [jnp.matmul(hidden, kernel[:, start : start + 64]) for start in starts]
                logits = jnp.concatenate(blocks, 1)
                losses = jbce.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels))
            else:
                losses = linear_softmax_cross_entropy(
                    hidden, kernel, jnp.asarray(labels), block_size=64
                )
            return jnp.sum(losses * jnp.asarray(cotangent, losses.dtype)), losses

        return jax.value_and_grad(function, (0, 1), has_aux=True)

    def wide(tree):
        return [np.asarray(a).astype("f8") for a in jax.tree.leaves(tree)]

    hidden, kernel = wide(arguments)
    d, tail, p, not_p = definitions.softmax_parts(hidden @ kernel)
    of_label = definitions.one_hot(labels, classes) == 1
    slopes = cotangent[:, None] * np.where(of_label, -not_p, p)
    exact = np.log1p(tail[:, 0]) - d[of_label], slopes @ kernel.T, hidden.T @ slopes
    ours, plain = (wide(summed(form)(*arguments))[1:] for form in ("ours", "plain"))
    unit = float(jnp.finfo(dtype).eps)
    names = "losses", "gradient of hidden", "gradient of kernel"
    for name, a, b, right in zip(names, ours, plain, exact, strict=True):
        error, others = (np.linalg.norm(found - right) for found in (a, b))
        assert error <= 1.25 * others + unit * np.linalg.norm(right) / 2, (name, error, others)


def test_nothing_is_lost_of_confident_losses():
    # The margin grows to where the usual form is exactly 0 in float32 (16.6) and beyond.
    margins = np.array([10.0, 20.0, 40.0, 60.0, 80.0])
    hidden = jnp.asarray(margins[:, None], jnp.float32)
    kernel = jnp.zeros((1, CLASSES), jnp.float32).at[0, 3].set(1)
    losses = linear_softmax_cross_entropy(hidden, kernel, jnp.full(5, 3), block_size=4)
    np.testing.assert_allclose(losses, np.log1p((CLASSES - 1) * np.exp(-margins)), rtol=3e-7)

    def summed(hidden):
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, jnp.full(5, 3), block_size=4))

    slopes = jax.grad(summed)(hidden)[:, 0]
    rest = (CLASSES - 1) * np.exp(-margins)
    np.testing.assert_allclose(slopes, -rest / (1 + rest), rtol=5e-7)


def temporaries(function, *arguments):
    compiled: Any = jax.jit(function).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("class_axis", [-1, 0])
def test_memory_does_not_grow_with_the_classes(class_axis):
    rows, features = 256, 16
    hidden = jnp.ones((rows, features))
    labels = jnp.zeros(rows, jnp.int32)

    def gradient(implementation):
        def summed(hidden, kernel):
            losses = linear_softmax_cross_entropy(
                hidden,
                kernel,
                labels,
                class_axis=class_axis,
                block_size=256,
                implementation=implementation,
            )
            return jnp.mean(losses)

        return jax.value_and_grad(summed, (0, 1))

    def of(implementation, classes):
        shape = (features, classes) if class_axis else (classes, features)
        return temporaries(gradient(implementation), hidden, jnp.ones(shape))

    few, many = of("blocks", 4099), of("blocks", 32_771)
    # but for the three numbers per example that reverse mode keeps of each block
    kept = 3 * 4 * rows * (32_771 // 256 - 4099 // 256)
    assert many <= 1.01 * few + kept, (few, many)
    assert many <= of("logits", 32_771) / 25


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_matrices_are_multiplied_as_such(dtype):
    # marin-community/marin#8368: float32 cotangents of the logits make both products of the
    # backward pass products of float32 numbers
    arguments = jnp.ones((8, 4), dtype), jnp.ones((4, 16), dtype)

    def summed(hidden, kernel):
        labels = jnp.zeros(8, jnp.int32)
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels, block_size=8))

    text = jax.jit(jax.grad(summed, (0, 1))).lower(*arguments).as_text()
    products = re.findall(r"dot_general.*: \(tensor<[\dx]+(\w+)>, tensor<[\dx]+(\w+)>\)", text)
    assert len(products) >= 4
    narrow = {"bfloat16": "bf16", "float16": "f16"}[dtype]
    of_loss, of_gradient = (narrow, narrow), ("f32", "f32")
    expected = {of_loss} if dtype == "bfloat16" else {of_loss, of_gradient}
    assert set(products) == expected


def test_hidden_states_with_nans_are_alone():
    hidden = jnp.asarray(HIDDEN, jnp.float32).at[2, 1].set(jnp.nan)
    kernel, labels = jnp.asarray(KERNEL, jnp.float32), jnp.asarray(LABELS)

    @jax.jit
    def gradient(hidden, kernel, labels):
        def summed(hidden, kernel):
            losses = linear_softmax_cross_entropy(hidden, kernel, labels, block_size=4)
            return jnp.nansum(losses), losses

        return jax.grad(summed, (0, 1), has_aux=True)(hidden, kernel)

    slopes, found = gradient(hidden, kernel, labels)
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    of_others, losses = gradient(np.delete(hidden, 2, 0), kernel, np.delete(labels, 2))
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(np.delete(np.asarray(slopes[0]), 2, 0), of_others[0], rtol=1e-5)
    np.testing.assert_array_equal(slopes[0][2], 0)
    np.testing.assert_allclose(slopes[1], of_others[1], rtol=1e-4, atol=1e-6)


def test_labels_out_of_range_poison_their_own_example():
    hidden, kernel = jnp.asarray(HIDDEN, jnp.float32), jnp.asarray(KERNEL, jnp.float32)
    labels = jnp.asarray(LABELS).at[1].set(CLASSES).at[3].set(-100)

    def losses(hidden, labels=labels, **options):
        return linear_softmax_cross_entropy(hidden, kernel, labels, block_size=4, **options)

    assert np.flatnonzero(np.isnan(losses(hidden))).tolist() == [1, 3]
    slopes = jax.grad(lambda h: jnp.sum(losses(h)))(hidden)
    assert np.flatnonzero(np.isnan(slopes).any(1)).tolist() == [1, 3]
    kept = losses(hidden, jnp.where(labels == CLASSES, -100, labels), ignore=-100)
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(kept) == 0), [1, 3])


def test_what_does_not_exist_leaves_no_trace():
    where = jnp.asarray(EXAMPLES)
    hidden = jnp.where(where[:, None], jnp.asarray(HIDDEN, jnp.float32), jnp.inf)
    kernel = jnp.asarray(KERNEL, jnp.float32)

    def summed(hidden, kernel):
        labels = jnp.where(where, jnp.asarray(LABELS), 10**6)
        losses = linear_softmax_cross_entropy(hidden, kernel, labels, where=where, block_size=4)
        return jnp.sum(losses)

    slopes = jax.grad(summed, (0, 1))(hidden, kernel)
    assert all(np.isfinite(a).all() for a in slopes)
    np.testing.assert_array_equal(slopes[0][~EXAMPLES], 0)


@pytest.mark.parametrize(
    ("rows", "classes"), [(0, 5), (3, 0), (0, 0), (3, 1)], ids=lambda n: str(n)
)
def test_nothing_to_sum_costs_nothing(rows, classes):
    def summed(hidden, kernel):
        labels = jnp.zeros(rows, jnp.int32)
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels))

    found = jax.value_and_grad(summed, (0, 1))(jnp.ones((rows, 2)), jnp.ones((2, classes)))
    if classes:
        assert all(not np.asarray(a).any() for a in jax.tree.leaves(found))
    else:  # no class is the label's
        assert rows == 0 or np.isnan(found[0])


def test_infinite_logits():
    hidden, kernel = jnp.ones((2, 1)), jnp.array([[1.0, 2.0, 3.0]])
    bias = jnp.array([-jnp.inf, 0.0, 0.0])
    losses = linear_softmax_cross_entropy(hidden, kernel, jnp.array([0, 1]), bias=bias)
    np.testing.assert_allclose(losses, [np.inf, np.log1p(np.e)], rtol=1e-6)
    slopes = jax.grad(
        lambda k: linear_softmax_cross_entropy(hidden[1:], k, jnp.array([1]), bias=bias).sum()
    )(kernel)
    p = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(slopes, [[0, -p, p]], rtol=1e-6)
    bias = jnp.array([jnp.inf, 0.0, 0.0])
    for size in (1, 2, 3):
        losses = linear_softmax_cross_entropy(
            hidden, kernel, jnp.array([0, 1]), bias=bias, block_size=size
        )
        np.testing.assert_array_equal(losses, [0, np.inf])
        costly: list[dict[str, Any]] = [{"label_smoothing": 0.1}, {"z_loss": 0.1}]
        for options in costly:
            losses = linear_softmax_cross_entropy(
                hidden, kernel, jnp.array([0, 1]), bias=bias, block_size=size, **options
            )
            np.testing.assert_array_equal(losses, [np.inf, np.inf])


def test_extreme_finite_logits():
    hidden, kernel, label = jnp.ones((1, 1)), jnp.zeros((1, 3)), jnp.array([0])
    largest = float(jnp.finfo(jnp.float32).max)
    cases: list[tuple[list[float], dict[str, Any]]] = [
        ([largest] * 3, {}),
        ([0.0, -largest, -largest], {"label_smoothing": 0.1}),
    ]
    for bias, options in cases:
        losses = linear_softmax_cross_entropy(
            hidden, kernel, label, bias=jnp.array(bias), block_size=2, **options
        )
        plain = jbce.softmax_cross_entropy_with_integer_labels(jnp.array([bias]), label, **options)
        np.testing.assert_allclose(losses, plain, rtol=1e-6)


def test_unknown_labels_are_nan_whatever_the_weights():
    arguments = jnp.ones((1, 1)), jnp.ones((1, 3)), jnp.array([7])
    cases: list[dict[str, Any]] = [
        {"class_weights": jnp.ones(3)},
        {"label_smoothing": 0.1},
        {"z_loss": 0.1},
    ]
    for options in cases:
        assert np.isnan(linear_softmax_cross_entropy(*arguments, **options))


def test_log_odds():
    with jax.enable_x64(True):
        logits = jnp.asarray(HIDDEN @ KERNEL + BIAS)
        cases: list[dict[str, Any]] = [
            {},
            {"temperature": 2.0},
            {"soft_cap": 3.0},
            {"where": EXIST},
        ]
        for options in cases:
            found = linear_log_odds(
                jnp.asarray(HIDDEN),
                jnp.asarray(KERNEL),
                jnp.asarray(LABELS),
                bias=jnp.asarray(BIAS),
                block_size=4,
                **options,
            )
            wanted = jbce.log_odds(logits, jnp.asarray(LABELS), **options)
            np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("k", [1, 3, CLASSES])
@pytest.mark.parametrize("block_size", [None, 2, 4])
def test_top_k(k, block_size):
    logits = np.asarray(HIDDEN @ KERNEL + BIAS)
    logits[:, 5] = logits[:, 17] = logits.max(1)  # ties, in different blocks
    values, index = linear_top_k(
        jnp.eye(ROWS), jnp.asarray(logits, jnp.float32), k, block_size=block_size
    )
    wanted = jax.lax.top_k(jnp.asarray(logits, jnp.float32), k)
    np.testing.assert_array_equal(values, wanted[0])
    np.testing.assert_array_equal(index, wanted[1])


def test_top_k_of_few_classes():
    bias = jnp.full(4, -jnp.inf).at[2].set(0)
    values, index = linear_top_k(jnp.ones((2, 1)), jnp.ones((1, 4)), 2, bias=bias, block_size=2)
    np.testing.assert_array_equal(values, [[1, -np.inf]] * 2)
    np.testing.assert_array_equal(index, [[2, -1]] * 2)


MULTI = [RANDOM.choice(CLASSES, size, replace=False) for size in (0, 1, 3, 4, 2, 4, 1)]
SETS = np.stack([np.pad(a, (0, 4 - len(a)), constant_values=-1) for a in MULTI])
DENSE = np.stack([np.isin(np.arange(CLASSES), a) for a in MULTI])


BINARY_OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": PER_ROW},
    {"pos_weight": PER_CLASS, "where": EXAMPLES},
    {"pos_weight": 3.0, "temperature": 2.0, "soft_cap": 2.0, "logit_adjustment": BIAS},
    {"where": EXIST},
]


# Sets are made of other parts than one label for each class, which are alike for any dtype.
@pytest.mark.parametrize(
    ("labels", "options"),
    [
        *(("sets", options) for options in BINARY_OPTIONS),
        *(("soft", options) for options in BINARY_OPTIONS[1:4]),
        *(("boolean", options) for options in BINARY_OPTIONS[::4]),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) or "none",
)
def test_binary(labels, options):
    with jax.enable_x64(True):
        soft = jnp.asarray(RANDOM.uniform(size=(ROWS, CLASSES)))
        given = {"sets": jnp.asarray(SETS), "boolean": jnp.asarray(DENSE), "soft": soft}[labels]
        dense = soft if labels == "soft" else jnp.asarray(DENSE)
        where = options.get("where", np.ones((ROWS, CLASSES), bool))
        others = {name: value for name, value in options.items() if name != "where"}

        def ours(hidden, kernel):
            losses = linear_sigmoid_binary_cross_entropy(
                hidden, kernel, given, bias=jnp.asarray(BIAS), block_size=4, **options
            )
            return jnp.sum(losses * jnp.asarray(PER_ROW))

        def plain(hidden, kernel):
            rowwise = {
                name: jnp.broadcast_to(value[:, None], dense.shape) if value is PER_ROW else value
                for name, value in others.items()
            }
            exist = where if where.ndim == 2 else np.broadcast_to(where[:, None], dense.shape)
            losses = jbce.sigmoid_binary_cross_entropy(
                hidden @ kernel + jnp.asarray(BIAS)[None],
                dense,
                where=jnp.asarray(exist),
                **rowwise,
            )
            return jnp.sum(losses.sum(1) * jnp.asarray(PER_ROW))

        arguments = jnp.asarray(HIDDEN), jnp.asarray(KERNEL)
        tangents = jnp.cos(arguments[0]), jnp.sin(arguments[1])
        found, wanted = (
            derivatives(loss, arguments, tangents, every=False) for loss in (ours, plain)
        )
        close(found, wanted, 1e-13)


def test_binary_sets_count_once_and_poison_their_own():
    hidden, kernel = jnp.ones((3, 1)), jnp.ones((1, 4))
    labels = jnp.array([[1, 1], [1, -1], [4, 0]])
    losses = linear_sigmoid_binary_cross_entropy(hidden, kernel, labels, block_size=3)
    assert losses[0] == losses[1]
    assert np.isnan(losses).tolist() == [False, False, True]


def test_one_trace_for_a_sweep():
    import chex

    @jax.jit
    @chex.assert_max_traces(n=1)
    def loss(smoothing, temperature):
        return jnp.mean(
            linear_softmax_cross_entropy(
                jnp.ones((2, 3)),
                jnp.ones((3, 5)),
                jnp.array([0, 1]),
                label_smoothing=smoothing,
                temperature=temperature,
            )
        )

    for smoothing, temperature in itertools.product([0.0, 0.1], [1.0, 2.0]):
        loss(smoothing, temperature)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": jnp.ones((6, 23))}, r"features of `hidden` along axis 0.*\[6,23\].*\[7,5\]"),
        ({"kernel": jnp.ones((23, 5))}, "class_axis=0 takes it the other way round"),
        ({"kernel": jnp.ones((5, 23)), "class_axis": 0}, "class_axis=-1 takes it"),
        ({"kernel": jnp.ones(5)}, r"`kernel` must be \[features, classes\]"),
        (
            {"labels": jnp.zeros((7, 1), jnp.int32)},
            r"`labels` must have the shape.*\(7,\).*\[7,1\]",
        ),
        ({"bias": jnp.ones(22)}, r"`bias` must have one number for each class, \(23,\).*\[22\]"),
        ({"class_axis": 2}, "`class_axis` must be one of the two axes"),
        ({"block_size": 0}, "`block_size` must be at least 1, but 0 came"),
        ({"implementation": "fast"}, "`implementation` must be one of .* 'fast' came"),
        ({"axis_name": "model"}, "There is no mesh axis 'model'"),
        ({"label_smoothing": 1.5}, "`label_smoothing` must be from 0 to 1, but 1.5 came"),
        ({"temperature": 0.0}, "`temperature` must be above 0"),
        ({"where": jnp.ones(23, bool)}, "`where` must have the shape of `logits`"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input(change, message):
    given: dict[str, Any] = {
        "hidden": jnp.ones((7, 5)),
        "kernel": jnp.ones((5, 23)),
        "labels": jnp.zeros(7, int),
    }
    given |= change
    hidden, kernel, labels = (given.pop(name) for name in ("hidden", "kernel", "labels"))
    with pytest.raises(ValueError, match=message):
        linear_softmax_cross_entropy(hidden, kernel, labels, **given)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize("change", [{"block_size": 2.5}, {"class_axis": None}, {"k": 2.5}])
def test_what_is_no_integer_says_so(change):
    name, value = next(iter(change.items()))
    with pytest.raises(TypeError, match=f"`{name}` must be an integer, but {value} came"):
        linear_top_k(jnp.ones((7, 5)), jnp.ones((5, 23)), **({"k": 1} | change))
    with pytest.raises(TypeError, match=r"unexpected option 'ignore_index'; it takes .*ignore"):
        options: dict[str, Any] = {"ignore_index": -100}
        linear_softmax_cross_entropy(
            jnp.ones((7, 5)), jnp.ones((5, 23)), jnp.zeros(7, int), **options
        )


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (jnp.ones((7, 22)), r"must have the shape of the logits, \(7, 23\)"),
        (jnp.ones((7, 23), jnp.int32), "one label for each class is boolean or floating"),
        (jnp.ones((6, 2), jnp.int32), r"sets of class indices, \(7,\) of them"),
    ],
)
def test_bad_labels_of_the_binary_loss(labels, message):
    with pytest.raises(ValueError, match=message):
        linear_sigmoid_binary_cross_entropy(jnp.ones((7, 5)), jnp.ones((5, 23)), labels)
    with pytest.raises(ValueError, match="`k` must be from 1 to 23"):
        linear_top_k(jnp.ones((7, 5)), jnp.ones((5, 23)), 24)
