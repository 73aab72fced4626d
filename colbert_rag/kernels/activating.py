"""Activation of a neural network's layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import kernel, read, written

__all__ = ["gelu"]


@kernel(t.void(read(t.float64, 1), t.float64, written(t.float32, 1)))
def gelu(table: Any, limit: Any, values: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.gelu`; overwrites ``values``, which are finite.

    ``table`` has the normal distribution at equal steps from ``-limit`` to ``limit``, between which it is taken for
    straight and beyond which for flat.
    """
    last = np.float64(table.size - 2)
    steps = (last + 1.0) / (2.0 * limit)
    for i in range(np.uint64(values.size)):
        x = np.float64(values[i])
        at = min(max((x + limit) * steps, 0.0), last + 0.999)
        n = np.uint64(np.int64(at))
        share = at - np.float64(np.int64(at))
        values[i] = np.float32(x * (table[n] + share * (table[n + np.uint64(1)] - table[n])))
