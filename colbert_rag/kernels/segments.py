"""Segments by the addresses of their arrays: a kernel gets any number of them in one array of ``SEGMENT``."""

from __future__ import annotations

from typing import Any

import numba as nb
from llvmlite import ir
from numba import extending
from numba import types as t
from numba.np.numpy_support import from_dtype

from colbert_rag.kernels.layout import SEGMENT

__all__ = ["SEGMENTS", "array_at"]

SEGMENTS = t.Array(from_dtype(SEGMENT), 1, "C", readonly=True)

# typed as a function that is called with the typing context, which callers leave out
intrinsic: Any = extending.intrinsic


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return t.voidptr(t.int64), generate


@nb.njit
def array_at(address: Any, shape: Any, dtype: Any) -> Any:
    """The array of a shape that lies at an address."""
    return nb.carray(_pointer(address), shape, dtype)  # type: ignore[attr-defined]
