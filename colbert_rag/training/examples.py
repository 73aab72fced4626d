"""A query with its positive, hard negatives and a teacher's scores, as sentence-transformers' losses read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.pairs import Pair

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Example", "from_pairs", "to_dataset"]


@dataclass(frozen=True, slots=True)
class Example:
    """A query and the documents that it is compared with.

    Attributes:
        query: The question.
        documents: The positive, then hard negatives.
        scores: The teacher's, one for each document; None without a teacher.
    """

    query: str
    documents: tuple[str, ...]
    scores: tuple[float, ...] | None = None


def from_pairs(pairs: Sequence[Pair]) -> list[Example]:
    """Examples without hard negatives: each query sees the positives of the others in its batch."""
    return [Example(pair.query, (pair.positive,)) for pair in pairs]


def to_dataset(examples: Sequence[Example]) -> Dataset:
    """Lay examples out in columns: ``query``, ``document_1`` (the positive), ``document_2`` ..., and ``scores``.

    The losses of sentence-transformers read the columns by position; ``scores`` is a list for each row, and is left
    out where no example has scores.

    Args:
        examples: All with equally many documents, and all with scores or none.

    Raises:
        InvalidTrainingError: there is no example, or examples differ in their number of documents or scores.
    """
    from datasets import Dataset

    n_documents, is_scored = _shape(examples)
    columns: dict[str, list[Any]] = {"query": [example.query for example in examples]}
    for position in range(n_documents):
        columns[f"document_{position + 1}"] = [example.documents[position] for example in examples]
    if is_scored:
        columns["scores"] = [list(example.scores or ()) for example in examples]
    return Dataset.from_dict(columns)


def _shape(examples: Sequence[Example]) -> tuple[int, bool]:
    if not examples:
        raise InvalidTrainingError("There is no example to train on; expected at least one. Pass pairs.")
    n_documents, is_scored = len(examples[0].documents), examples[0].scores is not None
    for position, example in enumerate(examples):
        n_scores = len(example.scores) if example.scores is not None else 0
        expected = (n_documents, n_documents if is_scored else 0)
        if not example.documents or (len(example.documents), n_scores) != expected:
            raise InvalidTrainingError(
                f"Example {position} has {len(example.documents)} documents and {n_scores} scores; expected "
                f"{max(1, expected[0])} and {expected[1]}, as the first example has. Mine and rescore all of them."
            )
    return n_documents, is_scored
