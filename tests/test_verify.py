"""Enclosures, gradients judged right, wrong or undecided, laws and audits."""

import functools
import json
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest

import jbce
from experiments import _planted
from jbce import metrics, numerics, verify
from jbce.cli import main

CASES = {case.name: case for case in _planted.cases()}
VERDICTS = {"right": "right", "wrong": "wrong", "kink": "undecided"}
pytestmark = pytest.mark.jax_defaults  # what is judged is as its authors wrote it


# ---- the gallery ---------------------------------------------------------------------------------


def test_there_are_enough_planted_errors():
    kinds = [case.kind for case in CASES.values()]
    assert kinds.count("wrong") >= 25 and kinds.count("right") >= 25 and kinds.count("kink") >= 10
    assert len(CASES) == len(kinds) == len(_planted.cases())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_verdict_is_the_one_that_was_planted(case):
    report = verify.check_gradients(
        case.function, *case.args, argnums=case.argnums, order=case.order
    )
    assert report.verdict == VERDICTS[case.kind], str(report)
    assert report.evidence == "enclosures"
    if case.kind == "wrong":
        assert report.blame == case.blame, str(report)
        assert report.worst is not None
        assert case.where is None or report.worst.index == case.where
        with pytest.raises(verify.GradientError, match="WRONG"):
            report.raise_if_wrong()
    elif case.kind == "kink":
        assert any("kink" in reason or "jumps" in reason for reason in report.undecided)
    else:
        report.raise_if_wrong()


def test_the_worst_entry_is_located():
    tree = CASES["a leaf of a tree 5 % off"]
    worst = verify.check_gradients(tree.function, *tree.args).worst
    assert worst is not None
    assert worst.path == "argument 0['bias']"
    largest = int(jnp.argmax(jnp.abs(tree.args[0]["bias"])))
    true = 2 * float(tree.args[0]["bias"][largest])
    assert worst.index == (largest,)
    assert worst.came == pytest.approx(0.95 * true) and worst.lower <= true <= worst.upper


def test_one_sided_slopes_of_a_kink_are_told():
    report = verify.check_gradients(lambda x: jnp.sum(jax.nn.leaky_relu(x)), jnp.array([1.0, 0.0]))
    assert "argument 0[1]" in report.undecided[0] and "0.01, 1" in report.undecided[0]


def test_what_is_beside_a_kink_is_judged():
    bad = _planted._elementwise(jnp.sin, lambda x: 2 * jnp.cos(x))

    def function(x):
        return jax.nn.relu(x[0]) + bad(x[1])

    report = verify.check_gradients(function, jnp.array([0.0, 1.0]))
    assert report.verdict == "wrong" and report.worst is not None and report.worst.index == (1,)


def test_the_smallest_error_that_is_caught_is_told():
    report = verify.check_gradients(lambda x: jnp.sum(x**3), jnp.array([1.0, 1e-3]))
    assert report.caught is not None and report.caught.scale < 1e-12
    assert report.caught.flip == report.caught.drop == pytest.approx(3e-6)
    rounded = verify.check_gradients(lambda x: jnp.sum(jax.nn.gelu(x)), jnp.array([1.0, 0.3]))
    assert rounded.caught is not None and 1e-9 < rounded.caught.scale < 2e-6


def test_there_is_no_second_derivative_where_the_gradient_has_a_kink():
    for function in (jnp.abs, jax.nn.relu):
        report = verify.check_gradients(
            lambda x, f=function: jnp.sum(f(x)), jnp.array([0.0, 0.5]), order=2
        )
        assert report.verdict == "undecided" and "of the gradient, a kink" in report.undecided[0]


