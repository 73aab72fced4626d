"""Batches, of like length or of all, in which no document is another query's answer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from colbert_rag.training.examples import Example
from colbert_rag.training.pairs import Pair

__all__ = ["Apart", "ApartBatchSampler", "keep_apart"]

# batches that are filled from one stretch of like lengths; more of them leave less to chance
_BATCHES_PER_STRETCH = 16


@dataclass(frozen=True, slots=True)
class Apart:
    """What decides whether an example may join a batch.

    Attributes:
        positives: Passages that answer its query, by any pair.
        documents: Passages among its documents.
        length: Characters of its longest document.
        kind: Examples of one kind share batches, but for what is left of each.
    """

    positives: frozenset[int]
    documents: frozenset[int]
    length: int
    kind: Hashable = 0


def keep_apart(
    examples: Sequence[Example],
    pairs: Sequence[Pair],
    passage_of: Mapping[str, int],
    kinds: Sequence[Hashable] | None = None,
) -> list[Apart]:
    """What each example must be kept apart from.

    Args:
        examples: To be batched.
        pairs: All that is known of which passage answers which query.
        passage_of: Text -> passage, of all positives at least; texts that it lacks answer no query.
        kinds: Of each example, such as its source and its topic; None for one kind.
    """
    answers: dict[str, set[int]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(passage_of[pair.positive])
    return [
        Apart(
            frozenset(answers.get(example.query, set()) | {passage_of[example.documents[0]]}),
            frozenset(passage_of[text] for text in example.documents if text in passage_of),
            max(map(len, example.documents)),
            kind,
        )
        for example, kind in zip(examples, kinds or [0] * len(examples), strict=True)
    ]


class ApartBatchSampler(DefaultBatchSampler):
    """Every example once an epoch; no batch holds a document that answers another example's query.

    Args:
        apart: One for each example, in the order of the data set.
        batch_size: Examples in a batch, at most.
        seed: With the epoch, of the order.
        by_length: Whether documents of like length share batches.
    """

    def __init__(self, apart: Sequence[Apart], batch_size: int, seed: int, *, by_length: bool = True) -> None:
        super().__init__(range(len(apart)), batch_size=batch_size, drop_last=False, seed=seed)
        self._apart = apart
        self._by_length = by_length
        self._n_batches = len(self._pack(0))

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._pack(self.epoch)
        # a resumed run skips by count: every epoch has as many batches as the first
        if len(batches) > self._n_batches:
            batches = self._pack(0)
        while len(batches) < self._n_batches:
            largest = max(batches, key=len)
            batches.append(largest[len(largest) // 2 :])
            del largest[len(largest) // 2 :]
        yield from (batches[position] for position in _permuted(len(batches), self._seed_of(self.epoch)))

    def _seed_of(self, epoch: int) -> int:
        # seeds of one run and epochs of another must not meet
        return int(self.seed) * 100_003 + epoch

    def _pack(self, epoch: int) -> list[list[int]]:
        order = _permuted(len(self._apart), self._seed_of(epoch))
        stretch = self.batch_size * _BATCHES_PER_STRETCH
        by_kind: dict[Hashable, list[int]] = {}
        for position in order:
            by_kind.setdefault(self._apart[position].kind, []).append(position)
        in_order = [
            position
            for members in by_kind.values()
            for start in range(0, len(members), stretch)
            for position in self._ordered(members[start : start + stretch])
        ]
        batches, waiting, upcoming = [], list[int](), iter(in_order)
        while batch := self._fill(waiting, upcoming):
            batches.append(batch)
        return batches

    def _ordered(self, members: list[int]) -> list[int]:
        return sorted(members, key=lambda i: self._apart[i].length) if self._by_length else members

    def _fill(self, waiting: list[int], upcoming: Iterator[int]) -> list[int]:
        """Fill one batch, first with those that an earlier one could not take; ``waiting`` is brought up to date."""
        batch: list[int] = []
        positives: set[int] = set()
        documents: set[int] = set()
        refused = []
        earlier = iter(waiting.copy())
        for position in (i for source in (earlier, upcoming) for i in source):
            item = self._apart[position]
            if positives & item.documents or documents & item.positives:
                refused.append(position)
                continue
            batch.append(position)
            positives |= item.positives
            documents |= item.documents
            if len(batch) == self.batch_size:
                break
        waiting[:] = [*refused, *earlier]
        # neighbours in a batch share the mini-batches of gradient caching
        return sorted(batch, key=lambda i: self._apart[i].length)


def _permuted(n: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = torch.randperm(n, generator=generator).tolist()
    return order
