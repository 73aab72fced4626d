"""Gaussian error linear units."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array

__all__ = ["gelu"]

# beyond it float32 cannot tell the distribution from 0 and 1 times a number of that size
_LIMIT = 8.0
# the line between two of its points is nowhere further than 3e-8 from the curve
_STEPS_PER_UNIT = 1_024


def gelu(values: Float32Array) -> None:
    """Multiply each number by the normal distribution at it, in place (arXiv 1606.08415, section 2).

    Args:
        values: C-contiguous ``float32`` of any shape, finite.
    """
    from colbert_rag.kernels import cpu

    cpu.gelu(_distribution(), _LIMIT, values.reshape(-1))


@functools.cache
def _distribution() -> NDArray[np.float64]:
    points = np.linspace(-_LIMIT, _LIMIT, int(2 * _LIMIT * _STEPS_PER_UNIT) + 1) * math.sqrt(0.5)
    distribution = np.array([0.5 * (1.0 + math.erf(point)) for point in points.tolist()])
    # what lies beyond the points is taken for as far as the last of them
    distribution[:2], distribution[-2:] = 0.0, 1.0
    return distribution
