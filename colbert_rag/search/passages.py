"""Where in a document the evidence stands, read off the MaxSim alignment."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from colbert_rag.search.sentences import sentences
from colbert_rag.storage import parts_of
from colbert_rag.types import Float32Array, Passage

__all__ = ["best_passages", "passages_of_all", "word_passages"]

# a letter or digit and what follows it, combining marks included
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")
_SENTENCES_WEIGHT = np.float32(0.1)


def best_passages(
    text: str, spans: NDArray[np.int32], similarities: Float32Array, n_passages: int, n_sentences: int = 1
) -> tuple[Passage, ...]:
    """The sentences of a document that answer the query best by themselves.

    Args:
        text: The document's text.
        spans: ``(T, 2) int32``, characters of each token.
        similarities: ``(T, Q) float32``, token by query token.
        n_passages: How many at most.
        n_sentences: Sentences in a row that are taken together, of those that have tokens; fewer where passages
            chosen before leave no room for so many.

    Returns:
        Passages, best first; the score of each is the MaxSim of the query with its tokens alone. They do
        not overlap, and where ``n_passages`` allows it they hold every sentence that has tokens.
    """
    return passages_of_all([text], spans, [len(spans)], similarities, n_passages, n_sentences)[0]


def passages_of_all(
    texts: Sequence[str],
    spans: NDArray[np.int32],
    n_tokens: Sequence[int],
    similarities: Float32Array,
    n_passages: int,
    n_sentences: int = 1,
) -> list[tuple[Passage, ...]]:
    """:func:`best_passages` of several documents at once, whose tokens follow one another.

    Args:
        texts: The documents' texts.
        spans: ``(T, 2) int32``, each document's from the start of its own text.
        n_tokens: Tokens of each document, T in all.
        similarities: ``(T, Q) float32``.
        n_passages: For each document at most.
        n_sentences: Sentences in a row that are taken together.
    """
    # the texts are taken as one, so that every step but the last is one call for all of them
    cut = [sentences(text) for text in texts]
    shifts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    bounds = np.concatenate([part + shift for part, shift in zip(cut, shifts.tolist(), strict=False)])
    starts = spans[:, 0] + np.repeat(shifts[:-1], n_tokens)
    has_text = (spans[:, 1] > spans[:, 0]).nonzero()[0]
    # a token behind the last sentence of its text, in trailing blanks, belongs to that sentence
    last_of_text = np.cumsum([len(part) for part in cut]) - 1
    owners = np.minimum(
        bounds[:, 1].searchsorted(starts[has_text], side="right"), np.repeat(last_of_text, n_tokens)[has_text]
    )
    firsts = np.concatenate([[0], (owners[1:] != owners[:-1]).nonzero()[0] + 1])[: len(has_text)]
    visible = similarities[has_text]
    tops = np.maximum.reduceat(visible, firsts, axis=0) if len(has_text) else visible
    held = owners[firsts]
    # where each document's sentences with tokens begin, and each such sentence's tokens
    cuts = held.searchsorted([0, *(last_of_text + 1)]).tolist()
    edges = [*firsts.tolist(), len(has_text)]
    located = spans[has_text]
    found = []
    for n, (text, shift) in enumerate(zip(texts, shifts.tolist(), strict=False)):
        inside = bounds[held[cuts[n] : cuts[n + 1]]] - shift
        passages = []
        for first, stop in _runs(tops[cuts[n] : cuts[n + 1]], n_passages, n_sentences):
            tokens = slice(edges[cuts[n] + first], edges[cuts[n] + stop])
            start, end = int(inside[first, 0]), int(inside[stop - 1, 1])
            passages.append(_passage(text, start, end, located[tokens], visible[tokens]))
        found.append(tuple(sorted(passages, key=lambda passage: -passage.score)))
    return found


def _passage(text: str, start: int, end: int, spans: NDArray[np.int32], similarities: Float32Array) -> Passage:
    """A passage from its tokens; the best token of each query token is a match if there is any likeness."""
    best = similarities.argmax(axis=0)
    values = similarities[best, np.arange(len(best))]
    alike = values > 0
    matched = spans[sorted(set((best[alike] if alike.any() else best[values.argmax(keepdims=True)]).tolist()))]
    # a token may reach over the border of its sentence
    inside = [(a, b) for a, b in matched.clip(start, end).tolist() if a < b]
    return Passage(start, end, text[start:end], float(values.sum()), _joined(inside))


def _runs(tops: Float32Array, n_runs: int, width: int) -> list[tuple[int, int]]:
    """The disjoint runs of sentences with the best MaxSim; a gap between them too narrow for a run is one as well."""
    if not len(tops) or not n_runs:
        return []
    if width == 1:
        return sorted((n, n + 1) for n in (-tops.sum(axis=1)).argsort(kind="stable")[:n_runs].tolist())
    width = min(width, len(tops))
    sums = tops.sum(axis=1)
    # one sentence that says it all lifts every run that holds it: of those, the one whose sentences say most
    weight = _SENTENCES_WEIGHT / width
    scores = sliding_window_view(tops, width, axis=0).max(axis=-1).sum(axis=-1)
    scores = scores + weight * sliding_window_view(sums, width).sum(axis=-1)
    waiting = [(-score, first, first + width) for first, score in enumerate(scores.tolist())]
    heapify(waiting)
    taken = bytearray(len(tops))
    chosen: list[tuple[int, int]] = []
    while waiting and len(chosen) < n_runs:
        _, first, stop = heappop(waiting)
        if 1 in taken[first:stop]:
            continue
        chosen.append((first, stop))
        taken[first:stop] = b"\1" * (stop - first)
        before, after = taken.rfind(1, 0, first) + 1, taken.find(1, stop)
        for a, b in ((before, first), (stop, after if after >= 0 else len(tops))):
            if 0 < b - a < width:
                score = float(tops[a:b].max(axis=0).sum() + weight * sums[a:b].sum())
                heappush(waiting, (-score, a, b))
    return sorted(chosen)


def word_passages(text: str, words: Sequence[str], n_passages: int, n_sentences: int = 1) -> tuple[Passage, ...]:
    """The sentences of a document that hold most of the given words, without vectors.

    Args:
        text: The document's text.
        words: Different words.
        n_passages: How many at most.
        n_sentences: Sentences in a row that are taken together.

    Returns:
        Passages, best first; the score of each is the number of the words in it. Where there are none, as in a
        document found by its heading, the first sentence, with a score of 0.
    """
    if not n_passages:
        return ()
    asked = {_folded(word): n for n, word in enumerate(words)}
    found = [
        ((match.start() + a, match.start() + b), asked[w])
        for match in _WORD.finditer(text)
        for a, b in parts_of(match[0])
        if (w := _folded(match[0][a:b])) in asked
    ]
    if not found:
        start, end = sentences(text)[0].tolist()
        return (Passage(start, end, text[start:end], 0.0),)
    spans = [span for span, _ in found]
    holds = np.eye(len(words), dtype=np.float32)[[n for _, n in found]]
    if n_sentences > 1:
        # a sentence without the words stands between sentences all the same
        starts = [(start, start + 1) for start in sentences(text)[:, 0].tolist()]
        order = np.argsort([start for start, _ in starts + spans], kind="stable")
        holds = np.vstack([np.zeros((len(starts), len(words)), np.float32), holds])[order]
        located = np.array(starts + spans, np.int32)[order]
    else:
        located = np.array(spans, np.int32)
    passages = best_passages(text, located, holds, n_passages, n_sentences)
    return tuple(
        replace(p, matches=_joined([(a, b) for a, b in spans if a >= p.start and b <= p.end]))
        for p in passages
        if p.score > 0
    )


def _folded(word: str) -> str:
    """A word without case and accents, as full-text search compares it."""
    return "".join(c for c in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(c))


def _joined(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Rising spans, those that touch or overlap made one."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)
