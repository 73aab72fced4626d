from __future__ import annotations

import asyncio
import datetime
import logging

import numpy as np
import pytest
from langchain_colbert_rag import ColBERTVectorStore
from langchain_colbert_rag.adding import Addition
from langchain_core.documents import Document

from colbert_rag import Document as CoreDocument
from colbert_rag import InvalidArgumentError, InvalidDocumentError, InvalidVectorsError, TokenVectors
from colbert_rag.testing import HashEncoder

DAY = datetime.date(2024, 5, 1)


def test_a_document_goes_to_the_core_as_it_is():
    document = Document(id="i", page_content=" text ", metadata={"n": [1, None]})
    addition = Addition.of([document], None)
    assert (addition.documents, addition.places) == ([CoreDocument("i", " text ", {"n": [1, None]})], {})


def test_new_ids_differ_and_are_known_by_the_place_of_their_document():
    source = Document(page_content="a", metadata={"source": "a.pdf"})
    addition = Addition.of([Document(page_content="a"), Document(id="own", page_content="a"), source], None)
    first, own, third = (document.id for document in addition.documents)
    assert own == "own"
    assert addition.places == {first: "document number 0", third: "document number 2 (source 'a.pdf')"}


def test_an_empty_id_is_not_replaced_silently(store):
    with pytest.raises(InvalidDocumentError, match="document '': the id is empty"):
        store.add_documents([Document(id="", page_content="a")])


@pytest.mark.parametrize("ids", ["xy", 3])
def test_ids_that_are_no_list_are_refused(ids):
    documents = [Document(page_content="a"), Document(page_content="b")]
    with pytest.raises(InvalidArgumentError, match=f"ids must be a list of str.*found {type(ids).__name__}"):
        Addition.of(documents, ids)


@pytest.mark.parametrize("documents", [Document(page_content="a"), "a", 3])
def test_one_document_is_no_list_of_documents(documents):
    with pytest.raises(InvalidArgumentError, match=f"found {type(documents).__name__}; wrap one document in a list"):
        Addition.of(documents, None)


@pytest.mark.parametrize("other", ["a", CoreDocument("a", "a"), None])
def test_what_is_no_langchain_document_is_refused_with_its_place(other):
    with pytest.raises(
        InvalidArgumentError, match=f"number 1 must be a LangChain Document, found {type(other).__name__}"
    ):
        Addition.of([Document(page_content="a"), other], None)


# --- blank documents


@pytest.fixture(params=["", "a"])
def added(request: pytest.FixtureRequest, store):
    """Calls a method of a store, or its async twin, and gives the ids that it returns."""

    def call(name: str, *given, **options):
        answer = getattr(store, request.param + name)(*given, **options)
        return asyncio.run(answer) if request.param else answer

    return call


def test_blank_documents_are_left_out_with_a_warning_that_names_the_first(store, added, caplog):
    pages = [
        Document(id="cover", page_content="amber", metadata={"source": "a.pdf"}),
        Document(id="blank", page_content=" \n", metadata={"source": "a.pdf", "page": 1}),
        Document(id="end", page_content="birch"),
        Document(page_content=""),
    ]
    with caplog.at_level(logging.WARNING, logger="langchain_colbert_rag.adding"):
        assert added("add_documents", pages) == ["cover", "end"]
        assert added("add_texts", ["cedar", " "], ids=["c", "d"]) == ["c"]
    assert sorted(store.index.ids()) == ["c", "cover", "end"]
    assert caplog.messages == [
        "2 of 4 documents are blank and left out; the first is document number 1 (source 'a.pdf')",
        "1 of 2 documents are blank and left out; the first is document number 1",
    ]


def test_without_blank_documents_there_is_no_warning(added, caplog):
    assert added("add_texts", ["amber"], ids=["a"]) == ["a"]
    assert not caplog.records


def test_nothing_but_blank_documents_adds_nothing(store, added):
    store.add_texts(["amber"], ids=["a"])
    assert added("add_documents", [Document(id="a", page_content=" ")]) == []
    assert [document.page_content for document in store.get_by_ids(["a"])] == ["amber"]


async def test_a_store_is_made_of_documents_of_which_some_are_blank(encoder, tmp_path):
    make = ColBERTVectorStore
    texts = ["amber", " ", "birch"]
    stores = [
        make.from_texts(texts, encoder, path=tmp_path / "a"),
        make.from_documents([Document(page_content=text) for text in texts], encoder, path=tmp_path / "b"),
        await make.afrom_texts(texts, encoder, path=tmp_path / "c"),
        await make.afrom_documents([Document(page_content=text) for text in texts], encoder, path=tmp_path / "d"),
    ]
    for store in stores:
        assert {d.page_content for d in store.similarity_search("amber", k=9)} == {"amber", "birch"}
        store.close()


# --- what else is refused


@pytest.mark.parametrize(("value", "kind"), [(DAY, "date"), (np.int64(3), "int64")])
def test_a_document_without_an_id_is_named_by_its_place_and_its_source(store, added, value, kind: str):
    pages = [
        Document(page_content=" "),
        Document(page_content="fine"),
        Document(page_content="a", metadata={"source": "b.pdf", "when": value}),
        Document(page_content="b", metadata={"when": value}),
        Document(id="mine", page_content="c", metadata={"when": value}),
    ]
    with pytest.raises(InvalidDocumentError) as error:
        added("add_documents", pages)
    problem = f"metadata['when'] is a {kind}, which JSON cannot hold; convert it first"
    names = ("document number 2 (source 'b.pdf')", "document number 3", "document 'mine'")
    assert str(error.value) == "; ".join(f"{name}: {problem}" for name in names) + ". Nothing was written."
    with pytest.raises(InvalidDocumentError, match=r"^document number 1: metadata\['n'\]"):
        added("add_texts", ["a", "b"], [None, {"n": value}])
    assert len(store.index) == 0


def test_vectors_that_are_refused_are_those_of_a_place_too(new_store):
    class Double(HashEncoder):
        def encode_documents(self, texts, *, progress=None):
            made = super().encode_documents(texts, progress=progress)
            return [TokenVectors(tokens.vectors * 2, tokens.spans) for tokens in made]

    with pytest.raises(InvalidVectorsError, match=r"^document number 0: .*unit length"):
        new_store("double", Double()).add_texts(["a cat"])
