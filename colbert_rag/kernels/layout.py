"""How arrays are laid out for the kernels."""

from __future__ import annotations

__all__ = ["CHUNK", "LANES", "MEMORY", "ROWS", "WIDTH"]

# query tokens per block: one 32-byte register of uint8 scores, or two of 16
WIDTH = 32
# 16-bit lanes of one step of a dot product, two registers: rows of integers are padded with zeros to a multiple of this
LANES = 32
# bits of codes before a dimension that its level depends on, where levels are chosen on a trellis; they lie in one byte
MEMORY = 3
# float32 dot products at once: rows of documents by chunks of query tokens, whose sums fit 16 registers of 32 bytes
ROWS, CHUNK = 3, 8
