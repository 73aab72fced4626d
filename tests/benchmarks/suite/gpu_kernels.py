"""Each kernel beside the least time that its bytes and operations need on this GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from suite.gpu_gate import Inputs

from colbert_rag.kernels.cuda.approximate import approximate_scores
from colbert_rag.kernels.cuda.dense import dense_scores, query_parts
from colbert_rag.kernels.cuda.launching import ROWS
from colbert_rag.kernels.cuda.residual import residual_scores

__all__ = ["Case", "Ceilings", "cases", "ceilings", "table"]

Timer = Callable[[Callable[[], object]], float]
"""Median milliseconds of a call."""

HEAD = ("kernel", "MB", "GOP", "ms", "floor ms", "fraction", "bound by")


@dataclass(frozen=True)
class Ceilings:
    """What the GPU does at most, as measured: bytes a second, and operations a second in each type."""

    bytes_per_s: float
    float16_per_s: float
    int8_per_s: float


@dataclass(frozen=True)
class Case:
    """A launch, and what it needs at least: bytes of memory, read once, and operations of tensor cores."""

    name: str
    run: Callable[[], object]
    n_bytes: int
    n_float16: int = 0
    n_int8: int = 0

    def row(self, ceilings: Ceilings, ms: float) -> tuple[str, ...]:
        """As :data:`HEAD` names it."""
        memory = self.n_bytes / ceilings.bytes_per_s * 1e3
        arithmetic = (self.n_float16 / ceilings.float16_per_s + self.n_int8 / ceilings.int8_per_s) * 1e3
        floor = max(memory, arithmetic)
        numbers = (self.n_bytes / 1e6, (self.n_float16 + self.n_int8) / 1e9, ms, floor, floor / ms)
        return self.name, *(f"{number:,.3f}" for number in numbers), "memory" if memory >= arithmetic else "arithmetic"


def ceilings(device: torch.device, timer: Timer, size: int = 1 << 30, side: int = 8_192) -> Ceilings:
    """Measured by a copy of ``size`` bytes, read and written, and by square products of random numbers."""
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * size / timer(lambda: target.copy_(source)) * 1e3
    half = torch.randn((side, side), device=device).half()
    whole = torch.randint(-128, 128, (side, side), dtype=torch.int8, device=device)
    products = (lambda: half @ half), (lambda: torch._int_mm(whole, whole))
    rates = [2 * side**3 / timer(product) * 1e3 for product in products]
    return Ceilings(copied, *rates)


def cases(device: torch.device, rng: np.random.Generator, sizes: dict[str, int]) -> Iterator[Case]:
    """What a card is measured on, one after the other, so that one's memory is free for the next."""
    long = Inputs(rng, device, np.full(sizes["long"], sizes["long_tokens"]), 128, 1)
    yield _dense(f"MaxSim float16, {sizes['long']} documents of {sizes['long_tokens']:,} tokens, 1 query", long)
    for n_queries in (1, sizes["batch"]):
        few = _corpus(rng, device, sizes["tokens"], n_queries)
        yield _dense(f"MaxSim float16, {few.n_tokens:,} tokens, {n_queries} queries", few)
        yield _approximate(f"centroid ids, {few.n_tokens:,} tokens, {n_queries} queries", few)
        for bits in (4, 2, 1):
            yield _residual(f"{bits} bits, {few.n_tokens:,} tokens, {n_queries} queries", few, bits)
    many = _corpus(rng, device, sizes["many_tokens"], sizes["batch"])
    yield _residual(f"4 bits, {many.n_tokens:,} tokens, {sizes['batch']} queries", many, 4)


def table(measured: list[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *measured]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _corpus(rng: np.random.Generator, device: torch.device, n_tokens: int, n_blocks: int) -> Inputs:
    lengths = rng.integers(20, 200, max(1, n_tokens // 110))
    return Inputs(rng, device, lengths, 128, n_blocks, n_centroids=min(8_192, max(16, n_tokens // 100)))


def _dense(name: str, inputs: Inputs) -> Case:
    parts = query_parts(inputs.rows(inputs.n_blocks * ROWS), torch.float16)
    vectors = torch.cat([_halves(inputs, n) for n in _pieces(inputs.n_tokens)])
    documents, out = inputs.documents(), inputs.poisoned()
    operations = 2 * len(parts) * inputs.n_tokens * inputs.dim * inputs.n_blocks * ROWS
    return Case(name, lambda: dense_scores(parts, vectors, documents, 1, out), vectors.nbytes, n_float16=operations)


def _halves(inputs: Inputs, n: int) -> torch.Tensor:
    return inputs.rows(n).half()


def _pieces(n: int, most: int = 1 << 22) -> list[int]:
    return [min(most, n - first) for first in range(0, n, most)]


def _approximate(name: str, inputs: Inputs) -> Case:
    ids, ranks = inputs.tokens(1).centroid_ids, inputs.table()
    documents, out = inputs.documents(), inputs.poisoned(torch.int32)
    return Case(name, lambda: approximate_scores(ranks, ids, documents, out), ids.nbytes)


def _residual(name: str, inputs: Inputs, bits: int) -> Case:
    tokens, levels, (query, _) = inputs.tokens(bits), inputs.levels(bits), inputs.query(bits)
    documents, out = inputs.documents(), inputs.poisoned()
    n_bytes = tokens.centroid_ids.nbytes + tokens.codes.nbytes + tokens.factors.nbytes
    operations = 2 * 2 * inputs.n_tokens * inputs.dim * inputs.n_blocks * ROWS
    return Case(name, lambda: residual_scores(query, levels, tokens, documents, 1, out), n_bytes, n_int8=operations)
