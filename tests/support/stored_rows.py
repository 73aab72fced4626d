"""A small array as a segment stores it."""

from __future__ import annotations

import numpy as np

from colbert_rag.storage.mapping import map_array

__all__ = ["ROWS", "map_rows"]

ROWS = np.arange(12, dtype=np.int32).reshape(4, 3)


def map_rows(folder, record):
    """The array again, mapped."""
    return map_array(folder, record, "int32", (3,), 4)
