"""A calibration error without bins."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from .._typing import Array, ArrayLike, Bool, Float, Real
from ._bins import Judged, judged, one_of
from ._examples import Examples
from ._sums import Additive, Columns, register

_CELLS = 4096  # of the probability, in which residuals and their first moments are summed
_SMALLEST = 6 / _CELLS
_BISECTIONS = 40


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

    Edges: below 0.0015 it is the smoothed error at that bandwidth. Nothing counts: NaN. An
        undefined example that counts: NaN. It is a root: its derivative is not given.
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
    columns = (jnp.ones_like(probs), residual, residual * offset)
    return Columns(columns, cell.astype(jnp.int32), _CELLS, undefined)


def _value(sums: Array, of: Judged) -> Array:
    weight, residual, moment = sums.T
    total = jnp.sum(weight)
    residual, moment = (a / jnp.where(total == 0.0, 1.0, total) for a in (residual, moment))
    waves = jnp.arange(_CELLS + 1, dtype=jnp.float64)
    angle = 0.5 * math.pi / _CELLS * waves  # the centre of a cell is half a cell in
    half_step = jax.lax.complex(jnp.cos(angle), jnp.sin(angle))
    # Cosine and sine transforms, as Fourier transforms of what is reflected at the ends.
    cosines = jnp.fft.rfft(jnp.concatenate([residual, residual[::-1]])) / half_step
    sines = jnp.fft.rfft(jnp.concatenate([moment, -moment[::-1]])) / half_step
    # cos(πk(c + δ)) = cos(πkc) − πkδ·sin(πkc) to first order
    spectrum = cosines.real / 2 + math.pi * waves * sines.imag / 2

    def smoothed(sigma: Array) -> Array:
        damped = spectrum * jnp.exp(-0.5 * (math.pi * waves * sigma) ** 2)
        wave = jax.lax.complex(damped * half_step.real, damped * half_step.imag)
        density = 2 * _CELLS * jnp.fft.irfft(wave, 2 * _CELLS)[:_CELLS]
        return jnp.mean(jnp.abs(density))

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        above = smoothed(middle) > middle
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    smallest = jnp.asarray(_SMALLEST, jnp.float64)
    bounds = (smallest, jnp.asarray(1.0, jnp.float64))
    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, bounds)
    at_smallest = smoothed(smallest)
    value = jnp.where(at_smallest < smallest, at_smallest, (low + high) / 2)
    return jnp.where((total == 0.0) | jnp.isnan(total), jnp.nan, value)


def _options(of: Judged) -> tuple[dict[str, Any], dict[str, Any]]:
    if one_of("of", of, Judged) == "classes":
        raise ValueError("`of` must be 'top_label' or 'positive', but 'classes' came.")
    return {"of": of}, {}


_SMOOTH = Additive("smooth_calibration_error", _columns, _value, _options)
register(smooth_calibration_error, _SMOOTH)
