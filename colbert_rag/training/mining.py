"""Hard negatives: what a search finds for a query, and what is not its answer."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colbert_rag.errors import InvalidTrainingError
from colbert_rag.index import Index
from colbert_rag.training.examples import Example
from colbert_rag.training.pairs import Pair
from colbert_rag.training.shingles import NEAR_DUPLICATE, Shingles, passage_likeness, shingled
from colbert_rag.types import Document, Hit, Progress, SearchConfig, TextEncoder, silent

__all__ = ["check_options", "complete", "mine"]

# queries that are encoded in one forward pass
CHUNK = 64

_RANKING_ONLY = SearchConfig(passages=0)


def mine(
    pairs: Sequence[Pair],
    corpus: Mapping[str, str] | None,
    encoder: TextEncoder | str | None,
    *,
    n_negatives: int = 7,
    depth: int = 100,
    margin: float | None = 0.05,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Example]:
    """Find hard negatives for each pair with an index of our own.

    The documents are indexed in a temporary folder and searched for each query. Among the first ``depth``, negatives
    are drawn at random, all with the same chance and none twice, from those that are left when these are not:

    - the positive, and the positives of other pairs with the same query;
    - documents with the ``passage_id`` of one of them;
    - near-duplicates of one of them: passages that share at least 0.8 of the shorter one's runs of three words, as a
      text around the positive or a part of it does;
    - documents that score more than ``1 - margin`` of the positive's score: they may answer the query, too. This is
      positive-aware mining, TopK-PercPos of NV-Retriever (arXiv 2407.15831). So a pair whose positive is not among the
      first ``depth`` has no negatives.

    Args:
        pairs: Queries with their positives.
        corpus: Document id -> text, where negatives are from; None for the positives of all pairs.
        encoder: An encoder, a model's name or path, or None for the built-in model.
        n_negatives: Negatives of an example.
        depth: Documents of a ranking that negatives are drawn from.
        margin: Share of the positive's score that a negative stays below it at least, 0 to 1; None to take negatives
            of any score.
        seed: Equal seeds give equal negatives.
        folder: Where the temporary index lies; None for the system's place.
        progress: Told the stages of ``Index.add``, then "mine" (pairs).

    Returns:
        An example for each pair, in order. Where fewer negatives are left it has fewer: see ``complete``.

    Raises:
        InvalidTrainingError: there is no pair, or an option is out of range.
        InvalidDocumentError: a text of the corpus is refused.
    """
    if not pairs:
        raise InvalidTrainingError("There is no pair to mine negatives for; expected at least one.")
    check_options(n_negatives, depth, margin)
    _check_folder(folder)
    passages = _Passages(pairs, corpus)
    told = progress or silent
    with (
        tempfile.TemporaryDirectory(prefix="colbert-rag-mining-", dir=folder) as place,
        Index.create(Path(place, "index"), encoder) as index,
    ):
        index.add(passages.documents(), progress=told)
        miner = _Miner(index, passages, n_negatives, depth, margin, seed)
        examples: list[Example] = []
        for start in range(0, len(pairs), CHUNK):
            examples += miner.examples(pairs[start : start + CHUNK], start)
            told("mine", len(examples), len(pairs))
        return examples


def complete(examples: Sequence[Example], n_negatives: int) -> list[Example]:
    """Return the examples that have all their negatives: those of one training must have equally many."""
    return [example for example in examples if len(example.documents) > n_negatives]


class _Passages:
    """Every text once, by number: those that may be negatives first, then positives that the corpus lacks."""

    def __init__(self, pairs: Sequence[Pair], corpus: Mapping[str, str] | None) -> None:
        self.texts: list[str] = []
        self.ids: list[set[str]] = []
        self._numbers: dict[str, int] = {}
        for document_id, text in (corpus or {}).items():
            self._put(text, document_id)
        n_given = len(self.texts)
        self._positives: dict[str, set[int]] = {}
        for pair in pairs:
            self._positives.setdefault(pair.query, set()).add(self._put(pair.positive, pair.passage_id))
        self.n_candidates = len(self.texts) if corpus is None else n_given

    def documents(self) -> Iterator[Document]:
        """What to index, with their numbers as ids."""
        return (Document(str(number), text) for number, text in enumerate(self.texts))

    def number_of(self, text: str) -> int:
        return self._numbers[text]

    def answers_of(self, query: str) -> _Answers:
        """What is known to answer a query."""
        numbers = self._positives[query]
        ids = {passage_id for number in numbers for passage_id in self.ids[number]}
        return _Answers(ids, [shingled(self.texts[number]) for number in sorted(numbers)])

    def _put(self, text: str, passage_id: str | None) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
            self.ids.append(set())
        if passage_id is not None:
            self.ids[number].add(passage_id)
        return number


@dataclass(frozen=True, slots=True)
class _Answers:
    ids: set[str]
    shingles: list[Shingles]

    def include(self, passages: _Passages, number: int) -> bool:
        """Whether a passage is one of them, or says what one of them says."""
        if self.ids & passages.ids[number]:
            return True
        shingles = shingled(passages.texts[number])
        return any(passage_likeness(shingles, own) >= NEAR_DUPLICATE for own in self.shingles)


@dataclass(frozen=True, slots=True)
class _Miner:
    index: Index
    passages: _Passages
    n_negatives: int
    depth: int
    margin: float | None
    seed: int

    def examples(self, pairs: Sequence[Pair], start: int) -> Iterator[Example]:
        """Examples for pairs, the first of which has the position ``start``."""
        rankings = self.index.search_many([pair.query for pair in pairs], self.depth, config=_RANKING_ONLY)
        for position, (pair, hits) in enumerate(zip(pairs, rankings, strict=True), start):
            # a generator for each pair: its draw does not depend on what was skipped before it
            order = np.random.default_rng([self.seed, position]).permutation(len(hits))
            drawn = self._negatives(pair, [hits[n] for n in order])
            yield Example(pair.query, (pair.positive, *(self.passages.texts[number] for number in drawn)))

    def _negatives(self, pair: Pair, shuffled: Sequence[Hit]) -> list[int]:
        limit, answers = self._limit(pair, shuffled), self.passages.answers_of(pair.query)
        negatives: list[int] = []
        for hit in shuffled:
            number = int(hit.id)
            is_candidate = number < self.passages.n_candidates and hit.score <= limit
            if is_candidate and not answers.include(self.passages, number):
                negatives.append(number)
                if len(negatives) == self.n_negatives:
                    break
        return negatives

    def _limit(self, pair: Pair, hits: Sequence[Hit]) -> float:
        """The highest score of a negative; of a positive that is not among the hits, all of them score higher."""
        if self.margin is None:
            return math.inf
        number = str(self.passages.number_of(pair.positive))
        score = next((hit.score for hit in hits if hit.id == number), None)
        return -math.inf if score is None else score - self.margin * abs(score)


def check_options(n_negatives: int, depth: int, margin: float | None) -> None:
    """Refuse options of ``mine`` that are out of range.

    Raises:
        InvalidTrainingError: one is.
    """
    if not 1 <= n_negatives <= depth:
        raise InvalidTrainingError(
            f"expected 1 <= n_negatives <= depth, found n_negatives={n_negatives} and depth={depth}: negatives are "
            f"drawn from the first documents of a ranking. Search deeper or take fewer."
        )
    if margin is not None and not 0 <= margin < 1:
        raise InvalidTrainingError(
            f"margin must be a share from 0 to 1, or None for negatives of any score; found {margin!r}."
        )


def _check_folder(folder: str | os.PathLike[str] | None) -> None:
    if folder is not None and not Path(folder).is_dir():
        raise InvalidTrainingError(f"{folder}: no such folder for the temporary index. Make it or name another.")
