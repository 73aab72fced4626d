"""How arrays are laid out for the kernels."""

from __future__ import annotations

import numpy as np

__all__ = ["LANES", "MEMORY", "SEGMENT", "WIDTH"]

# query tokens per block: one 32-byte register of uint8 scores, or two of 16
WIDTH = 32
# 16-bit lanes of one step of a dot product, two registers: rows of integers are padded with zeros to a multiple of this
LANES = 32
# bits of codes before a dimension that its level depends on, where levels are chosen on a trellis; they lie in one byte
MEMORY = 3

# a segment as a kernel gets it that goes through any number of them: addresses of its arrays, and their lengths.
# Whoever fills it keeps the arrays alive, and has checked what is in them
SEGMENT = np.dtype(
    [
        ("n_documents", np.int64),
        ("n_tokens", np.int64),
        # int64[n_documents + 1]
        ("doc_offsets", np.int64),
        # uint16 or uint32[n_tokens]
        ("centroid_ids", np.int64),
        # uint8[n_tokens, bytes of codes] and [n_tokens, 2]
        ("codes", np.int64),
        ("factors", np.int64),
        # int64[n_live], rising; 0 where all documents live
        ("live", np.int64),
        ("n_live", np.int64),
        # bool[n_documents]; 0 where all documents live
        ("alive", np.int64),
        # int64[K + 1]; 0 where there are no lists
        ("list_offsets", np.int64),
        ("postings", np.int64),
        ("n_postings", np.int64),
    ]
)
