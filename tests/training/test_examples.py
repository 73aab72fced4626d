from __future__ import annotations

import pytest

from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.examples import Example, from_pairs, to_dataset
from colbert_rag.training.pairs import Pair


def test_pairs_become_examples_of_one_document():
    assert from_pairs([Pair("a?", "A.", "7")]) == [Example("a?", ("A.",))]


def test_columns_stand_in_the_order_that_the_losses_read():
    dataset = to_dataset([Example("a?", ("A.", "X."), (2.0, -1.5)), Example("b?", ("B.", "Y."), (1.0, 0.0))])
    assert dataset.column_names == ["query", "document_1", "document_2", "scores"]
    assert dataset[0] == {"query": "a?", "document_1": "A.", "document_2": "X.", "scores": [2.0, -1.5]}


def test_without_a_teacher_there_is_no_column_of_scores():
    assert to_dataset([Example("a?", ("A.",))]).column_names == ["query", "document_1"]


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([], "There is no example"),
        ([Example("a?", ())], "Example 0 has 0 documents"),
        ([Example("a?", ("A.", "X.")), Example("b?", ("B.",))], "Example 1 has 1 documents and 0 scores; expected 2"),
        ([Example("a?", ("A.",), (1.0,)), Example("b?", ("B.",))], "Example 1 has 1 documents and 0 scores"),
        ([Example("a?", ("A.", "X."), (1.0,))], "Example 0 has 2 documents and 1 scores"),
    ],
)
def test_examples_of_different_shapes_are_refused(examples, said):
    with pytest.raises(InvalidTrainingError, match=said):
        to_dataset(examples)
