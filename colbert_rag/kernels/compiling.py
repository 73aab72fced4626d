"""How kernels are compiled: when they are imported, for given types, without the GIL.

Callers split documents over threads; a kernel itself is serial, so that concurrent searches never
meet in a shared pool (numba's portable one aborts the process when two threads enter it).
All indices are unsigned: a signed index costs a wrap-around test at every access.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
from numba import types as t

__all__ = ["IDS", "RANGE", "kernel", "read", "written"]


def read(dtype: Any, ndim: int) -> Any:
    """A C-contiguous array that may lie in a read-only map."""
    return t.Array(dtype, ndim, "C", readonly=True)


def written(dtype: Any, ndim: int) -> Any:
    """A C-contiguous array that a kernel fills."""
    return t.Array(dtype, ndim, "C")


def kernel(*signatures: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile now, keep the machine code on disk where a folder for that can be written."""

    def compile_now(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled: Any = nb.njit(list(signatures), nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba finds no folder to keep its cache in
            compiled = nb.njit(list(signatures), nogil=True, **options)(function)
        return compiled  # type: ignore[no-any-return]

    return compile_now


# types of a centroid id
IDS = (t.uint16, t.uint32)
# starts and ends of documents
RANGE = (read(t.int64, 1), read(t.int64, 1))
