"""A device's memory: what goes there, and the one way back."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Card"]

# of the free memory, for segments; the rest is for the scores of a batch and for whoever else needs some
_SHARE = 0.8
# rows are copied from the map of a file in pieces of this size, so that the host needs no room for a segment
_PIECE_BYTES = 64 << 20


class Card:
    """One device.

    Args:
        device: A GPU, or torch's processor, on which Triton's interpreter works.
        room: Bytes of its memory that segments may take; None for most of what is free when the first is loaded.
    """

    def __init__(self, device: torch.device, room: int | None = None) -> None:
        self.device = device
        self._room = room

    def __str__(self) -> str:
        return str(self.device)

    @property
    def room(self) -> int:
        """Bytes of its memory that segments may take."""
        if self._room is None:
            self._room = int(torch.cuda.mem_get_info(self.device)[0] * _SHARE)
        return self._room

    def release(self) -> None:
        """Give memory that nothing lies in any more back to other processes."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def active(self) -> AbstractContextManager[object]:
        """Kernels that are launched within go to this device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def put(self, array: NDArray[Any]) -> torch.Tensor:
        """A copy of an array, which may be a read-only map; kernels that are running are not waited for."""
        rows = max(1, _PIECE_BYTES // max(1, array[:1].nbytes))
        # torch takes no read-only memory
        first = torch.from_numpy(np.array(array[:rows]))
        if rows >= len(array):
            return first.to(self.device, non_blocking=True)
        whole = torch.empty(array.shape, dtype=first.dtype, device=self.device)
        for start in range(0, len(array), rows):
            whole[start : start + rows].copy_(torch.from_numpy(np.array(array[start : start + rows])))
        return whole

    def fetch(self, tensor: torch.Tensor) -> NDArray[Any]:
        """What the device has computed, once it has: the only place where the host waits for it."""
        fetched: NDArray[Any] = tensor.cpu().numpy()
        return fetched
