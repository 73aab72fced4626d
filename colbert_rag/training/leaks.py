"""Whether what a model is tested on is in what it learns from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from colbert_rag.readers import JudgedCorpus
from colbert_rag.training.pairs import Pair
from colbert_rag.training.shingles import NEAR_DUPLICATE, NearDuplicates, passage_likeness, shingled

__all__ = ["Leak", "find_leaks", "relevant_passages", "shared_passages"]


@dataclass(frozen=True, slots=True)
class Leak:
    """A text of the test that is in a training pair.

    Attributes:
        kind: "query": the pair's query is the test's; "passage": the pair's positive is, or contains, or is part of, a
            passage of the test.
        test_id: The id of the test's query or passage.
        pair: Position of the pair.
        likeness: The share of runs of three words in common; 1.0 where the words are equal, or one text is part of the
            other.
    """

    kind: Literal["query", "passage"]
    test_id: str
    pair: int
    likeness: float


def find_leaks(pairs: Sequence[Pair], queries: Mapping[str, str], passages: Mapping[str, str]) -> list[Leak]:
    """Find the queries and passages of a test that are in training pairs.

    A text leaks where its words are equal, whatever their case and punctuation, or nearly so: queries by the Jaccard
    similarity of their runs of three words, passages by the share of the shorter one's runs that the longer has; at
    least 0.8. No leak of this kind is missed; one that says the same in other words is not seen.

    Args:
        pairs: What is trained on.
        queries: Query id -> text of the test.
        passages: Passage id -> text: those that no training may know, such as ``relevant_passages`` gives.

    Returns:
        One leak for each text and pair, by pair; an empty list proves that there is none.

    Example:
        >>> pairs = [Pair("Who wrote Faust?", "Goethe wrote Faust.")]
        >>> find_leaks(pairs, {"q": "who wrote Faust"}, {"p": "It rains."})
        [Leak(kind='query', test_id='q', pair=0, likeness=1.0)]
    """
    leaks = [
        *_found("query", [pair.query for pair in pairs], queries),
        *_found("passage", [pair.positive for pair in pairs], passages),
    ]
    return sorted(leaks, key=lambda leak: leak.pair)


def relevant_passages(corpus: JudgedCorpus, known: Collection[str] = ()) -> dict[str, str]:
    """Return the passages that are relevant to a query of the test, by id.

    Args:
        corpus: The test.
        known: Ids of passages that answer queries of the training split too, where the splits of a collection share
            its documents, as in BEIR; they are left out.
    """
    relevant = {key for judged in corpus.qrels.values() for key, relevance in judged.items() if relevance > 0}
    wanted = relevant.difference(known)
    return {document.id: document.text for document in corpus.documents if document.id in wanted}


def shared_passages(pairs: Sequence[Pair], corpus: JudgedCorpus) -> set[str]:
    """Return the ids of documents that a test shares with its training split.

    Those that a pair names as its ``passage_id`` and whose text is nearly that of its positive, a part of it, or holds
    it: numbers that two collections have by chance are no such names.
    """
    named: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.passage_id is not None:
            named.setdefault(pair.passage_id, []).append(pair.positive)
    return {
        document.id
        for document in corpus.documents
        for positive in named.get(document.id, ())
        if passage_likeness(shingled(positive), shingled(document.text)) >= NEAR_DUPLICATE
    }


def _found(kind: Literal["query", "passage"], trained: Sequence[str], tested: Mapping[str, str]) -> Iterator[Leak]:
    ids, near = list(tested), NearDuplicates(list(tested.values()))
    found: dict[str, dict[int, float]] = {}
    for position, text in enumerate(trained):
        if text not in found:
            found[text] = near.find(shingled(text), is_passage=kind == "passage")
        yield from (Leak(kind, ids[n], position, likeness) for n, likeness in found[text].items())
