"""The example of a small corpus of a user's own: whole, and no question of its test is trained on."""

from __future__ import annotations

from pathlib import Path

from colbert_rag.readers import read_judged_corpus
from colbert_rag.training.leaks import find_leaks, relevant_passages
from colbert_rag.training.pairs import read_pairs

FOLDER = Path(__file__).parents[2] / "examples" / "data" / "functions"


def test_the_counts_are_those_of_its_page():
    test, pairs = read_judged_corpus(FOLDER), read_pairs(FOLDER / "pairs.jsonl.gz")
    assert (len(test.documents), len(test.queries), len(pairs)) == (972, 350, 200)
    assert sum(map(len, test.qrels.values())) == 351


def test_what_answers_the_questions_is_in_no_pair():
    test, pairs = read_judged_corpus(FOLDER), read_pairs(FOLDER / "pairs.jsonl.gz")
    assert find_leaks(pairs, test.queries, relevant_passages(test)) == []


def test_the_functions_of_the_pairs_are_in_the_corpus():
    known = {document.id: document.text for document in read_judged_corpus(FOLDER).documents}
    assert all(known[pair.passage_id] == pair.positive for pair in read_pairs(FOLDER / "pairs.jsonl.gz"))
