from __future__ import annotations

import pytest
from langchain_colbert_rag.documents import evidence, from_texts, to_langchain, with_evidence
from langchain_core.documents import Document

from colbert_rag import Document as CoreDocument
from colbert_rag import Hit, InvalidArgumentError, Passage


def test_a_document_of_the_core_comes_back_with_its_text_metadata_and_id():
    core = CoreDocument("i", "text", {"n": [1, None]}, heading="Not shown")
    assert to_langchain(core) == Document(id="i", page_content="text", metadata={"n": [1, None]})


def test_a_hit_comes_back_without_its_scores():
    hit = Hit("i", 3.5, "text", {"n": 1}, (Passage(0, 4, "text", 3.5),))
    assert to_langchain(hit) == Document(id="i", page_content="text", metadata={"n": 1})


def test_each_text_without_metadata_gets_metadata_of_its_own():
    one, other = from_texts(["a", "b"], None)
    one.metadata["n"] = 1
    assert other.metadata == {}


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


def test_a_text_of_which_nothing_more_is_known_has_empty_metadata():
    [one, other] = from_texts(iter(["a", "b"]), iter([None, {"n": 1}]))
    assert (one.metadata, other.metadata) == ({}, {"n": 1})


@pytest.mark.parametrize("texts", [Document(page_content="a"), None, 3])
def test_what_is_no_list_of_texts_is_refused_with_where_documents_go(texts):
    found = type(texts).__name__
    with pytest.raises(InvalidArgumentError, match=f"texts must be a list of str, found {found}; .* add_documents"):
        from_texts(texts, None)


@pytest.mark.parametrize("other", [Document(page_content="a"), None, b"a"])
def test_what_is_no_text_is_refused_with_its_place(other):
    found = type(other).__name__
    with pytest.raises(InvalidArgumentError, match=f"text number 1 must be a str, found {found}; .* use add_documents"):
        from_texts(["a", other], None)


def test_metadata_that_is_no_dict_is_refused_with_its_place():
    with pytest.raises(InvalidArgumentError, match="metadata number 1 must be a dict or None, found str"):
        from_texts(["a", "b"], [{}, "source"])
