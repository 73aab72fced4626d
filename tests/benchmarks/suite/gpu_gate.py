"""What kernels for GPUs must do before their speed means anything: equal the reference on fresh random inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from colbert_rag.codec.grid import BITS, grid
from colbert_rag.kernels import reference
from colbert_rag.kernels.cuda.approximate import approximate_scores
from colbert_rag.kernels.cuda.dense import dense_scores, query_parts
from colbert_rag.kernels.cuda.launching import ROWS, Documents
from colbert_rag.kernels.cuda.residual import (
    CodedQuery,
    CodedTokens,
    Levels,
    code_query,
    level_words,
    residual_scores,
)

__all__ = ["Inputs", "differences"]

K = 300
# odd sizes, one long document, and one that is most of a tile
LENGTHS = (63, 1, 130, 33, 700, 32)
# dimensions, and blocks of query tokens
SHAPES = ((128, 5), (96, 1), (48, 2))
# relative to the norm of all scores; bfloat16 keeps 16 bits of a query
TOLERANCES = {torch.float16: 1e-5, torch.bfloat16: 1e-4, torch.float32: 1e-5}


@dataclass(frozen=True)
class Inputs:
    """Random tokens and queries on a device.

    Attributes:
        rng: Where they come from.
        device: Where they go.
        lengths: Tokens of each document.
        dim: D.
        n_blocks: Blocks of query tokens.
        n_centroids: K.
    """

    rng: np.random.Generator
    device: torch.device
    lengths: np.ndarray
    dim: int
    n_blocks: int
    n_centroids: int = K

    @property
    def n_tokens(self) -> int:
        """T."""
        return int(self.lengths.sum())

    def on(self, array: np.ndarray) -> torch.Tensor:
        """A copy on the device."""
        return torch.from_numpy(array).to(self.device)

    def documents(self) -> Documents:
        """The documents in a random order."""
        ends = np.cumsum(self.lengths).astype(np.int64)
        order = self.rng.permutation(len(ends))
        return Documents(self.on((ends - self.lengths)[order].astype(np.int64)), self.on(ends[order]))

    def rows(self, n: int) -> torch.Tensor:
        """``(n, D) float32`` of unit length, made on the device."""
        seed = int(self.rng.integers(2**31))
        generator = torch.Generator(self.device).manual_seed(seed)
        rows = torch.randn((n, self.dim), generator=generator, device=self.device)
        return torch.nn.functional.normalize(rows, dim=1)

    def integers(self, low: int, high: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Random integers, made on the device."""
        generator = torch.Generator(self.device).manual_seed(int(self.rng.integers(2**31)))
        return torch.randint(low, high, shape, generator=generator, device=self.device, dtype=dtype)

    def tokens(self, bits: int) -> CodedTokens:
        """Compressed tokens that any codec could have written."""
        codes = self.integers(0, 256, (self.n_tokens, -(-self.dim * bits // 8)), torch.uint8)
        ids = self.integers(0, self.n_centroids, (self.n_tokens,), torch.int16).view(torch.uint16)
        return CodedTokens(ids, codes, self.integers(0, 256, (self.n_tokens, 2), torch.uint8))

    def levels(self, bits: int) -> Levels:
        """What bytes stand for."""
        g = grid(bits, self.dim)
        return Levels(self.on(level_words(g.byte_levels)), self.on(g.scales), self.on(g.norms))

    def query(self, bits: int) -> tuple[CodedQuery, np.ndarray]:
        """A query for the kernel, and its integers ``(R, D)``."""
        n_rows = self.n_blocks * ROWS
        integers = self.rng.integers(-8191, 8192, (n_rows, self.dim)).astype(np.int32)
        coded = code_query(self.on(integers), 8 // bits, -(-self.dim * bits // 8))
        scale = self.on(self.rng.uniform(1e-5, 1e-4, n_rows).astype(np.float32))
        near = self.rows(n_rows)[:, :1] * torch.linspace(-1, 1, self.n_centroids, device=self.device)
        return CodedQuery(coded, scale, near.T.contiguous()), integers

    def table(self) -> torch.Tensor:
        """A table of centroid scores."""
        return self.integers(0, 256, (self.n_blocks, self.n_centroids, ROWS), torch.uint8)

    def poisoned(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Where scores go, filled with what no score is."""
        shape = self.n_blocks, len(self.lengths)
        return torch.full(shape, torch.nan if dtype.is_floating_point else -7, dtype=dtype, device=self.device)


def differences(device: torch.device, seed: int) -> list[str]:
    """Every kernel that does not equal the reference, by name; empty where all do."""
    rng = np.random.default_rng(seed)
    found = []
    for dim, n_blocks in SHAPES:
        inputs = Inputs(rng, device, rng.permutation(LENGTHS), dim, n_blocks)
        for name, ours, expected, tolerance in _compared(inputs):
            gap = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
            # a comparison that no NaN fulfils
            if not gap <= tolerance:
                found.append(f"{name}, D = {dim}, {n_blocks} blocks: off by {gap:.2g} of the norm")
    return found


def _compared(inputs: Inputs) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    documents = inputs.documents()
    bounds = documents.starts.cpu().numpy(), documents.ends.cpu().numpy()
    blocks = [slice(block * ROWS, (block + 1) * ROWS) for block in range(inputs.n_blocks)]
    for dtype, tolerance in TOLERANCES.items():
        query, vectors, out = inputs.rows(len(blocks) * ROWS), inputs.rows(inputs.n_tokens).to(dtype), inputs.poisoned()
        dense_scores(query_parts(query, dtype), vectors, documents, 1, out)
        wide, exact = query.double().cpu().numpy(), vectors.double().cpu().numpy()
        expected = [reference.dot_scores(wide[rows], exact, *bounds) for rows in blocks]
        yield f"dense {dtype}", out.cpu().numpy(), np.stack(expected), tolerance
    tokens, table, sums = inputs.tokens(4), inputs.table(), inputs.poisoned(torch.int32)
    approximate_scores(table, tokens.centroid_ids, documents, sums)
    on_host = table.cpu().numpy(), tokens.centroid_ids.cpu().numpy()
    expected = [reference.approximate_scores(on_host[0][n : n + 1], on_host[1], *bounds) for n in range(len(blocks))]
    yield "approximate", sums.cpu().numpy(), np.stack(expected).astype(np.int64), 0
    for bits in BITS:
        tokens, out = inputs.tokens(bits), inputs.poisoned()
        coded, integers = inputs.query(bits)
        residual_scores(coded, inputs.levels(bits), tokens, documents, 1, out)
        columns = tuple(part.cpu().numpy() for part in (tokens.centroid_ids, tokens.codes, tokens.factors))
        scale, near = coded.scale.cpu().numpy(), coded.centroid_scores.cpu().numpy()
        unused = np.zeros((1, inputs.n_centroids, ROWS), np.uint8)
        expected = [
            reference.residual_scores(
                integers[rows].astype(np.int16),
                scale[rows],
                near[:, rows],
                unused,
                columns,
                bounds,
                grid(bits, inputs.dim),
                bits,
            )
            for rows in blocks
        ]
        yield f"residual, {bits} bits", out.cpu().numpy(), np.stack(expected), 1e-5
