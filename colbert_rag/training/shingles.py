"""Near-duplicates of texts: runs of words in common, found without comparing all with all."""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NEAR_DUPLICATE",
    "NearDuplicates",
    "Shingles",
    "containment",
    "jaccard",
    "passage_likeness",
    "shingled",
]

Shingles: TypeAlias = NDArray[np.uint64]
"""Hashes of the runs of words of a text, rising, each once."""

# words in a row: single words are shared by any two texts of one topic
RUN = 3
# at this share of common runs about one word in fifteen may differ
NEAR_DUPLICATE = 0.8
# a text of fewer runs, which is about ten words, is easily part of another by chance
LEAST_CONTAINED = 8

# scripts that part no words: each of their characters is one
_UNPARTED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNPARTED}]|[^\W{_UNPARTED}]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def shingled(text: str) -> Shingles:
    """Return the runs of three words of a text (w-shingling, Broder 1997), or its only run where it is shorter.

    Case, punctuation and the variants of characters that Unicode calls compatible make no difference.
    """
    words = np.array([zlib.crc32(word.encode()) for word in _words(text)], np.uint64)
    run = min(RUN, len(words))
    hashes = np.zeros(len(words) - run + 1, np.uint64)
    for position in range(run):
        hashes = hashes * _FACTOR + words[position : position + len(hashes)] + np.uint64(1)
    return np.unique(hashes)


def jaccard(one: Shingles, other: Shingles) -> float:
    """Return the runs that two texts share, as a share of all runs of either."""
    shared = _n_shared(one, other)
    return shared / (len(one) + len(other) - shared)


def containment(one: Shingles, other: Shingles) -> float:
    """Return the runs that two texts share, as a share of those of the shorter one."""
    return _n_shared(one, other) / min(len(one), len(other))


def passage_likeness(one: Shingles, other: Shingles) -> float:
    """Return the containment of two passages: a part of a text answers the same queries; short ones need be alike."""
    is_short = min(len(one), len(other)) < LEAST_CONTAINED
    return jaccard(one, other) if is_short else containment(one, other)


@dataclass(frozen=True, slots=True)
class _Postings:
    """Which texts have a shingle: ``shingles`` rises, ``owners`` runs beside it."""

    shingles: Shingles
    owners: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[Shingles]) -> _Postings:
        shingles = np.concatenate([*parts, np.empty(0, np.uint64)])
        owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        order = np.argsort(shingles, kind="stable")
        return cls(shingles[order], owners[order])

    def counts(self, shingles: Shingles) -> NDArray[np.int64]:
        """The number of texts that have each of these."""
        return self.shingles.searchsorted(shingles, "right") - self.shingles.searchsorted(shingles, "left")

    def owners_of(self, shingles: Shingles) -> set[int]:
        """The texts that have any of these."""
        starts, ends = self.shingles.searchsorted(shingles, "left"), self.shingles.searchsorted(shingles, "right")
        found = np.flatnonzero(ends > starts)
        return {int(owner) for n in found for owner in self.owners[starts[n] : ends[n]]}


class NearDuplicates:
    """Texts among which near-duplicates of others are found.

    Only candidates are compared. Two texts whose containment is at least ``threshold`` share all but a few runs of the
    shorter, so at least one of its few rarest runs is in the other (the prefix filter of Chaudhuri, Ganti and Kaushik
    2006): nothing is missed, and most texts have no candidate at all.

    Args:
        texts: The texts, in an order that positions refer to.
        threshold: The least containment or Jaccard similarity that is near.
    """

    def __init__(self, texts: Sequence[str], threshold: float = NEAR_DUPLICATE) -> None:
        self._threshold = threshold
        self._texts = [shingled(text) for text in texts]
        self._all = _Postings.of(self._texts)
        self._rarest = _Postings.of([self._prefix(shingles) for shingles in self._texts])

    def find(self, shingles: Shingles, *, is_passage: bool) -> dict[int, float]:
        """Find the texts that are near to one with these shingles.

        Args:
            shingles: Of the text to look for.
            is_passage: Whether to compare by ``passage_likeness``, or by Jaccard similarity.

        Returns:
            Position -> similarity, at least the threshold.
        """
        likeness = passage_likeness if is_passage else jaccard
        found = {position: likeness(self._texts[position], shingles) for position in self._candidates(shingles)}
        return {position: value for position, value in found.items() if value >= self._threshold}

    def _candidates(self, shingles: Shingles) -> list[int]:
        """The texts that share one of the rarest runs of the shorter of the two."""
        shorter = {n for n in self._rarest.owners_of(shingles) if len(self._texts[n]) <= len(shingles)}
        longer = {n for n in self._all.owners_of(self._prefix(shingles)) if len(self._texts[n]) > len(shingles)}
        return sorted(shorter | longer)

    def _prefix(self, shingles: Shingles) -> Shingles:
        """The rarest of a text's shingles, so many that a near-duplicate cannot lack all of them."""
        # 1e-9: a product such as 0.8 * 35 must not round up to one shingle more than is needed
        n_shared = math.ceil(self._threshold * len(shingles) - 1e-9)
        return shingles[np.argsort(self._all.counts(shingles), kind="stable")[: len(shingles) - n_shared + 1]]


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(plain) or [plain.strip()]


def _n_shared(one: Shingles, other: Shingles) -> int:
    return len(np.intersect1d(one, other, assume_unique=True))
