from __future__ import annotations

import json

from llama_index.core.schema import IndexNode, MetadataMode, TextNode
from llama_index_colbert_rag import NodeWithEvidence
from llama_index_colbert_rag.evidence import with_evidence

from colbert_rag import Passage

PASSAGE = Passage(0, 5, "three", 0.5, ((0, 5),))


def test_evidence_reaches_neither_prompt_nor_embedding_nor_hash():
    node = TextNode(text="three months", metadata={"year": 2024})
    found = with_evidence(node, 0.5, (PASSAGE,))
    assert found.passages == (PASSAGE,)
    for mode in MetadataMode:
        assert found.get_content(mode) == node.get_content(mode)
    assert found.node.hash == node.hash
    assert found.metadata == {"year": 2024}


def test_evidence_is_written_as_json():
    written = json.loads(NodeWithEvidence(node=TextNode(text="three"), score=0.5, passages=(PASSAGE,)).to_json())
    assert written["passages"] == [{"start": 0, "end": 5, "text": "three", "score": 0.5, "matches": [[0, 5]]}]
    assert written["class_name"] == "NodeWithEvidence"


def test_a_score_of_zero_stays_zero_for_a_text_and_is_never_falsy_for_what_leads_elsewhere():
    assert with_evidence(TextNode(text="a"), 0.0, ()).score == 0.0
    leading = with_evidence(IndexNode(text="a", index_id="b"), 0.0, ()).score
    assert leading
    assert 0 < leading < 1e-300
