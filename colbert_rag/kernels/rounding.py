"""The specification of the quantiser, in NumPy: vectors to codes and two bytes of factors.

Axes: ``T`` tokens, ``D`` dimensions, ``L`` levels, ``S`` states of a trellis.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array

__all__ = ["QuantiserGrid", "level_numbers", "pack_codes", "quantise", "unpack_codes"]

ByteArray = NDArray[np.uint8]


class QuantiserGrid(Protocol):
    """Constants of a quantiser: see ``codec.grid``."""

    @property
    def levels(self) -> NDArray[np.int16]:
        """``(L,)``, rising: ``2**bits``, or twice as many on a trellis."""

    @property
    def points(self) -> Float32Array:
        """``(L,)``: the levels in standard deviations of a residual's dimension."""

    @property
    def labels(self) -> ByteArray | None:
        """``(S, 2) uint8``: which fourth of the levels a state and the next bit ask for; None without a trellis."""

    @property
    def borders(self) -> Float32Array:
        """``(L - 1,)``: halfway between the points."""

    @property
    def stretches(self) -> Float32Array:
        """What a residual is multiplied with before each dimension is rounded by itself."""

    @property
    def scales(self) -> Float32Array:
        """``(256,)``: the scale that a byte stands for, rising."""

    @property
    def scale_borders(self) -> Float32Array:
        """``(255,)``."""

    @property
    def norms(self) -> Float32Array:
        """``(256,)``: the reciprocal norm that a byte stands for, rising."""

    @property
    def norm_borders(self) -> Float32Array:
        """``(255,)``."""


