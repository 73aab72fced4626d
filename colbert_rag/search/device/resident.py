"""Which documents lie in the memory of which device, and which stay on the host."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from colbert_rag.codec import Codec
from colbert_rag.kernels.cuda.launching import Documents
from colbert_rag.kernels.cuda.residual import CodedTokens, Levels, level_words
from colbert_rag.search.device.cards import Card
from colbert_rag.search.snapshot import SegmentView, Snapshot
from colbert_rag.storage import Segment

__all__ = ["Live", "Part", "ResidentCodec", "Residents"]

_log = logging.getLogger(__name__)

# key, start and end of a document
_DOCUMENT_BYTES = 24


@dataclass(frozen=True, slots=True)
class Live:
    """Documents of a part that a commit, or a filter, has left: keys ``(N,) int64``, and where their tokens lie."""

    keys: torch.Tensor
    documents: Documents

    @property
    def count(self) -> int:
        """N."""
        return self.documents.count


@dataclass(eq=False)
class Part:
    """A row of documents of one segment in the memory of a device.

    Attributes:
        card: The device.
        name: Of the segment.
        first: Position of the first document.
        last: Position behind the last.
        n_tokens: Token vectors of these documents.
        columns: The token columns of the segment, the rows of these documents.
        everything: All of its documents.
        size_bytes: Memory that it takes.
    """

    card: Card
    name: str
    first: int
    last: int
    n_tokens: int
    columns: dict[str, torch.Tensor]
    everything: Live
    size_bytes: int
    _narrowed: tuple[NDArray[np.bool_], Live] | None = field(default=None, repr=False)

    @classmethod
    def load(cls, card: Card, segment: Segment, first: int, last: int) -> Part:
        """Copy documents to a device."""
        offsets = segment.doc_offsets[first : last + 1]
        tokens = slice(int(offsets[0]), int(offsets[-1]))
        columns = {name: card.put(rows[tokens]) for name, rows in segment.columns.items()}
        bounds = card.put(offsets - offsets[0])
        live = Live(
            card.put(segment.doc_keys[first:last]), Documents(bounds[:-1].contiguous(), bounds[1:].contiguous())
        )
        n_tokens = tokens.stop - tokens.start
        size = n_tokens * _token_bytes(segment) + (last - first) * _DOCUMENT_BYTES
        return cls(card, segment.record.name, first, last, n_tokens, columns, live, size)

    @property
    def tokens(self) -> CodedTokens:
        """Its columns, of a compressed segment."""
        return CodedTokens(self.columns["centroid_ids"], self.columns["codes"], self.columns["factors"])

    def live(self, alive: NDArray[np.bool_] | None) -> Live:
        """Those of its documents that a view of the segment has left; what was asked last is kept."""
        if alive is None:
            return self.everything
        if self._narrowed is None or self._narrowed[0] is not alive:
            places = self.card.put(np.flatnonzero(alive[self.first : self.last]))
            bounds = self.everything.documents
            here = Live(self.everything.keys[places], Documents(bounds.starts[places], bounds.ends[places]))
            self._narrowed = (alive, here)
        return self._narrowed[1]


@dataclass(frozen=True)
class ResidentCodec:
    """A codec in the memory of a device: centroids ``(K, D)``, rotation ``(D, D)``, and what bytes stand for."""

    codec: Codec
    centroids: torch.Tensor
    rotation: torch.Tensor
    levels: Levels

    @classmethod
    def load(cls, card: Card, codec: Codec) -> ResidentCodec:
        """Copy a codec to a device."""
        grid = codec.grid
        words = card.put(level_words(grid.byte_levels))
        levels = Levels(words, card.put(grid.scales), card.put(grid.norms))
        return cls(codec, card.put(codec.centroids), card.put(codec.rotation), levels)


def _token_bytes(segment: Segment) -> int:
    return sum(rows.dtype.itemsize * int(np.prod(rows.shape[1:])) for rows in segment.columns.values())


class Residents:
    """The parts on all devices, kept from commit to commit: as long as anybody holds their segment's map.

    Each segment is cut into as many parts as there are devices, with about equally many tokens each, so that all of
    them work at every search. A part that does not fit whole is cut, and the rest of it stays on the host.
    """

    def __init__(self, cards: Sequence[Card]) -> None:
        self._cards = list(cards)
        self._parts: dict[str, list[Part]] = {}
        self._segments: dict[str, weakref.ref[Segment]] = {}
        self._codecs: dict[Card, ResidentCodec] = {}
        self._told: frozenset[str] = frozenset()

    def follow(self, snapshot: Snapshot) -> list[Part]:
        """The parts of the segments of a snapshot, which are loaded where they are new."""
        if any(kept.codec is not snapshot.codec for kept in self._codecs.values()):
            self._codecs.clear()
        self._let_go()
        for view in snapshot.views:
            name = view.segment.record.name
            if name not in self._parts or self._segments[name]() is not view.segment:
                self._parts.pop(name, None)
                self._parts[name] = self._loaded(view.segment)
                self._segments[name] = weakref.ref(view.segment)
        self._tell()
        return [part for view in snapshot.views for part in self._parts[view.segment.record.name]]

    def codec(self, card: Card, codec: Codec) -> ResidentCodec:
        """The codec of a commit on a device."""
        if card not in self._codecs:
            self._codecs[card] = ResidentCodec.load(card, codec)
        return self._codecs[card]

    def left_on_host(self, snapshot: Snapshot) -> Snapshot | None:
        """The documents of a snapshot that no device holds; None where there are none."""
        views = []
        for view in snapshot.views:
            alive = np.ones(view.segment.record.n_documents, np.bool_) if view.alive is None else view.alive.copy()
            for part in self._parts[view.segment.record.name]:
                alive[part.first : part.last] = False
            if alive.any():
                views.append(SegmentView(view.segment, alive))
        return replace(snapshot, views=tuple(views)) if views else None

    def clear(self) -> None:
        """Free the memory of all devices."""
        self._parts, self._segments, self._codecs, self._told = {}, {}, {}, frozenset()
        for card in self._cards:
            card.release()

    def _let_go(self) -> None:
        """Forget the parts of segments that nobody maps any more, and those that they had left no room."""
        gone = {name for name, segment in self._segments.items() if segment() is None}
        if gone:
            gone |= {name for name in self._segments.keys() - gone if self._n_left([name])}
        for name in gone:
            del self._parts[name], self._segments[name]

    def _loaded(self, segment: Segment) -> list[Part]:
        parts = []
        for card, (first, last) in zip(self._cards, _shares(segment, len(self._cards)), strict=True):
            fits = _fitting(segment, first, last, card.room - sum(part.size_bytes for part in self._on(card)))
            if fits > first:
                parts.append(Part.load(card, segment, first, fits))
        return parts

    def _on(self, card: Card) -> list[Part]:
        return [part for parts in self._parts.values() for part in parts if part.card is card]

    def _n_left(self, names: Iterable[str]) -> int:
        """Token vectors of segments that stay on the host."""
        segments = {name: segment for name in names if (segment := self._segments[name]()) is not None}
        on_devices = sum(part.n_tokens for name in segments for part in self._parts[name])
        return sum(segment.record.n_tokens for segment in segments.values()) - on_devices

    def _tell(self) -> None:
        """Say what lies where, once for each set of segments."""
        if self._told == self._parts.keys():
            return
        self._told = frozenset(self._parts)
        for card in self._cards:
            here = self._on(card)
            n_tokens, size_bytes = sum(part.n_tokens for part in here), sum(part.size_bytes for part in here)
            _log.info("%s holds %s token vectors in %.1f MB", card, f"{n_tokens:,}", size_bytes / 1e6)
        if left := self._n_left(self._parts):
            names = ", ".join(map(str, self._cards))
            _log.warning(
                "%s token vectors do not fit the memory of %s: they stay on the host and are searched there, which "
                "takes longer. Fewer bits, a pool_factor or another GPU make room.",
                f"{left:,}",
                names,
            )


def _shares(segment: Segment, n: int) -> list[tuple[int, int]]:
    """First and last document of ``n`` parts with about equally many tokens."""
    offsets = segment.doc_offsets
    cuts = np.searchsorted(offsets, np.arange(1, n) * (int(offsets[-1]) / n))
    bounds = [0, *cuts.tolist(), len(offsets) - 1]
    return list(pairwise(bounds))


def _fitting(segment: Segment, first: int, last: int, room: int) -> int:
    """Behind the last document that fits a room, which lies at ``first`` where none does."""
    offsets = segment.doc_offsets[first : last + 1]
    sizes = (offsets - offsets[0]) * _token_bytes(segment) + np.arange(len(offsets)) * _DOCUMENT_BYTES
    return first + max(0, int(np.searchsorted(sizes, room, side="right")) - 1)
