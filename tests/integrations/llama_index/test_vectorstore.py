from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery
from llama_index_colbert_rag import ColBERTVectorStore, InvalidArgumentError

from colbert_rag import (
    ColbertRagError,
    Document,
    Index,
    IndexNotFoundError,
    InvalidDocumentError,
    InvalidQueryError,
    ModelMismatchError,
    SearchConfig,
)
from colbert_rag.testing import HashEncoder

ENGLISH = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])
RECENT = MetadataFilters(filters=[MetadataFilter(key="year", value=2022, operator=">=")])


def cut_from(source: str, node_id: str) -> TextNode:
    return TextNode(id_=node_id, text=node_id, relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)})


def ids(nodes) -> list[str]:
    return [node.node_id for node in nodes]


def ask(store: ColBERTVectorStore, text: str = "notice period months", k: int = 9, **options: object) -> list[str]:
    return store.query(VectorStoreQuery(query_str=text, similarity_top_k=k, **options)).ids


def test_a_query_gives_nodes_similarities_and_ids_of_the_same_hits(handbook, pages):
    result = handbook.query(VectorStoreQuery(query_str="notice period", similarity_top_k=3))
    hits = handbook.client.search("notice period", 3)
    assert result.ids == [hit.id for hit in hits] == ids(result.nodes)
    assert result.similarities == [hit.relevance for hit in hits]
    assert all(type(similarity) is float for similarity in result.similarities)
    assert result.nodes[0] == pages[0]


@pytest.mark.parametrize("mode", ["sparse", "text_search", "hybrid"])
def test_the_other_modes_rank_and_score_as_the_core_does(handbook, mode: str):
    hits = handbook.client.search("paid leave drei", 9, mode="hybrid" if mode == "hybrid" else "bm25")
    result = handbook.query(VectorStoreQuery(query_str="paid leave drei", similarity_top_k=9, mode=mode))
    assert result.ids == [hit.id for hit in hits]
    assert result.similarities == [hit.score for hit in hits]


def test_alpha_is_the_share_of_late_interaction(handbook):
    for alpha in (0.0, 0.3, 1.0):
        config = SearchConfig(passages=0, fusion="weighted", maxsim_weight=alpha)
        hits = handbook.client.search("drei leave", 9, mode="hybrid", config=config)
        result = handbook.query(
            VectorStoreQuery(query_str="drei leave", similarity_top_k=9, mode="hybrid", alpha=alpha)
        )
        assert list(zip(result.ids, result.similarities, strict=True)) == [(hit.id, hit.score) for hit in hits]


def test_mmr_puts_what_resembles_a_better_hit_behind(store):
    texts = {"a": "amber birch cedar", "b": "amber birch cedar delta", "c": "amber ember fjord"}
    store.add([TextNode(id_=name, text=text) for name, text in texts.items()])
    assert ask(store, "amber birch", 2) == ["a", "b"]
    assert ask(store, "amber birch", 2, mode="mmr", mmr_threshold=0.1) == ["a", "c"]
    query = VectorStoreQuery(query_str="amber birch", similarity_top_k=2, mode="mmr")
    assert store.query(query, mmr_threshold=0.1).ids == ["a", "c"]
    assert store.query(query, mmr_threshold=1.0).ids == ["a", "b"]


def test_restrictions_are_honoured_and_empty_lists_restrict_nothing(handbook):
    assert set(ask(handbook, filters=ENGLISH)) == {"notice", "leave", "remote"}
    assert set(ask(handbook, node_ids=["leave", "frist", "nobody"])) == {"leave", "frist"}
    assert ask(handbook, node_ids=["leave", "frist"], filters=ENGLISH) == ["leave"]
    assert len(ask(handbook, node_ids=[], doc_ids=[], filters=MetadataFilters(filters=[]))) == 4
    handbook.add([cut_from("doc", "n1"), cut_from("doc", "n2"), cut_from("other", "n3")])
    assert set(ask(handbook, doc_ids=["doc"])) == {"n1", "n2"}
    assert set(ask(handbook, doc_ids=["doc", "leave"])) == {"n1", "n2", "leave"}


def test_what_a_query_does_not_know_is_refused(handbook):
    with pytest.raises(InvalidQueryError, match="query_str"):
        handbook.query(VectorStoreQuery(query_embedding=[0.5]))
    with pytest.raises(InvalidArgumentError, match="query takes no argument 'threshold'; it takes mmr_threshold"):
        handbook.query(VectorStoreQuery(query_str="a"), threshold=1)
    with pytest.raises(InvalidArgumentError, match="add takes no argument 'batch'"):
        handbook.add([], batch=1)


