"""The first bytes of an array file: ``.npy`` version 1.0, little-endian, C order, no pickles."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.lib import format as npy

__all__ = ["DTYPES", "HEADER_BYTES", "array_header"]

DTYPES = frozenset({"uint8", "uint16", "uint32", "int32", "int64", "float16", "float32"})
# room for any shape that we write; the header is written again when the length is known
HEADER_BYTES = 128


def array_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The exact bytes that we write before the data; a reader compares, it does not parse.

    Raises:
        ValueError: arrays of this type are not stored.
    """
    if dtype.name not in DTYPES:
        msg = f"arrays of {dtype} are not stored"
        raise ValueError(msg)
    text = repr({"descr": npy.dtype_to_descr(dtype.newbyteorder("<")), "fortran_order": False, "shape": shape})
    start = npy.magic(1, 0)
    padding = HEADER_BYTES - len(start) - 2 - len(text) - 1
    body = (text + " " * padding + "\n").encode("latin1")
    buffer = io.BytesIO()
    buffer.write(start)
    buffer.write(len(body).to_bytes(2, "little"))
    buffer.write(body)
    return buffer.getvalue()