def unpack_codes(codes: ByteArray, bits: int, dim: int) -> ByteArray:
    """Numbers from packed bytes, most significant bits first.

    Args:
        codes: ``(T, ceil(D * bits / 8)) uint8``.
        bits: 1, 2, 4 or 8.
        dim: D.

    Returns:
        ``(T, D) uint8``, each below ``2**bits``.
    """
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    numbers = (codes[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    return numbers.reshape(len(codes), codes.shape[1] * len(shifts))[:, :dim]


def pack_codes(numbers: ByteArray, bits: int) -> ByteArray:
    """The inverse of :func:`unpack_codes`; a last byte that is not full is padded with zeros."""
    per_byte = 8 // bits
    padded = np.zeros((len(numbers), -(-numbers.shape[1] // per_byte) * per_byte), np.uint8)
    padded[:, : numbers.shape[1]] = numbers
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    groups = padded.reshape(len(numbers), padded.shape[1] // per_byte, per_byte)
    packed: ByteArray = np.bitwise_or.reduce(groups << shifts, axis=2)
    return packed.astype(np.uint8)


def level_numbers(codes: ByteArray, bits: int, dim: int, labels: ByteArray | None) -> ByteArray:
    """Which level codes stand for in each dimension.

    Without a trellis they are the codes. On a trellis a byte holds its dimensions' choices in the high bits and their
    path bits in the low ones, each the first dimension first. A dimension's level is number ``4 * choice + label``,
    and the label depends on its path bit and on those of the dimensions before it (0 before the first).

    Args:
        codes: ``(T, ceil(D * bits / 8)) uint8``.
        bits: 1, 2, 4 or 8.
        dim: D.
        labels: See :class:`QuantiserGrid`.

    Returns:
        ``(T, D) uint8``, each below L.
    """
    if labels is None:
        return unpack_codes(codes, bits, dim)
    free, places = bits - 1, np.arange(8 // bits - 1, -1, -1, dtype=np.uint8)
    shape = len(codes), codes.shape[1] * len(places)
    path = (codes[:, :, None] >> places & 1).reshape(shape)[:, :dim]
    choices = (codes[:, :, None] >> (len(places) + places * free) & (2**free - 1)).reshape(shape)[:, :dim]
    numbers = np.zeros((len(codes), dim), np.uint8)
    state = np.zeros(len(codes), int)
    for d in range(dim):
        numbers[:, d] = 4 * choices[:, d] + labels[state, path[:, d]]
        state = (2 * state + path[:, d]) % len(labels)
    return numbers


def quantise(
    vectors: Float32Array, centroids: Float32Array, grid: QuantiserGrid, bits: int
) -> tuple[ByteArray, ByteArray]:
    """Quantise what is left of vectors after their centroids, each on a scale of its own.

    The direction of a residual is rounded to levels ``z``, by :func:`round_each` or :func:`round_on_trellis`.
    Two bytes complete it: the least-squares scale ``s`` of ``z``, and ``1 / |centroid + s z|``, which makes the
    rebuilt vector one of unit length.

    Args:
        vectors: ``(T, D) float32``, unit length.
        centroids: ``(T, D) float32``: the centroid of each vector.
        grid: Levels and how they are chosen, and the values that the two bytes stand for.
        bits: 1, 2, 4 or 8.

    Returns:
        Packed codes ``(T, ceil(D * bits / 8)) uint8`` and factors ``(T, 2) uint8``.
    """
    residuals = vectors - centroids
    length = np.sqrt((residuals.astype(np.float64) ** 2).sum(axis=1))
    stretch = np.where(length > 0, np.sqrt(vectors.shape[1]) / np.where(length > 0, length, 1), 0)
    unit = residuals * stretch.astype(np.float32)[:, None]
    codes = round_each(unit, grid, bits) if grid.labels is None else round_on_trellis(unit, grid, grid.labels, bits)
    z = grid.levels[level_numbers(codes, bits, vectors.shape[1], grid.labels)].astype(np.float64)
    wanted = (z * residuals).sum(axis=1) / np.maximum((z * z).sum(axis=1), 1)
    scale = np.searchsorted(grid.scale_borders, wanted.astype(np.float32), side="right").astype(np.uint8)
    rebuilt = centroids + grid.scales[scale].astype(np.float64)[:, None] * z
    norm = 1 / np.sqrt((rebuilt * rebuilt).sum(axis=1))
    factor = np.searchsorted(grid.norm_borders, norm.astype(np.float32), side="right").astype(np.uint8)
    return codes, np.column_stack([scale, factor])


def round_each(unit: Float32Array, grid: QuantiserGrid, bits: int) -> ByteArray:
    """Codes of residuals, every dimension rounded by itself.

    Of the roundings of a few stretches of a residual, the one with the best cosine to it (the idea of extended
    RaBitQ, arXiv 2409.09913).

    Args:
        unit: ``(T, D) float32``, residuals of length ``sqrt(D)``.
        grid: Levels, borders and stretches.
        bits: 1, 2, 4 or 8.

    Returns:
        ``(T, ceil(D * bits / 8)) uint8``.
    """
    best = np.full(len(unit), -np.inf)
    numbers = np.zeros(unit.shape, np.uint8)
    for stretch in grid.stretches:
        tried = np.searchsorted(grid.borders, (unit * stretch).astype(np.float32), side="right").astype(np.uint8)
        z = grid.levels[tried].astype(np.float64)
        cosine = (z * unit).sum(axis=1) / np.sqrt(np.maximum((z * z).sum(axis=1), 1))
        better = cosine > best
        best[better], numbers[better] = cosine[better], tried[better]
    return pack_codes(numbers, bits)


def round_on_trellis(unit: Float32Array, grid: QuantiserGrid, labels: ByteArray, bits: int) -> ByteArray:
    """Codes of residuals, all dimensions of one chosen together: the nearest path through a trellis.

    Trellis-coded quantisation (Marcellin and Fischer 1990, sections II and III): there are twice as many levels as the
    bits can name, and the bits of earlier dimensions say which half of them a dimension may use. The nearest of all
    paths is found as Viterbi does, one dimension after the other.

    Args:
        unit: ``(T, D) float32``, residuals of length ``sqrt(D)``.
        grid: Points.
        labels: See :class:`QuantiserGrid`.
        bits: 1 or 2.

    Returns:
        ``(T, ceil(D * bits / 8)) uint8``.
    """
    n, dim = unit.shape
    n_states = len(labels)
    rows, states = np.arange(n), np.arange(n_states)
    sources = np.stack([states // 2, states // 2 + n_states // 2])
    cost = np.full((n, n_states), np.inf, np.float32)
    cost[:, 0] = 0
    gaps = (unit[:, :, None] - grid.points) ** 2
    by_label = gaps.reshape(n, dim, -1, 4)
    choices, costs = by_label.argmin(axis=2).astype(np.uint8), by_label.min(axis=2)
    came_from = np.zeros((dim, n, n_states), int)
    for d in range(dim):
        ways = cost[:, sources] + costs[:, d][:, labels[sources, states % 2]]
        came_from[d] = sources[ways.argmin(axis=1), states]
        cost = ways.min(axis=1)
    path, chosen = np.zeros((n, dim), np.uint8), np.zeros((n, dim), np.uint8)
    state = cost.argmin(axis=1)
    for d in range(dim - 1, -1, -1):
        before = came_from[d, rows, state]
        path[:, d] = state % 2
        chosen[:, d] = choices[rows, d, labels[before, path[:, d]]]
        state = before
    return _interleaved(path, chosen, bits)


def _interleaved(path: ByteArray, choices: ByteArray, bits: int) -> ByteArray:
    """Bytes with the choices of their dimensions in the high bits and the path in the low ones."""
    per_byte, free = 8 // bits, bits - 1
    packed = np.zeros((len(path), -(-path.shape[1] // per_byte)), np.uint8)
    for d in range(path.shape[1]):
        place = per_byte - 1 - d % per_byte
        packed[:, d // per_byte] |= path[:, d] << place | choices[:, d] << (per_byte + place * free)
    return packed
