"""Token vectors to a few bytes and back.

A vector is the centroid next to it plus a quantised residual (ColBERTv2, arXiv 2112.01488,
section 3.3). Where we differ: everything lies in a randomly rotated space, the levels are those of
the normal distribution, and each token has a scale and a norm of its own (a byte each), so that a
dot product needs no decoded vector. ``kernels.rounding.quantise`` is the definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec.grid import Grid, grid
from colbert_rag.codec.nearest import Nearest
from colbert_rag.kernels import token_similarities
from colbert_rag.kernels.layout import LANES
from colbert_rag.types import Float32Array

__all__ = ["QUERY_TOP", "Codec", "EncodedTokens", "QuantisedQueries", "QuantisedQuery"]

# vectors that are rotated and compressed at once
_ROWS = 8_192
# |query| as an integer: int32 holds the sum of 1,024 products of 8,191 and 127
QUERY_TOP = 8_191


@dataclass(frozen=True, slots=True)
class EncodedTokens:
    """Compressed tokens.

    Attributes:
        centroid_ids: ``(T,) uint16`` (``uint32`` above 65,536 centroids).
        codes: ``(T, ceil(D * bits / 8)) uint8``, see ``kernels.rounding.level_numbers``.
        factors: ``(T, 2) uint8``: scale and reciprocal norm, see ``grid.Grid``.
    """

    centroid_ids: NDArray[Any]
    codes: NDArray[np.uint8]
    factors: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class QuantisedQuery:
    """A query as the kernels read it.

    Attributes:
        rotated: ``(Q, D) float32``.
        integers: ``(Q * P,) int16``, flat; P is the dimensions of a row of codes, padded with zeros to a multiple of
            ``kernels.layout.LANES``.
        scale: ``(Q,) float32``: integers times this give ``rotated``.
    """

    rotated: Float32Array
    integers: NDArray[np.int16]
    scale: Float32Array


@dataclass(frozen=True, slots=True)
class QuantisedQueries:
    """Queries one behind the other.

    Attributes:
        rows: Of all of them.
        ends: ``(G,) int64``: where those of each query end.
    """

    rows: QuantisedQuery
    ends: NDArray[np.int64]

    def one(self, n: int) -> QuantisedQuery:
        """The query of this number."""
        a, b = (0 if n == 0 else int(self.ends[n - 1])), int(self.ends[n])
        packed = len(self.rows.integers) // len(self.rows.scale)
        return QuantisedQuery(self.rows.rotated[a:b], self.rows.integers[a * packed : b * packed], self.rows.scale[a:b])


@dataclass(frozen=True)
class Codec:
    """Centroids, rotation and bit width; immutable.

    Attributes:
        centroids: ``(K, D) float32`` in the rotated space, unit length.
        rotation: ``(D, D) float32``, orthogonal; a row vector ``v`` is rotated as ``v @ rotation``.
        bits: 1, 2, 4 or 8 per dimension.
        on_trellis: Whether 1 and 2 bits are chosen along a trellis, as they are but for indexes of earlier versions.
        group_size: So many centroids in a row resemble one another; 1 where their order says nothing.
    """

    centroids: Float32Array
    rotation: Float32Array
    bits: int
    on_trellis: bool = True
    group_size: int = 1

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return len(self.rotation)

    @property
    def n_centroids(self) -> int:
        """K."""
        return len(self.centroids)

    @property
    def code_bytes(self) -> int:
        """Bytes of codes per token."""
        return -(-self.dim * self.bits // 8)

    @property
    def id_dtype(self) -> np.dtype[Any]:
        """Type of a centroid id."""
        return np.dtype(np.uint16 if self.n_centroids <= 65_536 else np.uint32)

    @cached_property
    def grid(self) -> Grid:
        """The quantiser's constants."""
        return grid(self.bits, self.dim, on_trellis=self.on_trellis)

    @cached_property
    def directions(self) -> Float32Array:
        """Of each group of centroids, ``(G, D) float32``, unit rows; none where their order says nothing."""
        if self.group_size == 1:
            return np.zeros((0, self.dim), np.float32)
        sums = np.add.reduceat(self.centroids, np.arange(0, self.n_centroids, self.group_size))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        found: Float32Array = sums / np.maximum(lengths, np.finfo(np.float32).tiny)
        return found

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest(self.centroids)

    @cached_property
    def _byte_levels(self) -> Float32Array:
        return self.grid.byte_levels.astype(np.float32)

    def encode(self, vectors: NDArray[np.floating[Any]]) -> EncodedTokens:
        """Compress ``(T, D)`` unit vectors."""
        n = len(vectors)
        ids = np.empty(n, self.id_dtype)
        codes = np.empty((n, self.code_bytes), np.uint8)
        factors = np.empty((n, 2), np.uint8)
        for part in _parts(n):
            rotated = np.asarray(vectors[part], np.float32) @ self.rotation
            ids[part] = self._nearest(rotated)
            self._quantise(rotated, self.centroids[ids[part]], codes[part], factors[part])
        return EncodedTokens(ids, codes, factors)

    def _quantise(
        self, rotated: Float32Array, centroids: Float32Array, codes: NDArray[np.uint8], factors: NDArray[np.uint8]
    ) -> None:
        from colbert_rag.kernels import cpu

        g = self.grid
        z = np.empty(rotated.shape, np.int16)
        if g.labels is None:
            cpu.round_each(rotated, centroids, g.levels, g.borders, g.stretches, self.bits, z, codes)
        else:
            cpu.round_on_trellis(rotated, centroids, g.points, g.levels, g.labels, self.bits, z, codes)
        cpu.complete(rotated, centroids, z, g.scales, g.scale_borders, g.norm_borders, factors)

    def decode_rotated(self, tokens: EncodedTokens) -> Float32Array:
        """The vectors in the rotated space, ``(T, D) float32``, of unit length."""
        g = self.grid
        packed_dim = self.code_bytes * 8 // self.bits
        rows: NDArray[np.integer[Any]] = tokens.codes
        if g.labels is not None:
            rows = rows.astype(np.intp)
            # low bits of the byte before are the state of the trellis
            rows[:, 1:] += rows[:, :-1] % len(g.labels) * 256
        z = np.take(self._byte_levels, rows, axis=0).reshape(len(rows), packed_dim)[:, : self.dim]
        z *= g.scales[tokens.factors[:, 0]][:, None]
        z += self.centroids[tokens.centroid_ids]
        z *= g.norms[tokens.factors[:, 1]][:, None]
        return z

    def decode(self, tokens: EncodedTokens) -> Float32Array:
        """Rebuild the vectors: ``(T, D) float32``, of unit length."""
        return self.decode_rotated(tokens) @ self.rotation.T

    def rotate(self, query: Float32Array) -> Float32Array:
        """A ``(Q, D)`` query in the rotated space."""
        return np.ascontiguousarray(token_similarities(query, self.rotation.T).T)

    def similarities(self, query: Float32Array, tokens: EncodedTokens, out: Float32Array) -> None:
        """Every token with every token of a query, into ``out`` ``(T, Q) float32``.

        Args:
            query: Rotated and laid out by ``kernels.blocked_query``.
            tokens: T of them.
            out: Is filled.
        """
        from colbert_rag.kernels import cpu

        levels = (self.grid.byte_levels, self.grid.scales, self.grid.norms)
        columns = (tokens.centroid_ids, tokens.codes, tokens.factors)
        cpu.residual_table(query, self.centroids, *levels, *columns, out)

    def quantise_queries(self, queries: Sequence[Float32Array]) -> QuantisedQueries:
        """:meth:`quantise_query` for several at once, with the same results."""
        ends = np.cumsum([len(query) for query in queries])
        return QuantisedQueries(self.quantise_query(np.concatenate(queries)), ends)

    def quantise_query(self, query: Float32Array) -> QuantisedQuery:
        """Rotate a ``(Q, D)`` query and round it to 14 bits per dimension."""
        rotated = self.rotate(query)
        top = np.abs(rotated).max(axis=1)
        scale = np.where(top > 0, top / QUERY_TOP, 1).astype(np.float32)
        packed_dim = self.code_bytes * 8 // self.bits
        integers = np.zeros((len(query), -(-packed_dim // LANES) * LANES), np.int16)
        integers[:, : self.dim] = np.round(rotated / scale[:, None])
        return QuantisedQuery(rotated, integers.reshape(-1), scale)


def _parts(n: int) -> Iterator[slice]:
    for start in range(0, n, _ROWS):
        yield slice(start, start + _ROWS)
