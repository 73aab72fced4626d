"""The constants of the quantiser: levels of a dimension, and what a token's two bytes of factors stand for.

After a random rotation the coordinates of a residual are close to normal, so the best levels
(Lloyd 1957, Max 1960) are constants of the normal distribution and need no training data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array

__all__ = ["BITS", "Grid", "grid"]

BITS = (1, 2, 4, 8)

# the largest level as an integer: int32 then holds the dot product of 1,024 dimensions
_TOP = 127
_SAMPLES = 200_001
# a residual of length 2 is the longest between unit vectors; 1/64 of that needs no finer scale
_SCALE_OCTAVES = 7.0
# few bits in few dimensions make rebuilt vectors too long or too short by up to a third
_NORM_LOW, _NORM_HIGH = 0.70, 1.42


@dataclass(frozen=True)
class Grid:
    """Constants for one bit width and dimension; every array is read-only.

    Attributes:
        levels: ``(2**bits,) int16``, rising, at most 127.
        borders: ``(2**bits - 1,) float32`` between the levels, in standard deviations.
        stretches: ``(S,) float32``: what a residual is multiplied with before it is rounded.
        scales: ``(256,) float32``: the scale of integer levels that a byte stands for; 0 for byte 0.
        scale_borders: ``(255,) float32``.
        norms: ``(256,) float32``: the reciprocal norm that a byte stands for.
        norm_borders: ``(255,) float32``.
        byte_levels: ``(256, 8 // bits) int16``: the levels that a byte of codes stands for.
    """

    levels: NDArray[np.int16]
    borders: Float32Array
    stretches: Float32Array
    scales: Float32Array
    scale_borders: Float32Array
    norms: Float32Array
    norm_borders: Float32Array
    byte_levels: NDArray[np.int16]


@cache
def grid(bits: int, dim: int) -> Grid:
    """The grid for ``bits`` per dimension and vectors of ``dim`` dimensions."""
    normal = _normal_levels(bits)
    unit = normal[-1] / _TOP
    levels = np.round(normal / unit).astype(np.int16)
    borders = (levels[1:].astype(np.float64) + levels[:-1]) / 2 * unit
    octaves = np.linspace(1 - _SCALE_OCTAVES, 1, 255)
    scales = np.concatenate([[0.0], 2.0**octaves]) * unit / np.sqrt(dim)
    norms = np.linspace(_NORM_LOW, _NORM_HIGH, 256)
    return Grid(
        levels,
        borders.astype(np.float32),
        # one bit keeps only signs, which no stretch changes
        np.linspace(0.8, 1.2, 9 if bits > 1 else 1, dtype=np.float32),
        scales.astype(np.float32),
        ((scales[1:] + scales[:-1]) / 2).astype(np.float32),
        norms.astype(np.float32),
        ((norms[1:] + norms[:-1]) / 2).astype(np.float32),
        np.ascontiguousarray(levels[_byte_numbers(bits)]),
    )


def _normal_levels(bits: int) -> NDArray[np.float64]:
    """Lloyd–Max levels of the standard normal distribution, ``(2**bits,) float64``, rising."""
    x = np.linspace(-6.5, 6.5, _SAMPLES)
    weight = np.exp(-x * x / 2)
    mass = np.concatenate([[0.0], np.cumsum(weight)])
    moment = np.concatenate([[0.0], np.cumsum(weight * x)])
    # equal mass per cell under the cube root of the density is close to the optimum (Panter and Dite 1951)
    spread = np.cumsum(weight ** (1 / 3))
    levels = np.interp((np.arange(2**bits) + 0.5) / 2**bits, spread / spread[-1], x)
    for _ in range(300):
        edges = np.concatenate([[0], np.searchsorted(x, (levels[1:] + levels[:-1]) / 2), [_SAMPLES]])
        levels = np.diff(moment[edges]) / np.diff(mass[edges])
    symmetric: NDArray[np.float64] = (levels - levels[::-1]) / 2
    return symmetric


def _byte_numbers(bits: int) -> NDArray[np.int64]:
    shifts = np.arange(8 - bits, -1, -bits)
    numbers: NDArray[np.int64] = (np.arange(256)[:, None] >> shifts) & (2**bits - 1)
    return numbers
