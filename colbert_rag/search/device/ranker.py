"""Ranking on devices, and on the processor what they do not hold."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from colbert_rag.codec.device.packing import DevicePacker
from colbert_rag.errors import ColbertRagError, DeviceError
from colbert_rag.search.candidates import keep_best
from colbert_rag.search.device.cards import Card
from colbert_rag.search.device.estimates import EXHAUSTIVE_TOKENS_ESTIMATE, FEWEST_TOKENS_ESTIMATE
from colbert_rag.search.device.proving import kind_of, prove
from colbert_rag.search.device.resident import Part, Residents
from colbert_rag.search.device.shares import Plan, Share
from colbert_rag.search.device.stages import Searched
from colbert_rag.search.ranker import ProcessorRanker
from colbert_rag.search.searcher import Ranking
from colbert_rag.search.snapshot import Snapshot
from colbert_rag.search.workers import Workers
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["DeviceRanker"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


class DeviceRanker:
    """Ranks on devices; see :class:`colbert_rag.search.ranker.Ranker`.

    The first search of each kind of vectors is preceded by a comparison with the processor on some documents. Where
    that fails, or a device does later, "auto" goes on with the processor and says so; a device that was named is an
    error.

    Args:
        cards: One or more.
        wanted: What was asked for; where it is "auto" the processor may take over.
        exhaustive_tokens: Up to so many tokens on a device all of them are scored exactly.
    """

    def __init__(
        self, cards: Sequence[Card], *, wanted: str, exhaustive_tokens: int = EXHAUSTIVE_TOKENS_ESTIMATE
    ) -> None:
        self._cards = list(cards)
        self.wanted = wanted
        self.packer = DevicePacker(self._cards[0].device, may_fall_back=wanted == "auto")
        self._fewest_tokens = FEWEST_TOKENS_ESTIMATE if wanted == "auto" else 0
        self._exhaustive_tokens = exhaustive_tokens
        self._residents = Residents(self._cards)
        self._proved: set[tuple[Any, ...]] = set()
        self._processor = ProcessorRanker()
        self._has_failed = False
        # a device works on one batch at a time anyway
        self._guard = threading.Lock()

    @property
    def device(self) -> str:
        """The devices; "cpu" once the processor has taken over."""
        return self._processor.device if self._has_failed else ",".join(map(str, self._cards))

    def rank(
        self, snapshot: Snapshot, queries: Sequence[Float32Array], k: int, config: SearchConfig, workers: Workers
    ) -> list[Ranking]:
        """See :class:`colbert_rag.search.ranker.Ranker`.

        Raises:
            DeviceError: a device that was named fails or gives other scores than the processor.
        """
        is_small = sum(view.segment.record.n_tokens for view in snapshot.views) < self._fewest_tokens
        if queries and not is_small:
            with self._guard:
                found = None if self._has_failed else self._on_devices(snapshot, queries, k, config, workers)
            # nothing was found where a device failed, and where there is nothing
            if found:
                return [_merged(parts, k) for parts in zip(*found, strict=True)]
        return self._processor.rank(snapshot, queries, k, config, workers)

    def close(self) -> None:
        """Free the memory of the devices."""
        with self._guard:
            self._residents.clear()

    def _give_up(self, err: Exception) -> None:
        """Let the processor take over, or raise."""
        self._residents.clear()
        if self.wanted != "auto":
            if isinstance(err, ColbertRagError):
                raise err
            msg = (
                f'{self.device}: searching there failed ({type(err).__name__}: {err}). Take device="cpu", or "auto", '
                "which falls back to it; where memory ran out, fewer texts or bits or a pool_factor need less."
            )
            raise DeviceError(msg) from err
        _log.warning("%s: searches run on the processor from now on. %s: %s", self.device, type(err).__name__, err)
        self._has_failed = True

    def _on_devices(
        self, snapshot: Snapshot, queries: Sequence[Float32Array], k: int, config: SearchConfig, workers: Workers
    ) -> list[list[Ranking]] | None:
        """Rankings by each device, and by the processor of what none of them holds; None where a device failed."""
        started = self._attempt(lambda: self._started(snapshot, queries, k, config))
        if started is None:
            return None
        left = self._residents.left_on_host(snapshot)
        # while the devices work
        beside = [] if left is None else [self._processor.rank(left, queries, k, config, workers)]
        found = self._attempt(lambda: [share.finish(work, queries, plan) for share, plan, work in started])
        return None if found is None else found + beside

    def _started(
        self, snapshot: Snapshot, queries: Sequence[Float32Array], k: int, config: SearchConfig
    ) -> list[tuple[Share, Plan, torch.Tensor]]:
        """Every device has all of its work before the first is waited for."""
        parts = self._residents.follow(snapshot)
        self._prove(snapshot, parts, queries[0])
        started = []
        for share in self._shares(snapshot, parts):
            plan = Plan.of(k, config, is_exhaustive=self._is_exhaustive(share, snapshot))
            started.append((share, plan, share.start(queries, plan)))
        return started

    def _attempt(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Exception as err:
            self._give_up(err)
            return None

    def _shares(self, snapshot: Snapshot, parts: Sequence[Part]) -> list[Share]:
        alive = {view.segment.record.name: view.alive for view in snapshot.views}
        shares = []
        for card in self._cards:
            here = [part for part in parts if part.card is card]
            searched = Searched(here, [part.live(alive[part.name]) for part in here])
            if searched.count:
                codec = snapshot.codec
                shares.append(Share(card, searched, None if codec is None else self._residents.codec(card, codec)))
        return shares

    def _is_exhaustive(self, share: Share, snapshot: Snapshot) -> bool:
        return snapshot.codec is None or sum(part.n_tokens for part in share.searched.parts) <= self._exhaustive_tokens

    def _prove(self, snapshot: Snapshot, parts: Sequence[Part], query: Float32Array) -> None:
        """Compare each device with the processor once for each kind of vectors."""
        segments, codec = {view.segment.record.name: view.segment for view in snapshot.views}, snapshot.codec
        for part in parts:
            kind = (str(part.card), *kind_of(part, codec))
            if kind not in self._proved:
                with part.card.active():
                    resident = None if codec is None else self._residents.codec(part.card, codec)
                    prove(part, segments[part.name], resident, query)
                self._proved.add(kind)


def _merged(parts: Sequence[Ranking], k: int) -> Ranking:
    """The best ``k`` of all parts and those that tie with the last."""
    keys = np.concatenate([part.keys for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    kept = keep_best(scores, k)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    return Ranking(keys[order], scores[order])
