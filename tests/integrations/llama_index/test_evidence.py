from __future__ import annotations

import json

from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, TextNode
from llama_index_colbert_rag import ColBERTRerank, ColBERTRetriever, NodeWithEvidence
from llama_index_colbert_rag.evidence import with_evidence

from colbert_rag import Passage

PASSAGE = Passage(0, 5, "three", 0.5, ((0, 5),))


def test_evidence_reaches_neither_prompt_nor_embedding_nor_hash():
    node = TextNode(text="three months", metadata={"year": 2024})
    found = with_evidence(node, 0.5, node.text, (PASSAGE,))
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
    assert with_evidence(TextNode(text="a"), 0.0, "a", ()).score == 0.0
    leading = with_evidence(IndexNode(text="a", index_id="b"), 0.0, "a", ()).score
    assert leading
    assert 0 < leading < 1e-300


def test_offsets_count_in_the_node_s_own_text_where_a_template_puts_more_around_it(store):
    framed = TextNode(
        id_="framed",
        text="  Leave is thirty days. Amber birch.\n",
        metadata={"title": "cedar"},
        text_template="About {metadata_str}: {content} (cedar)",
    )
    behind = TextNode(text="Delta ember.", metadata={"title": "fjord"}, text_template="{content}\n\n{metadata_str}")
    store.add([framed, behind, TextNode(text="", metadata={"title": "glade"})])
    [found] = ColBERTRetriever(store, 1, passages=9).retrieve("amber birch")
    assert found.passages[0].text == "Amber birch."
    assert found.passages[0].matches
    for query in ("amber birch", "cedar", "delta", "fjord"):
        for node in ColBERTRetriever(store, 2, passages=9).retrieve(query):
            own = node.node.get_content(MetadataMode.NONE)
            for passage in node.passages:
                assert own[passage.start : passage.end] == passage.text
                assert all(passage.start <= start < end <= passage.end for start, end in passage.matches)
    [bare] = ColBERTRetriever(store, 1).retrieve("glade")
    assert bare.passages == ()


def test_a_reranker_s_offsets_count_in_the_node_s_own_text_too(encoder):
    node = TextNode(
        text="Amber birch.", metadata={"title": "cedar"}, text_template="Title: {metadata_str}. {content} !"
    )
    [found] = ColBERTRerank(encoder=encoder).postprocess_nodes([NodeWithScore(node=node)], query_str="birch")
    assert all(node.text[p.start : p.end] == p.text for p in found.passages)
    [bare] = ColBERTRerank(encoder=encoder).postprocess_nodes(
        [NodeWithScore(node=TextNode(metadata={"title": "cedar"}))], query_str="cedar"
    )
    assert bare.passages == ()


def test_a_passage_that_begins_in_a_template_is_clipped_to_the_body():
    node = TextNode(text="First part. Second part.", metadata={"k": 1})
    searched = "Meta: k 1. Content: First part. Second part. END"
    across = Passage(11, 31, searched[11:31], 2.0, ((11, 18), (18, 25), (26, 31)))
    behind = Passage(32, 48, searched[32:48], 1.0, ((39, 48),))
    ahead, blank = Passage(0, 10, searched[:10], 0.5), Passage(44, 48, searched[44:48], 0.1)
    found = with_evidence(node, 0.5, searched, (across, behind, ahead, blank))
    assert found.passages == (
        Passage(0, 11, "First part.", 2.0, ((0, 5), (6, 11))),
        Passage(12, 24, "Second part.", 1.0, ((19, 24),)),
    )


def test_the_best_passage_of_a_template_ahead_of_the_text_is_found(store):
    template = "Meta: {metadata_str}. Content: {content} END"
    store.add([TextNode(text="Amber birch. Delta ember.", metadata={"k": 1}, text_template=template)])
    [found] = ColBERTRetriever(store, 1, passages=9, passage_sentences=100).retrieve("amber")
    assert [passage.text for passage in found.passages] == ["Amber birch. Delta ember."]
