"""What the launchers share: how query tokens lie, and how programs are numbered.

A program scores one document for a few blocks of query tokens. Programs of one document are neighbours, so that its
tokens come from memory once and from the cache for every further block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

__all__ = [
    "IS_INTERPRETED",
    "ROWS",
    "SIZES",
    "Documents",
    "blocks_per_program",
    "launches",
    "n_blocks_of",
    "tile_tokens",
]

# query tokens in a block: ColBERT's queries have 32, and a block of zeros costs as much as any other
ROWS = 32
# arguments that differ from call to call, for whose values no kernel is compiled anew
SIZES = ("list_stride", "out_stride", "first", "n_blocks", "n_groups", "blocks_per_query", "n_centroids")
# triton reads the same when it is imported, and then runs kernels in its interpreter
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# elements of a tile of document tokens: 16 KB of float16, of which several fit a multiprocessor at once
_TILE = 8_192
# tensor cores take no fewer rows
_FEWEST_TOKENS = 16
# programs of one launch are numbered in 31 bits
_MOST_PROGRAMS = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Documents:
    """Where documents start and end.

    Attributes:
        starts: ``(N,) int64``, or ``(B, N)`` where each of B queries has documents of its own.
        ends: The same; a document that ends where it starts is passed over, and its place in ``out`` left as it was.
    """

    starts: torch.Tensor
    ends: torch.Tensor

    @property
    def count(self) -> int:
        """N."""
        return self.starts.shape[-1]

    @property
    def list_stride(self) -> int:
        """How far the documents of one query lie behind those of the query before."""
        return self.count if self.starts.ndim == 2 else 0


def n_blocks_of(n_tokens: int) -> int:
    """Blocks of a query of so many tokens."""
    return max(1, -(-n_tokens // ROWS))


def tile_tokens(width: int) -> int:
    """Document tokens of a tile, whose rows have ``width`` elements."""
    return min(128, max(_FEWEST_TOKENS, _TILE // width))


def blocks_per_program(n_blocks: int, most: int, documents: Documents) -> int:
    """Blocks that one program scores: a power of two up to ``most``; one where queries have documents of their own."""
    together = 1
    while documents.list_stride == 0 and together * 2 <= min(most, n_blocks):
        together *= 2
    return together


def launches(documents: Documents, n_groups: int) -> Iterator[tuple[int, int]]:
    """First document and number of programs of every launch that scores all documents for ``n_groups`` groups."""
    step = _MOST_PROGRAMS // n_groups
    for first in range(0, documents.count, step):
        yield first, min(step, documents.count - first) * n_groups
