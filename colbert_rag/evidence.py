"""The passages of found documents that answer a query, from what is stored; nothing is encoded again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import EncodedTokens
from colbert_rag.errors import CorruptIndexError
from colbert_rag.kernels import blocked_query, token_similarities
from colbert_rag.search import LOCAL_TOKENS, SegmentView, Snapshot, Workers, local_score, passages_of_all
from colbert_rag.types import Document, Float32Array, Passage, SearchConfig

__all__ = ["BestTokens", "best_tokens", "check_have_vectors", "find_passages", "token_vectors"]

# documents are looked at together up to this many tokens: 8 MB of float32 at 128 dimensions
_GROUP_TOKENS = 16_384
_TOKENS_PER_THREAD = 10_000


class BestTokens(NamedTuple):
    """The token of a document that each token of a query is most like; the first of equals.

    Attributes:
        similarities: ``(Q,) float32``; their sum is MaxSim.
        spans: ``(Q, 2) int32``, characters in the document's text.
    """

    similarities: Float32Array
    spans: NDArray[np.int32]


class _Place(NamedTuple):
    key: int
    view: SegmentView
    position: int

    @property
    def tokens(self) -> slice:
        offsets = self.view.segment.doc_offsets
        return slice(int(offsets[self.position]), int(offsets[self.position + 1]))


def find_passages(
    snapshot: Snapshot,
    documents: Mapping[int, Document],
    query: Float32Array,
    config: SearchConfig,
    workers: Workers,
) -> dict[int, tuple[Passage, ...]]:
    """The best passages of each document.

    Args:
        snapshot: The commit that the documents are of.
        documents: By key.
        query: ``(Q, D) float32``.
        config: How many for each document at most, and of how many sentences.
        workers: Threads to spread over.

    Returns:
        Passages by key, best first.
    """
    if not config.passages or not documents:
        return {}
    asked = _as_stored(snapshot, query)
    found: dict[int, tuple[Passage, ...]] = {}
    for group in _groups(_places(snapshot, sorted(documents))):
        texts = [documents[place.key].text for place in group]
        counts = [place.tokens.stop - place.tokens.start for place in group]
        similarities = _similarities(snapshot, group, asked, workers)
        spans = _spans(group)
        _check_inside(group, spans, counts, texts)
        passages = passages_of_all(texts, spans, counts, similarities, config.passages, config.passage_sentences)
        found.update(zip((place.key for place in group), passages, strict=True))
    return found


def _check_inside(
    group: Sequence[_Place], spans: NDArray[np.int32], counts: Sequence[int], texts: Sequence[str]
) -> None:
    lengths = np.repeat([len(text) for text in texts], counts)
    if (spans[:, 1] > lengths).any():
        number = int(np.flatnonzero(spans[:, 1] > lengths)[0])
        place = group[int(np.searchsorted(np.cumsum(counts), number, side="right"))]
        msg = (
            f"{place.view.segment.record.name}: the document of key {place.key} has spans beyond the end of its text. "
            "Restore the index from a backup."
        )
        raise CorruptIndexError(msg)


def best_tokens(
    snapshot: Snapshot, texts: Mapping[int, str], query: Float32Array, workers: Workers
) -> dict[int, BestTokens]:
    """Which tokens of documents the query matches, by key.

    Args:
        snapshot: The commit that the documents are of.
        texts: Of the documents, by key.
        query: ``(Q, D) float32``.
        workers: Threads to spread over.
    """
    asked = _as_stored(snapshot, query)
    found = {}
    for place in _places(snapshot, sorted(texts)):
        similarities = _similarities(snapshot, [place], asked, workers)
        spans = _spans([place])
        _check_inside([place], spans, [len(spans)], [texts[place.key]])
        found[place.key] = BestTokens(similarities.max(axis=0), spans[similarities.argmax(axis=0)])
    return found


def local_scores(snapshot: Snapshot, keys: Sequence[int], query: Float32Array, workers: Workers) -> dict[int, float]:
    """MaxSim of the best tokens in a row, of those documents that have more tokens than that.

    Args:
        snapshot: The commit that the documents are of.
        keys: Of the documents.
        query: ``(Q, D) float32``.
        workers: Threads to spread over.
    """
    asked = _as_stored(snapshot, query)
    long = (p for p in _places(snapshot, sorted(keys)) if p.tokens.stop - p.tokens.start > LOCAL_TOKENS)
    return {place.key: local_score(_similarities(snapshot, [place], asked, workers)) for place in long}


def _as_stored(snapshot: Snapshot, query: Float32Array) -> Float32Array:
    # stored vectors are rotated once an index is compressed
    return query if snapshot.codec is None else snapshot.codec.rotate(query)


def _spans(group: Sequence[_Place]) -> NDArray[np.int32]:
    """Spans of the documents' tokens, one after another; places of one segment stand together."""
    parts = groupby(group, key=lambda place: place.view.segment.record.name)
    spans = []
    for _, part in parts:
        places = list(part)
        spans.append(places[0].view.segment.spans([place.position for place in places]))
    return np.concatenate(spans)