def test_adding_replaces_by_id_and_leaves_what_has_not_changed(new_store, slow_encoder, pages):
    store = new_store(given=slow_encoder)
    assert store.add(pages) == ids(pages)
    store.add(pages)
    assert slow_encoder.encoded == 4
    pages[0].metadata["year"] = 2025
    store.add(pages)
    assert slow_encoder.encoded == 5
    assert store.get_nodes(["notice"])[0].metadata["year"] == 2025
    assert len(store.client) == 4


def test_a_batch_with_one_bad_node_is_refused_whole(store, pages):
    with pytest.raises(InvalidDocumentError, match=r"node number 4 \('blank'\): the text is blank"):
        store.add([*pages, TextNode(id_="blank", text=" ")])
    assert len(store.client) == 0


def test_metadata_is_searched_ahead_of_the_text_but_not_quoted(store):
    store.add([TextNode(id_="a", text="One sentence.", metadata={"topic": "orchid"}), TextNode(id_="b", text="Other.")])
    [hit] = store.client.search("orchid", 1)
    assert (hit.id, hit.heading, hit.text) == ("a", "topic: orchid", "One sentence.")
    assert hit.relevance > 0.9
    assert hit.passages[0].text == "One sentence."


def test_delete_takes_the_nodes_of_a_source_and_the_node_that_is_its_own(store):
    store.add([cut_from("doc", "n1"), cut_from("doc", "n2"), cut_from("other", "n3"), TextNode(id_="whole", text="w")])
    store.delete("doc")
    assert ids(store.get_nodes()) == ["n3", "whole"]
    store.delete("whole")
    store.delete("nobody")
    assert ids(store.get_nodes()) == ["n3"]


def test_delete_nodes_takes_ids_filters_or_both(handbook):
    handbook.delete_nodes(["leave", "frist"], filters=ENGLISH)
    assert ids(handbook.get_nodes()) == ["frist", "notice", "remote"]
    handbook.delete_nodes(["remote", "nobody"])
    handbook.delete_nodes([])
    assert ids(handbook.get_nodes()) == ["frist", "notice"]
    handbook.delete_nodes(filters=ENGLISH)
    assert ids(handbook.get_nodes()) == ["frist"]


@pytest.mark.parametrize("given", [{}, {"filters": MetadataFilters(filters=[])}])
def test_a_deletion_that_names_nothing_is_not_taken_for_all(handbook, given):
    with pytest.raises(InvalidDocumentError, match=r"clear\(\) deletes every node"):
        handbook.delete_nodes(**given)
    assert len(handbook.client) == 4


def test_get_nodes_gives_ids_in_order_or_what_matches_or_all(handbook):
    assert ids(handbook.get_nodes(["remote", "nobody", "leave"])) == ["remote", "leave"]
    assert ids(handbook.get_nodes(filters=RECENT)) == ["frist", "notice", "remote"]
    assert ids(handbook.get_nodes(["leave", "remote"], filters=RECENT)) == ["remote"]
    assert ids(handbook.get_nodes()) == ["frist", "leave", "notice", "remote"]
    assert handbook.get_nodes([]) == []


def test_clear_leaves_an_empty_index_that_answers(handbook):
    handbook.clear()
    assert ask(handbook) == []
    handbook.add([TextNode(id_="a", text="a")])
    assert ask(handbook) == ["a"]


async def test_the_async_twins_do_the_same(store, pages):
    assert await store.async_add(pages) == ids(pages)
    query = VectorStoreQuery(query_str="notice period", similarity_top_k=2)
    assert await store.aquery(query) == store.query(query)
    assert await store.aget_nodes(["leave"]) == store.get_nodes(["leave"])
    await store.adelete("leave")
    await store.adelete_nodes(["remote"])
    assert ids(await store.aget_nodes()) == ["frist", "notice"]
    await store.aclear()
    assert await store.aget_nodes() == []
    with pytest.raises(InvalidQueryError, match="query_str"):
        await store.aquery(VectorStoreQuery(query_embedding=[0.5]))
    with pytest.raises(InvalidArgumentError, match="delete takes no argument 'wrong'"):
        await store.adelete("a", wrong=1)


