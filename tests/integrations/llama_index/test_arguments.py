from __future__ import annotations

import pytest
from llama_index.core import Document
from llama_index_colbert_rag.arguments import check_documents, check_names, check_type, id_list

from colbert_rag import ColbertRagError, InvalidArgumentError


def test_a_known_name_passes():
    check_names("call", ["b"], ("a", "b"))


def test_an_unknown_name_is_refused_with_the_names_that_are_known():
    with pytest.raises(InvalidArgumentError) as caught:
        check_names("call", ["c"], ("a", "b"))
    assert str(caught.value) == "call takes no argument 'c'; it takes a, b."


def test_a_habit_from_other_indexes_gets_a_hint():
    with pytest.raises(InvalidArgumentError, match=r"takes no argument 'embed_model'\. Late interaction .* encoder="):
        check_names("call", ["embed_model"])


def test_a_near_miss_gets_the_name_that_was_meant():
    with pytest.raises(InvalidArgumentError, match="Did you mean 'node_postprocessors'"):
        check_names("call", ["node_postprocessor"], ("filters", "node_postprocessors"))


def test_a_document_by_itself_and_a_text_are_refused_with_what_to_write():
    check_documents("call", [Document(text="a")])
    with pytest.raises(InvalidArgumentError, match=r"takes a list of documents, found Document\. .* \[document\]"):
        check_documents("call", Document(text="a"))
    with pytest.raises(InvalidArgumentError, match=r"found str at position 1\. Make it Document"):
        check_documents("call", [Document(text="a"), "b"])


def test_one_id_is_not_taken_for_its_letters():
    assert (id_list("ids", None), id_list("ids", ("a", "b"))) == (None, ["a", "b"])
    for wrong in ("ab", [1]):
        with pytest.raises(InvalidArgumentError, match="ids takes a list of str, found"):
            id_list("ids", wrong)


def test_an_argument_of_another_class_is_refused():
    check_type("call: a", 3, int)
    with pytest.raises(InvalidArgumentError, match="call: a must be of type str, found int"):
        check_type("call: a", 3, str)


def test_the_error_is_ours_and_a_type_error():
    assert issubclass(InvalidArgumentError, ColbertRagError)
    assert issubclass(InvalidArgumentError, TypeError)
