"""Search: ours by setting, beside the peers, and with growth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from suite.collection import FOUND, LOSS
from suite.picture import TOKENS
from suite.registry import Bench, benchmark
from suite.results import Bound, Result
from suite.worker import Player, Worker, compare

from colbert_rag import Index

__all__ = ["BOUNDS", "bytes_per_token"]

# by bits per dimension
BOUNDS = {
    4: (Bound(LOSS, most=0.003), Bound(FOUND, least=0.97)),
    2: (Bound(FOUND, least=0.94),),
    1: (Bound(FOUND, least=0.87),),
}
# a peer is timed at whatever quality it has, if it is set up so that it works at all
_WORKS = (Bound(FOUND, least=0.5),)
_GROWTH = (Bound(FOUND, least=0.9),)
_SIZES = (1_000_000, 2_000_000, 5_000_000, 20_000_000, 50_000_000)
_BATCH = 64
_NO_PASSAGES = {"passages": 0}
# fewer and more than the default
_CANDIDATES = (80, 192)


def bytes_per_token(worker: Worker) -> dict[str, float]:
    """What ours takes on the disk, with catalog and full-text index but without texts, and the vectors' files alone."""
    with Index.open(worker.index, read_only=True) as index:
        info = index.info()
    return {"bytes per token": info.bytes_per_token, "vectors alone": info.vector_bytes / info.n_tokens}


@benchmark()
def search(bench: Bench) -> Iterator[Result]:
    """Ours at 4, 2 and 1 bits: one query at a time, in batches, from several threads at once."""
    for bits, bounds in BOUNDS.items():
        with bench.worker("ours") as worker:
            worker.build(bits=bits)
            sizes, name = bytes_per_token(worker), f"{bits} bits"
            players = [
                Player(worker, f"{name}, defaults", bounds, sizes=sizes),
                Player(worker, f"{name}, without passages", bounds, _NO_PASSAGES, sizes=sizes),
                Player(worker, f"{name}, without passages, batches of {_BATCH}", bounds, _NO_PASSAGES, batch=_BATCH),
            ]
            for callers in (2, 4):
                setting = f"{name}, without passages, callers at once: {callers}"
                players.append(Player(worker, setting, bounds, _NO_PASSAGES, callers=callers))
            yield from compare(players, bench.rounds)


@benchmark("peers")
def peers(bench: Bench) -> Iterator[Result]:
    """Ours, fast-plaid and xtr-warp-rs at 4 bits on the same vectors: build, then one query at a time in turns."""
    with ExitStack() as stack:
        ours, plaid, warp = (
            stack.enter_context(bench.worker(engine)) for engine in ("ours", "fast-plaid", "xtr-warp-rs")
        )
        our_sizes = ours.build(bits=4)
        plaid_sizes, warp_sizes = plaid.build(nbits=4), warp.build(nbits=4)
        fewer = {**_NO_PASSAGES, "n_candidates": 16}
        thorough = {"nprobe": 32, "bound": 256, "num_threads": bench.threads}
        players = [
            Player(ours, "ours, without passages", BOUNDS[4], _NO_PASSAGES, sizes=our_sizes),
            Player(ours, "ours, without passages, 16 candidates", _WORKS, fewer),
            Player(plaid, "fast-plaid, defaults", _WORKS, sizes=plaid_sizes),
            Player(plaid, "fast-plaid, n_full_scores=1024", _WORKS, {"n_full_scores": 1024}),
            Player(warp, "xtr-warp-rs, defaults (one thread)", _WORKS, sizes=warp_sizes),
            Player(warp, "xtr-warp-rs, nprobe=32, bound=256, all cores", _WORKS, thorough),
        ]
        yield from compare(players, bench.rounds)


@benchmark("large corpus")
def growth(bench: Bench) -> Iterator[Result]:
    """The same queries on more and more documents, all sizes in turns, with fewer and more candidates as well."""
    with ExitStack() as stack:
        players = []
        for n_tokens in sorted({size for size in _SIZES if size < bench.large.n_tokens} | {bench.large.n_tokens}):
            worker = stack.enter_context(bench.worker("ours", bench.large.first(n_tokens)))
            sizes = {TOKENS: n_tokens, **worker.build(bits=4), **bytes_per_token(worker)}
            setting = f"{n_tokens:,} token vectors"
            players.append(Player(worker, f"4 bits, without passages, {setting}", _GROWTH, _NO_PASSAGES, sizes=sizes))
            for n in _CANDIDATES:
                chosen = _NO_PASSAGES | {"n_candidates": n}
                players.append(Player(worker, f"4 bits, without passages, {n} candidates, {setting}", _GROWTH, chosen))
        yield from compare(players, bench.rounds)