def token_vectors(snapshot: Snapshot, keys: Sequence[int]) -> dict[int, NDArray[np.floating[Any]]]:
    """The stored vectors of documents by key, ``(T, D)`` each; rotated where the index is compressed."""
    codec = snapshot.codec
    stored = {place.key: _stored(place) for place in _places(snapshot, sorted(keys))}
    if codec is None:
        return {key: columns["vectors"] for key, columns in stored.items()}
    return {key: codec.decode_rotated(EncodedTokens(**columns)) for key, columns in stored.items()}


def _similarities(snapshot: Snapshot, group: Sequence[_Place], asked: Float32Array, workers: Workers) -> Float32Array:
    """``(T, Q) float32`` of all documents, one after another."""
    ends = np.cumsum([place.tokens.stop - place.tokens.start for place in group])
    starts = np.concatenate([[0], ends[:-1]])
    out = np.empty((int(ends[-1]), len(asked)), np.float32)
    codec, blocked = snapshot.codec, blocked_query(asked)

    def fill(part: slice) -> None:
        for place, start, end in zip(group[part], starts[part], ends[part], strict=True):
            columns = _stored(place)
            if codec is None:
                out[start:end] = token_similarities(asked, columns["vectors"])
            else:
                codec.similarities(blocked, EncodedTokens(**columns), out[start:end])

    workers.spread(fill, starts, ends, _TOKENS_PER_THREAD)
    return out


def _places(snapshot: Snapshot, keys: Sequence[int]) -> list[_Place]:
    """Where the vectors of documents lie.

    Raises:
        CorruptIndexError: a document has none.
    """
    wanted = np.array(keys, np.int64)
    found = []
    for view in snapshot.views:
        positions = view.segment.positions(wanted)
        for key, position in zip(view.segment.doc_keys[positions].tolist(), positions.tolist(), strict=True):
            if view.alive is None or view.alive[position]:
                found.append(_Place(key, view, position))
    check_have_vectors(keys, [place.key for place in found])
    return found


def check_have_vectors(keys: Collection[int], found: Collection[int]) -> None:
    """Every document has vectors, unless its index is damaged.

    Raises:
        CorruptIndexError: some have none.
    """
    if len(found) < len(keys):
        missing = min(set(keys) - set(found))
        msg = f"the document of key {missing} has no vectors in any segment. Restore the index from a backup."
        raise CorruptIndexError(msg)


def _groups(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    group: list[_Place] = []
    n_tokens = 0
    for place in places:
        group.append(place)
        n_tokens += place.tokens.stop - place.tokens.start
        if n_tokens >= _GROUP_TOKENS:
            yield group
            group, n_tokens = [], 0
    if group:
        yield group


def _stored(place: _Place) -> dict[str, NDArray[Any]]:
    """The columns of a document's tokens."""
    return {name: column[place.tokens] for name, column in place.view.segment.columns.items()}