def test_a_store_on_an_open_index_shares_it(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        index.add([Document("a", "amber")])
        store = ColBERTVectorStore(index=index)
        assert store.client is index
        assert ids(store.get_nodes()) == ["a"]
        del store
        gc.collect()
        assert "a" in index, "the index stays open"
        with pytest.raises(InvalidArgumentError, match="an open index has both already"):
            ColBERTVectorStore(tmp_path / "other", index=index)


def test_a_folder_is_opened_with_the_same_model_only(new_store, pages):
    new_store().add(pages)
    assert len(new_store().client) == 4
    with pytest.raises(ModelMismatchError):
        new_store(given=HashEncoder(dim=64))
    with pytest.raises(ModelMismatchError, match="found MockEmbedding"):
        ColBERTVectorStore(encoder=MockEmbedding(embed_dim=4))


def test_open_creates_nothing(tmp_path):
    with pytest.raises(IndexNotFoundError):
        ColBERTVectorStore.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_store_without_a_path_takes_its_folder_with_it(encoder):
    store = ColBERTVectorStore(encoder=encoder)
    folder = Path(store.path)
    store.add([TextNode(text="a")])
    assert folder.exists()
    del store
    gc.collect()
    assert not folder.exists()


def test_an_index_that_a_caller_holds_stays_open_when_the_store_goes(tmp_path, encoder):
    for path in (tmp_path / "index", None):
        store = ColBERTVectorStore(path, encoder)
        store.add([TextNode(id_="a", text="amber")])
        index = store.client
        del store
        gc.collect()
        assert [hit.id for hit in index.search("amber", 1)] == ["a"]
        index.close()


def test_a_store_is_closed_by_with(tmp_path, encoder):
    for path in (tmp_path / "index", None):
        with ColBERTVectorStore(path, encoder) as store:
            store.add([TextNode(id_="a", text="amber")])
        store.close()
        assert Path(store.path).exists() == (path is not None)
        with pytest.raises(ColbertRagError):
            ask(store)


def test_anything_but_an_index_is_refused():
    with pytest.raises(InvalidArgumentError, match="index must be of type Index, found int"):
        ColBERTVectorStore(index=3)


def test_new_nodes_of_a_source_replace_the_old_ones_in_one_step(store):
    store.add([cut_from("doc", "n1"), cut_from("doc", "n2"), cut_from("other", "n3")])
    assert store.add([cut_from("doc", "n2"), cut_from("doc", "n4")], replacing=["doc"]) == ["n2", "n4"]
    assert ids(store.get_nodes()) == ["n2", "n3", "n4"]
    store.add([], replacing=["doc"])
    assert ids(store.get_nodes()) == ["n3"]


def test_a_pickle_keeps_the_folder_and_the_encoder(new_store, pages):
    store = new_store(given=HashEncoder(dim=32, seed=7))
    store.add(pages)
    again = pickle.loads(pickle.dumps(store))
    assert again.path == store.path
    assert again.encoder.fingerprint == store.encoder.fingerprint
    assert ask(again) == ask(store)
    again.client.close()


class Unpicklable(HashEncoder):
    def __reduce__(self):
        raise TypeError("this encoder holds a socket")


def test_an_encoder_that_cannot_be_pickled_is_an_error_and_not_another_encoder(new_store):
    with pytest.raises(TypeError, match="this encoder holds a socket"):
        pickle.dumps(new_store(given=Unpicklable()))


def test_a_temporary_store_is_not_kept(encoder):
    store = ColBERTVectorStore(encoder=encoder)
    for keep in (pickle.dumps, ColBERTVectorStore.to_dict):
        with pytest.raises(TypeError, match="temporary folder and cannot be kept"):
            keep(store)
    assert copy.copy(store) is copy.deepcopy(store) is store


def test_a_dict_opens_the_folder_again_and_the_index_knows_its_model(tmp_path, builtin):
    store = ColBERTVectorStore(tmp_path / "index", builtin)
    store.add([TextNode(id_="a", text="The notice period is three months.")])
    data = store.to_dict()
    assert data == {**data, "class_name": "ColBERTVectorStore", "path": store.path, "stores_text": True}
    again = ColBERTVectorStore.from_dict(data)
    assert again.encoder.fingerprint == builtin.fingerprint
    assert ask(again) == ["a"]
    again.client.close()
    store.client.close()


def test_a_dict_of_a_store_whose_model_has_no_name_needs_the_encoder(handbook, encoder):
    again = ColBERTVectorStore.from_dict(handbook.to_dict(), encoder=encoder)
    assert ask(again) == ask(handbook)
    again.client.close()
    with pytest.raises(FileNotFoundError, match="Pass the same encoder again"):
        ask(ColBERTVectorStore.from_dict(handbook.to_dict()))
    with pytest.raises(IndexNotFoundError):
        ColBERTVectorStore.from_dict({"path": handbook.path + "-gone"})


def test_persist_writes_nothing(handbook, tmp_path):
    before = sorted(path.name for path in tmp_path.rglob("*"))
    handbook.persist(str(tmp_path / "somewhere.json"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_llama_index_s_own_index_works_on_the_store(handbook):
    index = VectorStoreIndex.from_vector_store(handbook, embed_model=MockEmbedding(embed_dim=1))
    index.insert_nodes([TextNode(id_="more", text="amber birch")])
    [found] = index.as_retriever(similarity_top_k=1).retrieve("birch")
    assert found.node_id == "more"
    assert found.score > 0.9