TRAPS = {
    "a branch": (lambda x: jnp.sum(jnp.where(x > 1, jnp.sqrt(x - 1), x * 0.0)), [0.0, 3.0]),
    "a limit": (lambda x: jnp.sum(jnp.where(x == 0, 1.0, jnp.sin(x) / x)), [0.0, 2.0]),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_nan_of_a_branch_that_is_not_taken_is_wrong(name):
    function, arguments = TRAPS[name]
    report = verify.check_gradients(function, jnp.array(arguments))
    assert (report.verdict, report.blame) == ("wrong", "rule")
    assert report.worst is not None and report.worst.index == (0,)
    assert np.isnan(report.worst.came) and report.worst.lower == report.worst.upper == 0
    assert any("not finite" in note for note in report.notes)


def test_many_kinks_are_counted():
    report = verify.check_gradients(lambda x: jnp.mean(jax.nn.relu(x)), jnp.zeros(100))
    assert report.undecided[-1] == "and 97 entries more"


def test_printing_is_no_primitive(capsys):
    def loud(x):
        jax.debug.print("{}", x)
        return jnp.sum(jnp.sin(x))

    assert verify.check_gradients(loud, jnp.ones(2)).evidence == "enclosures"


def test_no_forward_mode_is_noted():
    square = jax.custom_vjp(lambda x: x**2)
    square.defvjp(lambda x: (x**2, x), lambda x, c: (2 * x * c,))
    report = verify.check_gradients(lambda x: jnp.sum(square(x)), jnp.arange(3.0))
    assert report.verdict == "right" and "no forward mode" in report.notes[0]


def test_integer_leaves_are_held():  # chex and jax fail on them
    batch = {"features": jnp.ones((4, 3)), "labels": jnp.array([0, 1, 0, 1])}

    def loss(batch):
        return jnp.mean(batch["features"].sum(1) * batch["labels"])

    report = verify.check_gradients(loss, batch)
    assert (report.verdict, report.num_entries) == ("right", 12)


# ---- every derivative of ours --------------------------------------------------------------------

X = jax.random.normal(jax.random.key(0), (4, 5))
PROBS = jax.nn.softmax(0.3 * X + 1)
LABELS = jnp.array([0, 1, 2, 3])
OURS = {
    "binary": (lambda x: jbce.mean(jbce.sigmoid_binary_cross_entropy(x, PROBS)), X),
    "binary, label": (lambda q: jbce.total(jbce.sigmoid_binary_cross_entropy(X, q)), PROBS),
    "integer": (
        lambda x: jbce.mean(jbce.softmax_cross_entropy_with_integer_labels(x, LABELS)),
        X,
    ),
    "dense": (lambda x: jbce.mean(jbce.softmax_cross_entropy(x, PROBS)), X),
    "dense, label": (lambda q: jbce.mean(jbce.softmax_cross_entropy(X, q)), PROBS),
    "log_odds": (lambda x: jbce.mean(jbce.log_odds(x, LABELS)), X),
    "binary_cross_entropy": (lambda p: jbce.mean(jbce.binary_cross_entropy(p, PROBS)), PROBS),
    "categorical_cross_entropy": (
        lambda p: jbce.mean(jbce.categorical_cross_entropy(p, LABELS)),
        PROBS,
    ),
    "weighted mean": (lambda w: jbce.mean(X, weights=w), PROBS),
    "max_tail": (lambda x: jnp.sum(jnp.sin(jnp.stack(numerics.max_tail(x)))), X),
    "exp_of_difference": (lambda x: jnp.sum(numerics.exp_of_difference(x, 2 * x)), X),
    "compensated_sum": (lambda x: numerics.compensated_sum(jnp.sin(x)), X),
    "xlogy": (lambda p: jnp.sum(numerics.xlogy(p, 2 * p)), PROBS),
    "log_loss": (lambda x: metrics.log_loss(x, LABELS), X),
    "brier_score": (lambda x: metrics.brier_score(x, LABELS), X),
} | {
    name: (lambda x, name=name: jnp.sum(jnp.sin(getattr(numerics, name)(x))), arguments)
    for arguments, names in (
        (X, ("softplus", "sigmoid", "log_sigmoid", "logistic_density", "binary_entropy")),
        (X, ("softmax", "log_softmax", "one_minus_softmax", "logsumexp", "entropy")),
        (PROBS, ("logit", "log1mexp")),
    )
    for name in names
}


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", OURS)
def test_every_derivative_of_ours_is_right(name, order):
    function, arguments = OURS[name]
    report = verify.check_gradients(function, arguments, order=order)
    assert report.verdict == "right", str(report)
    assert not any("symmetric" in note for note in report.notes)


@pytest.mark.parametrize("margin", [-40.0, 12.0, 40.0])
def test_floats_of_ours_stay_right_where_others_collapse(margin):
    logits, label = jnp.array([margin, 0.0, -1.0]), jnp.array(0)
    ours = functools.partial(jbce.softmax_cross_entropy_with_integer_labels, labels=label)
    worst = verify.check_gradients(ours, logits).worst
    assert worst is not None and worst.ulps <= 6
    theirs = functools.partial(optax.softmax_cross_entropy_with_integer_labels, labels=label)
    blame = verify.check_gradients(theirs, logits).blame
    assert blame == ("arithmetic" if margin > 0 else None)


# ---- enclosures ----------------------------------------------------------------------------------


def test_enclosures_are_rigorous_and_tight():
    x = np.linspace(-20, 40, 61, dtype=np.float32)
    found = verify.enclose(lambda x: {"loss": jax.nn.softplus(-x), "n": jnp.arange(3)}, x)
    with mpmath.workdps(60):
        exact = [mpmath.log1p(mpmath.exp(-mpmath.mpf(float(v)))) for v in x]
    for lower, upper, value in zip(*found["loss"], exact, strict=True):
        assert lower <= value <= upper and upper - lower <= 4 * np.spacing(upper)
    np.testing.assert_array_equal(found["n"].lower, [0, 1, 2])


ACTIVATIONS = ["celu", "elu", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh", "leaky_relu"]
ACTIVATIONS += ["log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu"]
ACTIVATIONS += ["soft_sign", "softmax", "softplus", "sparse_plus", "squareplus", "standardize"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_enclosures_hold_what_jax_computes(name):
    function = getattr(jax.nn, name)
    value = function(X)
    found = verify.enclose(function, X)
    slack = 1e-5 * np.maximum(np.abs(value), 1e-3)
    assert np.all(found.lower - slack <= value) and np.all(value <= found.upper + slack)


STRUCTURES = {
    "transposed convolution": lambda x: jax.lax.conv_transpose(
        x.reshape(1, 4, 5, 1), X[:2, :2].reshape(2, 2, 1, 1), (2, 1), "SAME"
    ),
    "grouped convolution": lambda x: jax.lax.conv_general_dilated(
        x.reshape(1, 4, 5), X[:4, :3].reshape(4, 1, 3), (1,), [(1, 2)], feature_group_count=4
    ),
    "dilated convolution": lambda x: jax.lax.conv_general_dilated(
        x.reshape(1, 1, 4, 5),
        X[:2, :2].reshape(1, 1, 2, 2),
        (1, 2),
        [(1, 1), (0, 2)],
        (2, 1),
        (1, 2),
    ),
    "average pooling": lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (2, 3), (1, 2), "SAME"),
    "padding": lambda x: jax.lax.pad(x, 1.5, [(1, 0, 1), (0, 2, 0)]),
    "gather with a fill": lambda x: x.at[jnp.array([0, 9])].get(mode="fill", fill_value=7.0),
    "scatter": lambda x: x.at[jnp.array([1, 1]), 2:4].set(x[0, :2]),
    "scatter-multiply": lambda x: x.at[jnp.array([1, 2, 0])].multiply(x[:3], unique_indices=True),
    "dynamic slices": lambda x: jax.lax.dynamic_update_slice(
        x, jax.lax.dynamic_slice(x, (1, 2), (2, 2)), (0, 1)
    ),
    "top k": lambda x: jax.lax.top_k(x, 3)[0],
    "argsort": lambda x: jnp.argsort(x, axis=0) * x,
    "argmax": lambda x: jnp.argmax(x, axis=1) * x[:, 0],
    "cumulative": lambda x: jnp.stack(
        [jnp.cumsum(x), jax.lax.cumlogsumexp(x.ravel()), jax.lax.cummax(x.ravel(), reverse=True)]
    ),
    "batched product": lambda x: jnp.einsum("abi,aib->ab", x.reshape(2, 2, 5), x.reshape(2, 5, 2)),
    "remainder and rounding": lambda x: jnp.mod(x, 0.7) + jnp.round(3 * x) + jnp.floor(x),
    "casts": lambda x: x.astype(jnp.int32) + (x > 0).astype(jnp.float32),
    "random numbers": lambda x: x * jax.random.normal(jax.random.key(1), x.shape),
    "while": lambda x: jax.lax.while_loop(
        lambda c: jnp.sum(c) < 100, lambda c: 2 * c + 1, jnp.abs(x)
    ),
    "scan in reverse": lambda x: jax.lax.scan(
        lambda c, t: (c * 0.5 + t, (c, t.sum())), x[0], x, reverse=True
    )[1][0],
    "angles": lambda x: jnp.arctan2(x, x[::-1] + 0.1),
    "powers": lambda x: jnp.abs(x) ** 1.7 + x**3 + 2.0**x,
    "quantile": lambda x: jnp.quantile(x, 0.3, axis=1),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_mean_what_jax_computes(name):
    function = STRUCTURES[name]
    value = np.asarray(function(X))
    found = verify.enclose(function, X)
    np.testing.assert_allclose((found.lower + found.upper) / 2, value, rtol=1e-4, atol=1e-5)
    if name in ("casts", "argsort", "argmax", "random numbers", "remainder and rounding"):
        return
    weights = jnp.asarray(np.random.default_rng(0).standard_normal(value.shape), jnp.float32)
    if name != "while":  # which has no reverse mode
        verify.assert_gradients(lambda x: jnp.sum(weights * function(x)), X)


def test_infinities_are_numbers_too():
    x = jnp.array([0.0, -jnp.inf, 3.0])
    found = verify.enclose(lambda x: (jnp.exp(x), jax.nn.logsumexp(x), jnp.max(x)), x)
    np.testing.assert_array_equal(found[0].lower[1], 0)
    np.testing.assert_allclose(found[1].lower, np.logaddexp(0, 3))
    assert found[2] == (3, 3)
    assert np.isnan(verify.enclose(lambda x: x[1] - x[1], x).lower)


def test_what_cannot_be_settled_is_undecided():
    third = jnp.array([1.0, 3.0])
    with pytest.raises(verify.Undecided, match=r"`gt` at .*test_verify.py:.* cannot be told apart"):
        verify.enclose(lambda x: jnp.where(x[0] / x[1] * 3 > x[0], 1.0, 2.0), third)
    hull = verify.enclose(lambda x: jnp.maximum(x[0] / x[1] * 3, x[0]), third)
    assert hull.lower <= 1 <= hull.upper


def test_unknown_primitives_are_named_and_can_be_registered():
    def bessel(x):
        return jnp.sum(jax.lax.bessel_i0e(x))

    with pytest.raises(verify.UnknownPrimitive, match=r"bessel_i0e.*register_definition"):
        verify.enclose(bessel, X)
    report = verify.check_gradients(bessel, X)
    assert (report.verdict, report.evidence) == ("right", "differences")
    wrong = _planted._elementwise(jax.lax.bessel_i0e, lambda x: -1.001 * jax.lax.bessel_i1e(x))
    report = verify.check_gradients(lambda x: jnp.sum(wrong(x)), jnp.abs(X) + 0.1)
    assert (report.verdict, report.evidence) == ("wrong", "differences")
    kink = verify.check_gradients(lambda x: bessel(jnp.abs(x)), X.at[0, 0].set(0))
    assert kink.verdict != "right"


def test_differences_know_how_far_they_can_be_trusted():
    from jbce.verify._differences import derivative

    found = derivative(np.sin, 0.5, 1.0)
    assert abs(found.value - 1) <= found.error <= 1e-9 and not found.kink
    assert abs(derivative(lambda t: np.exp(t + 1), 0.5, np.e).taylor - 2) < 0.1
    assert abs(derivative(lambda t: np.exp(t + 1), 0.5, 1.1 * np.e).taylor - 1) < 0.1
    assert derivative(np.abs, 0.5, 0.0).kink


def test_precision_is_left_as_it_was():
    import flint

    before = flint.ctx.prec
    verify.enclose(jnp.sin, X)
    assert flint.ctx.prec == before


UP: Any = ("up",)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: verify.check_gradients(jnp.sin, X), TypeError, r"float32\[4,5\] came"),
        (lambda: verify.check_gradients(jnp.sum, LABELS), TypeError, "int32 came"),
        (lambda: verify.check_gradients(jnp.sum, X, order=3), ValueError, "1 or 2, but 3 came"),
        (lambda: verify.check_gradients(jnp.sum, X, modes=UP), ValueError, "up"),
        (lambda: verify.check_gradients(jnp.sum, X, argnums=1), ValueError, "1 arguments came"),
        (lambda: verify.audit(lambda x, y: x.sum()), TypeError, "no loss"),
    ],
)
def test_bad_input_is_named_and_shown(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_nan_is_undecided():
    report = verify.check_gradients(lambda x: jnp.sum(jnp.log(x)), jnp.array([-1.0, 2.0]))
    assert report.verdict == "undecided" and "the value is NaN" in report.undecided[0]
    infinite = verify.check_gradients(lambda x: jnp.sum(jnp.sqrt(x)), jnp.array([0.0, 2.0]))
    assert infinite.verdict == "undecided" and "not finite" in infinite.undecided[0]


# ---- what a breaker found ------------------------------------------------------------------------


def _with_slope(function, slope):
    return _planted._elementwise(function, slope)


def _cone(x):
    norm = jax.custom_jvp(lambda x: jnp.sqrt(jnp.sum(x**2)))
    norm.defjvp(lambda p, t: (norm(*p), jnp.sum(p[0] * t[0]) / jnp.maximum(norm(*p), 1e-12)))
    return norm(x)


def _doubled_until_ten(x):
    loop = jax.custom_vjp(lambda x: jax.lax.while_loop(lambda c: c < 10.0, lambda c: c * 2, x))
    loop.defvjp(lambda x: (loop(x), x), lambda x, c: (c * 4.0,))
    return loop(x)


BIG = jnp.float32(1048576.1)
KERNEL = X[:4, :4].reshape(4, 1, 2, 2)
BROKEN = {
    # a scalar argument, or one that is closed over, is no rounded constant
    "scalar argument": (
        _with_slope(lambda x: jnp.sin(2.0**27 * x), lambda x: -(2.0**27) * jnp.cos(2.0**27 * x)),
        jnp.float32(0.3),
        "wrong",
    ),
    "scalar near a pole": (
        _with_slope(lambda x: jnp.log1p(-x), lambda x: -1.05 / (1 - x)),
        jnp.float32(0.9999998),
        "wrong",
    ),
    "closed-over scalar": (
        lambda x: jnp.sum(
            _with_slope(lambda x: jnp.sin(BIG * x), lambda x: 1.01 * BIG * jnp.cos(BIG * x))(x)
        ),
        jnp.array([0.5, 0.3]),
        "wrong",
    ),
    # the slope of a root at 0 is not 0 because the first order of what is under it is
    "cone with a rule": (_cone, jnp.zeros(2), "undecided"),
    "norm at 0": (jnp.linalg.norm, jnp.zeros(3), "undecided"),
    "deviation of equal numbers": (jnp.std, jnp.ones(3), "undecided"),
    "angle of nothing": (lambda x: jnp.arctan2(x[0], x[1]), jnp.zeros(2), "undecided"),
    # kinks that are seen along axes, or between very unlike components, only
    "narrow wedge": (lambda x: jax.nn.relu(x[0] - 3 * jnp.abs(x[1])), jnp.zeros(2), "undecided"),
    "two cones": (
        lambda w: jnp.maximum(jnp.abs(w[0]), 0.4 * jnp.abs(w[1])),
        jnp.zeros(2),
        "undecided",
    ),
    "grouped convolution": (
        lambda a: jnp.sum(
            jnp.sin(jax.lax.conv_general_dilated(a, KERNEL, (1, 1), "VALID", feature_group_count=2))
        ),
        jnp.sin(jnp.arange(18.0)).reshape(1, 2, 3, 3),
        "right",
    ),
    "underflow": (lambda x: jnp.sum(jnp.exp(x)), jnp.full(3, -200.0), "right"),
    "underflow of float16": (
        lambda x: jnp.sum(jax.nn.sigmoid(x)),
        jnp.full(3, -20.0, jnp.float16),
        "right",
    ),
    "differences of a wave": (
        lambda x: jnp.sum(jax.scipy.special.i1(jnp.sin(8 * jnp.pi * x))),
        jnp.ones(3),
        "right",
    ),
    "differences of float32": (
        lambda x: jnp.sum(jax.lax.bessel_i1e(x.astype(jnp.float32))),
        jnp.array([0.3, 0.7, 2.0]),
        "right",
    ),
    "keys of the new style": (
        lambda x: jnp.sum(x * jax.random.normal(jax.random.split(jax.random.key(0))[0], x.shape)),
        jnp.ones(3),
        "right",
    ),
    "a rule for what has none": (_doubled_until_ten, jnp.float32(3.0), "right"),
    "a tie of a rounded constant": (
        lambda x: jnp.sum(jax.scipy.special.ndtr(x)),
        jnp.array([1.0]),
        "right",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_was_judged_wrongly_once(name):
    function, arguments, verdict = BROKEN[name]
    report = verify.check_gradients(function, arguments)
    assert report.verdict == verdict, str(report)


def test_lgamma_at_negative_numbers():
    report = verify.check_gradients(
        lambda x: jnp.sum(jax.lax.lgamma(x)), jnp.array([-0.5]), order=2
    )
    assert report.verdict == "right", str(report)


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (lambda x: jax.lax.reshape(x, (4,), dimensions=(1, 0)), [[1, 2], [3, 4]], [1, 3, 2, 4]),
        (jnp.arcsin, [NAN], [NAN]),
        (jnp.sin, [INF], [NAN]),
        (jnp.sort, [3, NAN, 1], [1, 3, NAN]),
        (jnp.argmax, [3, NAN, 1], 1),
        (lambda x: jax.lax.top_k(x, 2)[0], [1, NAN, 2], [NAN, 2]),
        (lambda x: x ** jnp.array([2.0, 3.0]), [-2, -2], [4, -8]),
        (jnp.floor, [INF, -INF], [INF, -INF]),
        (lambda x: x.astype(jnp.uint8), [300, -3], [255, 0]),
        (lambda x: x.astype(jnp.int32), [3e9, INF, NAN], [2**31 - 1, 2**31 - 1, 0]),
    ],
)
def test_enclosures_at_the_edges(function, arguments, expected):
    found = verify.enclose(function, jnp.array(arguments, jnp.float32))
    np.testing.assert_allclose(found.lower, expected, rtol=1e-14)


@pytest.mark.parametrize(
    "function",
    [lambda x: jnp.exp(1j * x), lambda x: jnp.real(x * jnp.exp(1j * 0.3))],
)
def test_complex_numbers_are_refused(function):
    with pytest.raises(verify.UnknownPrimitive, match="complex"):
        verify.enclose(function, jnp.array([0.7]))


def test_rounded_constants_break_no_law():
    def smoothed(x, y):
        chosen = jnp.take_along_axis(x, y[:, None], -1)[:, 0]
        return jax.nn.logsumexp(x, -1) - (0.9 * chosen + 0.1 * jnp.mean(x, -1))

    assert verify.check_laws(smoothed, X, LABELS).verdict == "right"


# ---- laws ----------------------------------------------------------------------------------------

LOSSES = [
    jbce.sigmoid_binary_cross_entropy,
    jbce.softmax_cross_entropy_with_integer_labels,
    jbce.softmax_cross_entropy,
    optax.sigmoid_binary_cross_entropy,
    optax.softmax_cross_entropy_with_integer_labels,
    optax.softmax_cross_entropy,
]


@pytest.mark.parametrize("loss", LOSSES)
def test_cross_entropies_obey_the_laws(loss):
    logits, labels = verify.example(verify.kind_of(loss), 4, 3, "float32")
    report = verify.check_laws(loss, logits, labels)
    assert report.verdict == "right", str(report)


def test_broken_laws_are_named():
    logits, labels = verify.example("integer", 4, 3, "float32")
    loss = optax.softmax_cross_entropy_with_integer_labels
    broken = {
        "shift invariance": lambda x, y: loss(x, y) + 1e-6 * x[:, 0] ** 2,
        "permutation equivariance": lambda x, y: loss(x * jnp.array([1.0, 1.0, 1.01]), y),
        "positive semi-definite Hessian": lambda x, y: -loss(x, y),
    }
    for name, wrong in broken.items():
        laws = {law.name: law.verdict for law in verify.check_laws(wrong, logits, labels).laws}
        assert laws[name] == "wrong"
    logits, labels = verify.example("binary", 4, 3, "float32")
    skewed = verify.check_laws(
        lambda x, y: optax.sigmoid_binary_cross_entropy(x, 0.9 * y), logits, labels
    )
    assert skewed.laws[0].verdict == "wrong"


# ---- audits --------------------------------------------------------------------------------------


def test_an_audit_finds_the_collapse():
    theirs = verify.audit(optax.softmax_cross_entropy_with_integer_labels)
    assert theirs.worst("float32", "gradient at the label") > 1e7
    assert theirs.worst("float32", "other gradients") < 10
    assert "loses every digit of the loss from a margin of" in theirs.collapse("float32")
    ours = verify.audit(jbce.softmax_cross_entropy_with_integer_labels)
    for dtype in ("float32", "bfloat16", "float16"):
        assert "never collapses" in ours.collapse(dtype)
        assert max(ours.worst(dtype, q) for q in ("loss", "gradient at the label")) <= 3.5
    assert "float32" in str(ours)


def test_an_audit_takes_a_reference():
    def shifted(x, y):
        return 1.001 * optax.sigmoid_binary_cross_entropy(x, y)

    assert verify.audit(shifted, dtypes=["float32"]).worst("float32", "loss") < 10
    against = verify.audit(shifted, optax.sigmoid_binary_cross_entropy, dtypes=["float32"])
    assert against.worst("float32", "loss") > 1000


# ---- the command line ----------------------------------------------------------------------------


def wrong_loss(logits, labels):
    """For the command line: a gradient that is twice what it should be."""
    loss = _planted._elementwise(lambda x: jnp.log1p(jnp.exp(x)), lambda x: 2 * jax.nn.sigmoid(x))
    return loss(logits) - logits * labels


def stepped(x):
    """For the command line: a function with kinks at all its arguments."""
    return jax.nn.relu(x * 0)


def raises(x):
    """For the command line: a function that fails."""
    raise ZeroDivisionError("on purpose")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["check", "optax:softmax_cross_entropy_with_integer_labels"], 0, "RIGHT"),
        (["check", "optax:softmax_cross_entropy", "--order", "2"], 0, "second derivative"),
        (["check", "jax.nn:gelu", "--dtype", "bfloat16"], 0, "RIGHT"),
        (["check", "test_verify:wrong_loss"], 1, "The derivative rule is wrong"),
        (["check", "test_verify:stepped"], 0, "RIGHT"),
        (["check", "jax.nn:no_such"], 3, "has no 'no_such'"),
        (["check", "no_such_module:f"], 3, "cannot be imported"),
        (["check", "jax.nn"], 3, "PACKAGE.MODULE:FUNCTION is wanted"),
        (["check", "./losses.py:focal"], 3, "cannot be imported"),
        (["check", "test_verify:raises"], 3, "ZeroDivisionError: on purpose"),
        (["audit", "optax:sigmoid_binary_cross_entropy"], 0, "loses every digit"),
        (["audit", "jax.nn:relu"], 3, "no loss"),
    ],
)
def test_the_command_line(arguments, status, says, capsys):
    assert main(arguments) == status
    output = capsys.readouterr()
    assert says in output.out + output.err


@pytest.mark.parametrize("command", ["check", "audit"])
def test_json_is_strict(command, capsys):
    assert main([command, "optax:softmax_cross_entropy", "--json"]) == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    contents = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert contents["function"] == "optax:softmax_cross_entropy"
    assert contents["verdict"] == "right" if command == "check" else contents["rows"]


def test_checking_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verify.check_gradients(lambda x: jnp.sum(jnp.take(x, LABELS, axis=0)), X)
