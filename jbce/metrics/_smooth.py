"""A calibration error without bins."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._bins import Judged, judged, one_of
from ._sums import Additive, Columns, product, register

_CELLS = 1024  # of the probability, in which residuals and their moments are summed
_WAVES = 512  # beyond which the narrowest kernel has nothing left
_SMALLEST = 1.5 / _WAVES
_BISECTIONS = 24


def smooth_calibration_error(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    of: Judged = "top_label",
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The smooth calibration error: that of a reliability diagram smoothed at its own scale.

        smECE = the σ at which  ∫₀¹ |Σ w·(y − p)·K_σ(t, p)| dt / Σ w = σ

    with K_σ the Gaussian of standard deviation σ reflected at 0 and 1. It has no bins, moves a
    little when the logits move a little, and is within a constant factor of the distance to the
    nearest calibrated model. The reflected Gaussian is the heat kernel of the interval, which
    cosines diagonalise: to smooth is to multiply each by exp(−(πkσ)²/2); σ is found by bisection.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        of: which probability: `top_label` or `positive`, as in `reliability`.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A probability gap in [0, ½]: float32, or float64 for float64 logits. 0 is best.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there is no such `of`.

    Edges: below 0.003 it is the smoothed error at that bandwidth. Nothing counts: NaN. An
        undefined example that counts: NaN. Its derivative is that of the root.
    Error: 1e-3 relative, of cells and integration (tests/test_metrics.py).

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.zeros(8), jnp.array([0, 1] * 4)
        >>> bool(smooth_calibration_error(logits, labels) < 0.002)
        True

    Source: J. Błasiok and P. Nakkiran, Smooth ECE: principled reliability diagrams via kernel
        smoothing, ICLR (2024).
    """
    return _SMOOTH(logits, labels, weights, where, of=of)


def _columns(these: Examples, of: Judged) -> Columns:
    probs, outcomes, undefined = judged(these, of)
    residual = outcomes - probs
    cell = jnp.clip(jnp.floor(probs * _CELLS), 0, _CELLS - 1)
    offset = probs - (cell + 0.5) / _CELLS
    columns = (jnp.ones_like(probs), residual, residual * offset, residual * offset**2)
    return Columns(columns, cell.astype(jnp.int32), _CELLS, undefined)


def _value(sums: Array, of: Judged) -> Array:
    total = jnp.sum(sums[:, 0])
    moments = sums / jnp.where(total == 0.0, 1.0, total)
    waves = math.pi * jnp.arange(_WAVES, dtype=jnp.float64)
    centres = (jnp.arange(_CELLS, dtype=jnp.float64) + 0.5) / _CELLS
    phases = waves[:, None] * centres[None, :]
    cosines, sines = product(jnp.cos(phases), moments), product(jnp.sin(phases), moments)
    # cos(k(c + δ)) = cos kc − kδ·sin kc − (kδ)²/2·cos kc, to second order
    _, even, _, bent = cosines.T
    spectrum = even - waves * sines.T[2] - waves**2 / 2 * bent
    spectrum = spectrum * jnp.where(waves == 0.0, 1.0, 2.0)
    places = (jnp.arange(_WAVES, dtype=jnp.float64) + 0.5) / _WAVES
    of_places = jnp.cos(places[:, None] * waves[None, :])

    def smoothed(sigma: Array, spectrum: Array) -> Array:
        damped = spectrum * jnp.exp(-0.5 * (waves * sigma) ** 2)
        return jnp.mean(jnp.abs(product(of_places, damped)))

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        above = smoothed(middle, fixed) > middle
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    fixed = jax.lax.stop_gradient(spectrum)
    smallest = jnp.asarray(_SMALLEST, jnp.float64)
    bounds = (smallest, jnp.asarray(1.0, jnp.float64))
    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, bounds)
    # One step of Newton's method, whose derivative is that of the root.
    sigma = (low + high) / 2
    slope = jax.grad(smoothed)(sigma, fixed)
    root = sigma + (smoothed(sigma, spectrum) - sigma) / (1 - slope)
    at_smallest = smoothed(smallest, spectrum)
    value = jnp.where(at_smallest < smallest, at_smallest, root)
    return jnp.where((total == 0.0) | jnp.isnan(total), jnp.nan, value)


def _options(of: Judged) -> tuple[dict[str, Any], dict[str, Any]]:
    if one_of("of", of, Judged) == "classes":
        raise ValueError("`of` must be 'top_label' or 'positive', but 'classes' came.")
    return {"of": of}, {}


_SMOOTH = Additive("smooth_calibration_error", _columns, _value, _options)
register(smooth_calibration_error, _SMOOTH)
