"""Where in a document the evidence stands, read off the MaxSim alignment."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array, Passage

__all__ = ["best_passages", "passages_of_all", "word_passages"]

# a letter or digit and what follows it, combining marks included
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(\s+)|(\n+)|[。！？][\"'”’)\]]*(\s*)")
_END_CHARACTERS = "\n.!?。！？"
_IS_END = np.zeros(max(map(ord, _END_CHARACTERS)) + 2, np.bool_)
_IS_END[[ord(c) for c in _END_CHARACTERS]] = True
# a stretch without sentence ends is cut near this length, so that a passage can be read at a glance
_MOST_CHARACTERS = 400


def best_passages(
    text: str, spans: NDArray[np.int32], similarities: Float32Array, n_passages: int
) -> tuple[Passage, ...]:
    """The sentences of a document that answer the query best by themselves.

    Args:
        text: The document's text.
        spans: ``(T, 2) int32``, characters of each token.
        similarities: ``(T, Q) float32``, token by query token.
        n_passages: How many at most.

    Returns:
        Passages, best first; the score of each is the MaxSim of the query with its tokens alone.
    """
    return passages_of_all([text], spans, [len(spans)], similarities, n_passages)[0]


def passages_of_all(
    texts: Sequence[str],
    spans: NDArray[np.int32],
    n_tokens: Sequence[int],
    similarities: Float32Array,
    n_passages: int,
) -> list[tuple[Passage, ...]]:
    """:func:`best_passages` of several documents at once, whose tokens follow one another.

    Args:
        texts: The documents' texts.
        spans: ``(T, 2) int32``, each document's from the start of its own text.
        n_tokens: Tokens of each document, T in all.
        similarities: ``(T, Q) float32``.
        n_passages: For each document at most.
    """
    # the texts are taken as one, so that every step but the last is one call for all of them
    sentences = [_sentences(text) for text in texts]
    shifts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    bounds = np.concatenate([part + shift for part, shift in zip(sentences, shifts.tolist(), strict=False)])
    starts = spans[:, 0] + np.repeat(shifts[:-1], n_tokens)
    has_text = (spans[:, 1] > spans[:, 0]).nonzero()[0]
    # a token behind the last sentence of its text, in trailing blanks, belongs to that sentence
    last_of_text = np.cumsum([len(part) for part in sentences]) - 1
    owners = np.minimum(
        bounds[:, 1].searchsorted(starts[has_text], side="right"), np.repeat(last_of_text, n_tokens)[has_text]
    )
    firsts = np.concatenate([[0], (owners[1:] != owners[:-1]).nonzero()[0] + 1])[: len(has_text)]
    visible = similarities[has_text]
    scores = np.maximum.reduceat(visible, firsts, axis=0).sum(axis=1) if len(has_text) else np.zeros(0, np.float32)
    held = owners[firsts]
    # where each document's sentences with tokens begin, and its tokens with text
    cuts = held.searchsorted([0, *(last_of_text + 1)]).tolist()
    tokens = has_text.searchsorted(np.cumsum([0, *n_tokens])).tolist()
    return [
        _chosen(
            text,
            [(a - shift, b - shift) for a, b in bounds[held[cuts[n] : cuts[n + 1]]].tolist()],
            scores[cuts[n] : cuts[n + 1]],
            _matched(spans[has_text[tokens[n] : tokens[n + 1]]], visible[tokens[n] : tokens[n + 1]]),
            n_passages,
        )
        for n, (text, shift) in enumerate(zip(texts, shifts.tolist(), strict=False))
    ]


def _matched(spans: NDArray[np.int32], similarities: Float32Array) -> list[tuple[int, int]]:
    """Characters of the tokens that the query tokens match best, rising."""
    if not len(spans):
        return []
    matched: list[tuple[int, int]] = spans[sorted(set(similarities.argmax(axis=0).tolist()))].tolist()
    return matched


def _chosen(
    text: str,
    bounds: Sequence[tuple[int, int]],
    scores: Float32Array,
    matched: Sequence[tuple[int, int]],
    n_passages: int,
) -> tuple[Passage, ...]:
    passages = []
    for n in (-scores).argsort(kind="stable")[:n_passages].tolist():
        start, end = bounds[n]
        inside = [(a, b) for a, b in matched if a >= start and b <= end]
        passages.append(Passage(start, end, text[start:end], float(scores[n]), _joined(inside)))
    return tuple(passages)


def word_passages(text: str, words: Sequence[str], n_passages: int) -> tuple[Passage, ...]:
    """The sentences of a document that hold most of the given words, without vectors.

    Args:
        text: The document's text.
        words: Different words.
        n_passages: How many at most.

    Returns:
        Passages, best first; the score of each is the number of the words in it. Where there are none, as in a
        document found by its heading, the first sentence, with a score of 0.
    """
    if not n_passages:
        return ()
    asked = {_folded(word): n for n, word in enumerate(words)}
    found = [(match.span(), asked[w]) for match in _WORD.finditer(text) if (w := _folded(match[0])) in asked]
    if not found:
        start, end = _sentences(text)[0].tolist()
        return (Passage(start, end, text[start:end], 0.0),)
    holds = np.zeros((len(found), len(words)), np.float32)
    holds[np.arange(len(found)), [n for _, n in found]] = 1
    spans = [span for span, _ in found]
    passages = best_passages(text, np.array(spans, np.int32), holds, n_passages)
    return tuple(
        replace(p, matches=_joined([(a, b) for a, b in spans if a >= p.start and b <= p.end])) for p in passages
    )


def _folded(word: str) -> str:
    """A word without case and accents, as full-text search compares it."""
    return "".join(c for c in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(c))


def _sentences(text: str) -> NDArray[np.int64]:
    """Start and end of each sentence without the blanks around it, ``(S, 2) int64``, rising."""
    bounds: list[tuple[int, int]] = []
    start = 0
    for end, next_start in [*_breaks(text), (len(text), len(text))]:
        while end - start > _MOST_CHARACTERS:
            cut = text.rfind(" ", start + _MOST_CHARACTERS // 2, start + _MOST_CHARACTERS)
            cut = cut if cut > 0 else start + _MOST_CHARACTERS
            _append_trimmed(bounds, text, start, cut)
            start = cut
        _append_trimmed(bounds, text, start, end)
        start = next_start
    return np.array(bounds or [(0, len(text))], np.int64)


def _breaks(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences end and where the next ones start, rising."""
    # a regular expression tried at every character takes longer than all else in this file
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    passed = 0
    for position in np.flatnonzero(_IS_END[np.minimum(characters, len(_IS_END) - 1)]).tolist():
        match = _SENTENCE_END.match(text, position) if position >= passed else None
        if match is not None:
            yield match.span(match.lastindex or 0)
            passed = match.end()


def _append_trimmed(bounds: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    """Append a stretch without the blanks around it; a stretch of blanks is left out."""
    piece = text[start:end]
    without_left = piece.lstrip()
    if without_left:
        left = start + len(piece) - len(without_left)
        bounds.append((left, left + len(without_left.rstrip())))


def _joined(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Rising spans, those that touch or overlap made one."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)
