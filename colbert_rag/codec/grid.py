"""The constants of the quantiser: levels of a dimension, and what a token's two bytes of factors stand for.

After a random rotation the coordinates of a residual are close to normal, so the best levels are constants of the
normal distribution and need no training data: those of Lloyd (1957) and Max (1960) where each dimension is rounded by
itself, and for one and two bits those of trellis-coded quantisation (Marcellin and Fischer 1990).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from colbert_rag.kernels.layout import MEMORY
from colbert_rag.kernels.rounding import level_numbers
from colbert_rag.types import Float32Array

__all__ = ["BITS", "Grid", "grid"]

BITS = (1, 2, 4, 8)

# Trellises: positive levels in standard deviations, found by Lloyd's iteration over paths through normal noise
_TRELLIS_POINTS = {1: (0.362, 1.192), 2: (0.193, 0.602, 1.070, 1.851)}
# parity checks of the code with the largest distance of its length (Ungerboeck 1982, table I)
_PARITY_CHECKS = (0o13, 0o04)

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
        levels: ``(L,) int16``, rising, at most 127: ``2**bits``, or twice as many on a trellis.
        points: ``(L,) float32``: the same in standard deviations.
        labels: ``(2**MEMORY, 2) uint8``: which fourth of the levels a state and the next bit ask for; None without a
            trellis.
        borders: ``(L - 1,) float32`` halfway between the points.
        stretches: ``(9,) float32``: what a residual is multiplied with before each dimension is rounded by itself.
        scales: ``(256,) float32``: the scale of integer levels that a byte stands for; 0 for byte 0.
        scale_borders: ``(255,) float32``.
        norms: ``(256,) float32``: the reciprocal norm that a byte stands for.
        norm_borders: ``(255,) float32``.
        byte_levels: ``(256, 8 // bits) int16``: the levels that a byte of codes stands for; at 1 and 2 bits
            ``(2**MEMORY * 256, 8 // bits)``, by the low bits of the byte before and the byte.
    """

    levels: NDArray[np.int16]
    points: Float32Array
    labels: NDArray[np.uint8] | None
    borders: Float32Array
    stretches: Float32Array
    scales: Float32Array
    scale_borders: Float32Array
    norms: Float32Array
    norm_borders: Float32Array
    byte_levels: NDArray[np.int16]


@cache
def grid(bits: int, dim: int, *, on_trellis: bool = True) -> Grid:
    """The grid for ``bits`` per dimension and vectors of ``dim`` dimensions.

    ``on_trellis`` decides at 1 and 2 bits; it is False for indexes of earlier versions.
    """
    half = _TRELLIS_POINTS.get(bits) if on_trellis else None
    normal = _normal_levels(bits) if half is None else np.array([*(-x for x in reversed(half)), *half])
    labels = None if half is None else _labels()
    unit = normal[-1] / _TOP
    levels = np.round(normal / unit).astype(np.int16)
    borders = (levels[1:].astype(np.float64) + levels[:-1]) / 2 * unit
    octaves = np.linspace(1 - _SCALE_OCTAVES, 1, 255)
    scales = np.concatenate([[0.0], 2.0**octaves]) * unit / np.sqrt(dim)
    norms = np.linspace(_NORM_LOW, _NORM_HIGH, 256)
    return Grid(
        levels,
        (levels * unit).astype(np.float32),
        labels,
        borders.astype(np.float32),
        np.linspace(0.8, 1.2, 9, dtype=np.float32),
        scales.astype(np.float32),
        ((scales[1:] + scales[:-1]) / 2).astype(np.float32),
        norms.astype(np.float32),
        ((norms[1:] + norms[:-1]) / 2).astype(np.float32),
        np.ascontiguousarray(levels[_byte_numbers(bits, labels)]),
    )


def _labels() -> NDArray[np.uint8]:
    """A state is the last MEMORY bits of the path, the newest lowest."""
    found = np.zeros((1 << MEMORY, 2), np.uint8)
    for state, bit in np.ndindex(*found.shape):
        high, low = ((state << 1 | bit) & check for check in _PARITY_CHECKS)
        found[state, bit] = high.bit_count() % 2 * 2 + low.bit_count() % 2
    return found


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


def _byte_numbers(bits: int, labels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Level numbers by byte, and on a trellis by the byte before, of which the state is what stands lowest."""
    dims = 8 // bits
    if labels is None:
        alone = level_numbers(np.arange(256, dtype=np.uint8)[:, None], bits, dims, None)
        # kernels read one and two bits by the byte before, whatever it says
        return np.tile(alone, (1 << MEMORY, 1)) if bits in _TRELLIS_POINTS else alone
    before, byte = (part.reshape(-1).astype(np.uint8) for part in np.mgrid[: len(labels), :256])
    return level_numbers(np.column_stack([before, byte]), bits, 2 * dims, labels)[:, dims:]
