"""Kernels and searches on a GPU, behind a gate of correctness: one red line, and no number is printed.

    python tests/benchmarks/gpu.py [--device cuda] [--beir FOLDER] [--bits 4] [--peers] [--seed N]

1. Every kernel against the reference, on fresh random inputs with odd sizes, outputs poisoned.
2. With --beir, a collection in BEIR's layout: the same top 10 as on the processor, for every query.
3. Bandwidth by a copy, rates by products, and a table of each kernel: bytes, operations, floor, median, fraction.
4. With --beir, queries a second of an index, single and in batches, on the GPU and on the processor; with --peers
   fast-plaid on the same vectors, if it can be imported.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from suite.collection import NDCG, Collection, prepare
from suite.gpu_gate import differences
from suite.gpu_kernels import Timer, cases, ceilings, table

from colbert_rag import Document, Encoder, Index, SearchConfig, TokenVectors
from colbert_rag.types import Float32Array

K = 10
BATCH = 32
SIZES = {"long": 256, "long_tokens": 8_192, "tokens": 10_000_000, "many_tokens": 100_000_000, "batch": BATCH}
# scores that lie closer together than this may change places
CLOSE = 0.02
ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    device = torch.device(asked.device)
    found = differences(device, asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        searched = None
        if asked.beir is not None and not found:
            searched = Searched(asked.beir, asked.device, asked.bits, Path(folder))
            found += searched.differences()
        if found:
            print("RED, nothing is measured:", *found, sep="\n  ")
            return 1
        print(f"green: every kernel equals the reference (seed {asked.seed})")
        print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}")
        print(kernel_table(device, asked.seed, SIZES, event_timer))
        if searched is not None:
            for line in searched.speeds(with_peers=asked.peers):
                print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--beir", type=Path)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of all random inputs")
    return parser


def event_timer(call: Callable[[], object]) -> float:
    """Median milliseconds between two events of the device, after a warm-up."""
    import triton.testing

    return triton.testing.do_bench(call, warmup=100, rep=400, return_mode="median")


def kernel_table(device: torch.device, seed: int, sizes: dict[str, int], timer: Timer) -> str:
    """The ceilings and the roofline of every kernel."""
    most = ceilings(device, timer)
    head = (
        f"copy {most.bytes_per_s / 1e9:,.0f} GB/s, float16 {most.float16_per_s / 1e12:,.0f} TFLOP/s, "
        f"int8 {most.int8_per_s / 1e12:,.0f} TOP/s, as measured"
    )
    measured = [case.row(most, timer(case.run)) for case in cases(device, np.random.default_rng(seed), sizes)]
    return f"{head}\n\n{table(measured)}\n"


class Searched:
    """One index of a collection, opened on the GPU and on the processor.

    Args:
        source: In BEIR's layout.
        device: Of the first of the two.
        bits: Of the index.
        folder: For the index and the encoded collection.
        encoder: Of documents and queries; None for the built-in model.
    """

    def __init__(self, source: Path, device: str, bits: Any, folder: Path, encoder: Any = None) -> None:
        self.collection = prepare(source, folder / "encoded", encoder or Encoder(), None, 10**9)
        self.folder = folder
        _build(self.collection, folder / "index", bits)
        self.on_device = Index.open(folder / "index", device=device)
        self.on_processor = Index.open(folder / "index", device="cpu")
        ends = self.collection.load("query_offsets")
        rows = self.collection.load("queries")
        self.queries = [np.array(rows[ends[n] : ends[n + 1]]) for n in range(self.collection.n_queries)]

    def differences(self) -> list[str]:
        """Queries whose best ten on the device are not those of an exact search on the processor."""
        exact = SearchConfig(exact=True, passages=0)
        ours, theirs = (
            index.search_vectors(self.queries, K, config=exact) for index in (self.on_device, self.on_processor)
        )
        wrong = []
        for n, (found, expected) in enumerate(zip(ours, theirs, strict=True)):
            gaps = [abs(a.score - b.score) for a, b in zip(found, expected, strict=True)]
            border = expected[-1].score + CLOSE
            missing = {hit.id for hit in expected if hit.score > border} - {hit.id for hit in found}
            if missing or max(gaps) > CLOSE:
                wrong.append(f"query {n}: scores differ by {max(gaps):.3g}, missing: {sorted(missing)}")
        return wrong

    def speeds(self, *, with_peers: bool) -> Iterator[str]:
        """Queries a second, medians of several rounds in random orders, and nDCG@10."""
        config = SearchConfig(passages=0)
        for index in (self.on_device, self.on_processor):
            for size in (1, BATCH):
                yield self._speed(
                    f"ours on {index.device}",
                    size,
                    lambda part, index=index: [
                        [int(hit.id) for hit in hits] for hits in index.search_vectors(part, K, config=config)
                    ],
                )
        if with_peers:
            yield from self._peer()

    def _peer(self) -> Iterator[str]:
        try:
            from fast_plaid import search
        except ImportError as err:
            yield f"fast-plaid: not measured ({err})"
            return
        bounds, vectors = self.collection.load("offsets"), self.collection.load("vectors")
        engine = search.FastPlaid(index=str(self.folder / "fast-plaid"), device="cuda", low_memory=False)
        documents = [torch.from_numpy(np.array(vectors[a:b])) for a, b in pairwise(bounds)]
        engine.create(documents_embeddings=documents)

        def ask(part: list[Float32Array]) -> list[list[int]]:
            found = engine.search([torch.from_numpy(query) for query in part], top_k=K, show_progress=False)
            return [[int(n) for n, _ in hits] for hits in found]

        for size in (1, BATCH):
            yield self._speed("fast-plaid on cuda", size, ask)

    def _speed(self, name: str, size: int, ask: Callable[[list[Float32Array]], list[list[int]]]) -> str:
        ask(self.queries[:size])
        rates, found = [], {}
        for _ in range(ROUNDS):
            order = random.sample(range(len(self.queries)), len(self.queries))
            parts = [order[first : first + size] for first in range(0, len(order), size)]
            begin = time.perf_counter()
            for part in parts:
                found |= dict(zip(part, ask([self.queries[n] for n in part]), strict=True))
            rates.append(len(order) / (time.perf_counter() - begin))
        quality = self.collection.quality(found).get(NDCG, float("nan"))
        return f"{name}, batches of {size}: {statistics.median(rates):,.0f} queries a second, {NDCG} {quality:.4f}"


def _build(collection: Collection, path: Path, bits: Any) -> None:
    vectors, spans, offsets = (collection.load(name) for name in ("vectors", "spans", "offsets"))
    texts = json.loads((collection.folder / "texts.json").read_text(encoding="utf-8"))
    with Index.create(path, dim=vectors.shape[1], bits=bits, exact_tokens=0, device="cpu") as index:
        index.add_vectors(
            (Document(str(n), texts[n]), TokenVectors(vectors[a:b], spans[a:b]))
            for n, (a, b) in enumerate(pairwise(offsets.tolist()))
        )


if __name__ == "__main__":
    sys.exit(main())
