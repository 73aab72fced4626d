from __future__ import annotations

from llama_index.core.schema import TextNode
from llama_index_colbert_rag import LateInteractionMarker


def test_nodes_get_an_empty_embedding_on_a_copy():
    node = TextNode(text="a", metadata={"b": 1})
    [marked] = LateInteractionMarker()([node])
    assert marked.embedding == []
    assert node.embedding is None
    assert marked.model_copy(update={"embedding": None}) == node


def test_an_embedding_that_is_there_is_kept():
    node = TextNode(text="a", embedding=[0.5])
    assert LateInteractionMarker()([node])[0] is node


async def test_the_async_call_marks_too():
    [marked] = await LateInteractionMarker().acall([TextNode(text="a")])
    assert marked.embedding == []
