"""The number format in which documents go through the model."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

__all__ = ["PRECISIONS", "Precision", "takes_bfloat16"]

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]

PRECISIONS = ("auto", "float32", "bfloat16")

_ROUNDS = 5
# below this the conversions around each product cost what the product saves
_WORTHWHILE = 1.3


def takes_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether documents are encoded in bfloat16.

    Args:
        precision: "auto" takes it where the device computes faster in it.
        device: Where the model runs.
    """
    import torch

    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_gains()


@cache
def _cpu_gains() -> bool:
    """Measured, not read off the CPU's name: without the instructions a product takes six times as long."""
    import torch

    rows, weights = torch.ones(256, 384), torch.ones(384, 1536)
    plain = _fastest(rows, weights)
    return plain > _WORTHWHILE * _fastest(rows.bfloat16(), weights.bfloat16())


def _fastest(rows: torch.Tensor, weights: torch.Tensor) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        rows @ weights
        times.append(time.perf_counter() - start)
    return min(times)
