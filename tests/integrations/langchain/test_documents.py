from __future__ import annotations

import pytest
from langchain_colbert_rag.documents import evidence, from_texts, to_core, to_langchain, with_evidence
from langchain_core.documents import Document

from colbert_rag import Document as CoreDocument
from colbert_rag import Hit, InvalidArgumentError, InvalidDocumentError, Passage


def test_a_document_goes_to_the_core_and_comes_back_equal():
    document = Document(id="i", page_content="text", metadata={"n": [1, None]})
    [core] = to_core([document], None)
    assert core == CoreDocument("i", "text", {"n": [1, None]})
    assert to_langchain(core) == document


def test_a_hit_comes_back_without_its_scores():
    hit = Hit("i", 3.5, "text", {"n": 1}, (Passage(0, 4, "text", 3.5),))
    assert to_langchain(hit) == Document(id="i", page_content="text", metadata={"n": 1})


def test_each_text_without_metadata_gets_metadata_of_its_own():
    one, other = from_texts(["a", "b"], None)
    one.metadata["n"] = 1
    assert other.metadata == {}


def test_new_ids_differ():
    one, other = to_core([Document(page_content="a"), Document(page_content="a")], None)
    assert one.id != other.id


def test_an_empty_id_is_not_replaced_silently(store):
    with pytest.raises(InvalidDocumentError, match="id"):
        store.add_documents([Document(id="", page_content="a")])


def test_evidence_is_the_relevance_and_the_passages():
    passage = Passage(1, 4, "ext", 2.5, ((1, 2),))
    assert evidence(0.5, [passage]) == {
        "relevance_score": 0.5,
        "passages": [{"start": 1, "end": 4, "text": "ext", "score": 2.5}],
    }
    assert evidence(None, []) == {"passages": []}


def test_evidence_goes_into_a_copy():
    document = Document(id="i", page_content="text", metadata={"n": 1})
    shown = with_evidence(document, 0.5, [])
    assert shown == Document(id="i", page_content="text", metadata={"n": 1, "relevance_score": 0.5, "passages": []})
    assert document.metadata == {"n": 1}


def test_evidence_takes_the_place_of_what_a_document_has_under_its_names():
    document = Document(page_content="text", metadata={"relevance_score": "old", "passages": 12, "n": 1})
    assert with_evidence(document, 0.5, []).metadata == {"relevance_score": 0.5, "passages": [], "n": 1}
    assert with_evidence(document, None, []).metadata == {"passages": [], "n": 1}
    assert document.metadata == {"relevance_score": "old", "passages": 12, "n": 1}


@pytest.mark.parametrize("ids", ["xy", 3])
def test_ids_that_are_no_list_are_refused(ids):
    documents = [Document(page_content="a"), Document(page_content="b")]
    with pytest.raises(InvalidArgumentError, match=f"ids must be a list of str.*found {type(ids).__name__}"):
        to_core(documents, ids)


@pytest.mark.parametrize("documents", [Document(page_content="a"), "a", 3])
def test_one_document_is_no_list_of_documents(documents):
    with pytest.raises(InvalidArgumentError, match=f"found {type(documents).__name__}; wrap one document in a list"):
        to_core(documents, None)


@pytest.mark.parametrize("other", ["a", CoreDocument("a", "a"), None])
def test_what_is_no_langchain_document_is_refused_with_its_place(other):
    with pytest.raises(
        InvalidArgumentError, match=f"number 1 must be a LangChain Document, found {type(other).__name__}"
    ):
        to_core([Document(page_content="a"), other], None)
