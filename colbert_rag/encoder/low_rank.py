"""Low-rank matrices added to a weight, with the same bits on every processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float16Array, Float32Array

if TYPE_CHECKING:
    import torch

__all__ = ["add_low_rank", "plus_low_rank"]


def add_low_rank(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float) -> None:
    """Add ``scaling * b @ a`` to a weight, rounded once.

    The product is taken in float64. Products of float16 numbers are multiples of 2^-48, so sums of them are exact, in
    whatever order a processor takes them, as long as the absolute products of an entry sum up to less than 32; those of
    trained matrices are far smaller. An index remembers the digest of a model's weights, so they must not depend on
    where the sum was made.

    Args:
        weight: ``(m, n)``, changed in place.
        a: ``(r, n)``, of values that float16 holds.
        b: ``(m, r)``, of values that float16 holds.
        scaling: Of the product.
    """
    import torch

    with torch.no_grad():
        product = b.detach().cpu().double() @ a.detach().cpu().double()
        weight.copy_(weight.detach().cpu().double() + product * scaling)


def plus_low_rank(weight: NDArray[np.float32], a: Float16Array, b: Float16Array, scaling: float) -> Float32Array:
    """What ``add_low_rank`` makes of a weight, without torch and with the same bits."""
    product = b.astype(np.float64) @ a.astype(np.float64)
    changed: Float32Array = (weight.astype(np.float64) + product * scaling).astype(np.float32)
    return changed
