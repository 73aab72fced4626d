from __future__ import annotations

import datetime

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index_colbert_rag.naming import named_by_place

from colbert_rag import InvalidDocumentError, InvalidQueryError, InvalidVectorsError, TokenVectors
from colbert_rag.testing import HashEncoder

DAY = datetime.date(2024, 5, 1)
CUT = TextNode(id_="n", text="a", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")})


@pytest.mark.parametrize("error", [InvalidDocumentError, InvalidVectorsError])
def test_nodes_of_the_call_are_named_and_others_are_not(error):
    nodes = [TextNode(id_="other", text="b", metadata={"file_name": "b.md", "file_path": "x/b.md"}), CUT]
    with pytest.raises(error) as caught, named_by_place(nodes):
        raise error("document 'n': blank; document 'other': blank; node 'n' is none; document 'gone' too")
    n = "node number 1 ('n', of document 'doc')"
    other = "node number 0 ('other', file_path 'x/b.md')"
    assert str(caught.value) == f"{n}: blank; {other}: blank; {n} is none; document 'gone' too"


def test_other_errors_stay_as_they_are():
    with pytest.raises(InvalidQueryError, match=r"^document 'n'$"), named_by_place([CUT]):
        raise InvalidQueryError("document 'n'")


@pytest.mark.parametrize("value", [DAY, np.int64(3)])
def test_a_document_of_a_file_is_named_by_the_file(index, value):
    wrong = Document(id_="page", text="amber", metadata={"when": value, "file_path": "handbook.pdf"})
    where = r"^node number 1 \('[0-9a-f-]{36}', of document 'page', file_path 'handbook.pdf'\)"
    with pytest.raises(InvalidDocumentError, match=where):
        index.refresh_ref_docs([Document(id_="fine", text="birch"), wrong])
    assert len(index.vector_store.client) == 4


async def test_a_node_is_named_by_its_place_in_async_too(store):
    with pytest.raises(InvalidDocumentError, match=r"^node number 1 \('[0-9a-f-]{36}'\): metadata\['when'\] is a date"):
        await store.async_add([TextNode(text="a"), TextNode(text="b", metadata={"when": DAY})])


def test_vectors_that_are_refused_are_those_of_a_node(new_store):
    class Double(HashEncoder):
        def encode_documents(self, texts, *, progress=None):
            made = super().encode_documents(texts, progress=progress)
            return [TokenVectors(tokens.vectors * 2, tokens.spans) for tokens in made]

    with pytest.raises(InvalidVectorsError, match=r"^node number 0 \('n', of document 'doc'\): .*unit length"):
        new_store("double", Double()).add([CUT])
