"""Vectors to codes and factors on a device; ``kernels/rounding.py`` is the specification.

Axes: ``T`` tokens, ``D`` dimensions, ``L`` levels, ``S`` states of a trellis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from colbert_rag.codec.grid import Grid

__all__ = ["DeviceGrid", "quantise"]


@dataclass(frozen=True, slots=True)
class DeviceGrid:
    """The arrays of a :class:`colbert_rag.codec.grid.Grid` on a device; ``labels`` is None without a trellis."""

    levels: torch.Tensor
    points: torch.Tensor
    labels: torch.Tensor | None
    borders: torch.Tensor
    stretches: torch.Tensor
    scales: torch.Tensor
    scale_borders: torch.Tensor
    norms: torch.Tensor
    norm_borders: torch.Tensor

    @classmethod
    def load(cls, grid: Grid, device: torch.device) -> DeviceGrid:
        """Copy a grid to a device."""
        arrays = {field.name: getattr(grid, field.name) for field in fields(cls)}
        return cls(
            **{name: None if a is None else torch.from_numpy(a.copy()).to(device) for name, a in arrays.items()}  # type: ignore[arg-type]
        )


def quantise(
    vectors: torch.Tensor, centroids: torch.Tensor, grid: DeviceGrid, bits: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Form of :func:`colbert_rag.kernels.rounding.quantise` on a device.

    Args:
        vectors: ``(T, D) float32``, rotated.
        centroids: ``(T, D) float32``: the centroid of each vector.
        grid: Constants.
        bits: 1, 2, 4 or 8.

    Returns:
        Packed codes ``(T, ceil(D * bits / 8)) uint8`` and factors ``(T, 2) uint8``.
    """
    residuals = vectors - centroids
    length = residuals.norm(dim=1)
    stretch = torch.where(length > 0, vectors.shape[1] ** 0.5 / length.clamp(min=1e-30), 0)
    unit = residuals * stretch[:, None]
    if grid.labels is None:
        numbers = _round_each(unit, grid)
        codes = _packed(numbers, bits)
    else:
        path, choices, numbers = _round_on_trellis(unit, grid.points, grid.labels.long())
        codes = _interleaved(path, choices, bits)
    z = grid.levels[numbers].float()
    wanted = (z * residuals).sum(dim=1) / (z * z).sum(dim=1).clamp(min=1)
    scale = torch.bucketize(wanted, grid.scale_borders, right=True)
    norm = (centroids + grid.scales[scale][:, None] * z).norm(dim=1).reciprocal()
    factor = torch.bucketize(norm, grid.norm_borders, right=True)
    return codes, torch.stack([scale, factor], dim=1).to(torch.uint8)


def _round_each(unit: torch.Tensor, grid: DeviceGrid) -> torch.Tensor:
    """Level numbers ``(T, D) int64``, every dimension rounded by itself: the stretch with the best cosine."""
    best = torch.full_like(unit[:, 0], -torch.inf)
    numbers = torch.zeros_like(unit, dtype=torch.int64)
    for n in range(len(grid.stretches)):
        tried = torch.bucketize(unit * grid.stretches[n], grid.borders, right=True)
        z = grid.levels[tried].float()
        cosine = (z * unit).sum(dim=1) / (z * z).sum(dim=1).clamp(min=1).sqrt()
        is_better = cosine > best
        best = torch.where(is_better, cosine, best)
        numbers = torch.where(is_better[:, None], tried, numbers)
    return numbers


def _round_on_trellis(
    unit: torch.Tensor, points: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Path bits, choices and level numbers, ``(T, D) int64`` each: the nearest path, found as Viterbi does."""
    n, dim = unit.shape
    n_states = len(labels)
    states = torch.arange(n_states, device=unit.device)
    sources = torch.stack([states // 2, states // 2 + n_states // 2])
    wanted = labels[sources, states % 2]
    # (T, D, choices, 4)
    costs, choices = ((unit[:, :, None] - points) ** 2).view(n, dim, -1, 4).min(dim=2)
    cost = torch.full((n, n_states), torch.inf, device=unit.device)
    cost[:, 0] = 0
    came_from = torch.empty((dim, n, n_states), dtype=torch.bool, device=unit.device)
    for d in range(dim):
        ways = cost[:, sources] + costs[:, d][:, wanted]
        cost, way = ways.min(dim=1)
        came_from[d] = way.bool()
    path, chosen = (torch.empty((n, dim), dtype=torch.int64, device=unit.device) for _ in range(2))
    numbers, state = torch.empty_like(path), cost.argmin(dim=1)
    for d in range(dim - 1, -1, -1):
        second = came_from[d].gather(1, state[:, None])[:, 0]
        before = state // 2 + second * (n_states // 2)
        path[:, d] = state % 2
        label = labels[before, path[:, d]]
        chosen[:, d] = choices[:, d].gather(1, label[:, None])[:, 0]
        numbers[:, d] = 4 * chosen[:, d] + label
        state = before
    return path, chosen, numbers


def _by_byte(numbers: torch.Tensor, per_byte: int) -> torch.Tensor:
    """``(T, B, per_byte)``, the last byte filled up with zeros."""
    padded = torch.nn.functional.pad(numbers, (0, -numbers.shape[1] % per_byte))
    return padded.view(len(numbers), -1, per_byte)


def _packed(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    """Numbers in bytes, the first dimension in the highest bits."""
    shifts = torch.arange(8 - bits, -1, -bits, device=numbers.device)
    return (_by_byte(numbers, 8 // bits) << shifts).sum(dim=2).to(torch.uint8)


def _interleaved(path: torch.Tensor, choices: torch.Tensor, bits: int) -> torch.Tensor:
    """Bytes with the choices of their dimensions in the high bits and the path in the low ones."""
    per_byte, free = 8 // bits, bits - 1
    places = torch.arange(per_byte - 1, -1, -1, device=path.device)
    low = _by_byte(path, per_byte) << places
    high = _by_byte(choices, per_byte) << (per_byte + places * free)
    return (low + high).sum(dim=2).to(torch.uint8)
