from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from llama_index.core import (
    Document,
    MockEmbedding,
    Settings,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    IndexNode,
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
    TransformComponent,
)
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from llama_index_colbert_rag import ColBERTIndex, ColBERTVectorStore, InvalidArgumentError, LateInteractionMarker

from colbert_rag import Index, IndexNotFoundError, InvalidDocumentError

SPLIT = [SentenceSplitter(chunk_size=24, chunk_overlap=0, include_metadata=False)]
LONG = Document(id_="long", text=" ".join(f"Sentence number {n} speaks of amber." for n in range(12)))


def held(index: ColBERTIndex) -> dict[str, set[str]]:
    """Ids of nodes by the document they were cut from."""
    return {ref: set(info.node_ids) for ref, info in index.ref_doc_info.items()}


def texts(index: ColBERTIndex) -> list[str]:
    return sorted(node.get_content() for node in index.vector_store.get_nodes())


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest):
    """Calls a method, or its async twin."""

    async def run(index: ColBERTIndex, name: str, *args, **options):
        if request.param == "sync":
            return getattr(index, name)(*args, **options)
        return await getattr(index, f"a{name}")(*args, **options)

    return run


def test_documents_are_cut_and_found(index, documents):
    assert held(index).keys() == {d.id_ for d in documents}
    [best, _] = index.as_retriever().retrieve("thirty days of leave")
    assert best.node.ref_doc_id == "leave"
    assert best.passages[0].text == "Every year has thirty days of paid leave."


def test_transformations_are_the_user_s_the_settings_or_none(tmp_path, encoder):
    split = ColBERTIndex.from_documents([LONG], transformations=SPLIT, path=tmp_path / "a", encoder=encoder)
    assert len(held(split)["long"]) > 3
    default = ColBERTIndex.from_documents([LONG], path=tmp_path / "b", encoder=encoder)
    assert default._transformations == Settings.transformations
    whole = ColBERTIndex.from_documents([LONG], transformations=[], path=tmp_path / "c", encoder=encoder)
    assert held(whole) == {"long": {"long"}}
    assert type(whole.vector_store.get_nodes()[0]) is Document
    for index in (split, default, whole):
        index.vector_store.client.close()


def test_building_twice_in_one_folder_encodes_nothing_twice(tmp_path, slow_encoder, documents):
    for _ in range(2):
        index = ColBERTIndex.from_documents(documents, path=tmp_path / "index", encoder=slow_encoder)
        nodes = held(index)
        index.vector_store.client.close()
    assert slow_encoder.encoded == 4
    assert sum(map(len, nodes.values())) == 4


def test_nodes_may_be_given(tmp_path, encoder, pages):
    index = ColBERTIndex(pages, path=tmp_path / "index", encoder=encoder)
    assert index.vector_store.get_nodes([page.node_id for page in pages]) == pages
    index.vector_store.client.close()


async def test_insert_adds_and_delete_takes_away(index, call):
    await call(index, "insert", Document(id_="new", text="amber birch"))
    assert index.as_retriever().retrieve("birch")[0].node.ref_doc_id == "new"
    await call(index, "delete_ref_doc", "new", delete_from_docstore=True)
    await call(index, "delete_ref_doc", "nobody")
    assert "new" not in held(index)
    assert len(index.vector_store.client) == 4


async def test_nodes_are_inserted_and_deleted_by_id(index, call):
    await call(index, "insert_nodes", [TextNode(id_="n", text="amber"), TextNode(id_="m", text="birch")])
    await call(index, "delete_nodes", ["n"])
    assert [node.node_id for node in index.vector_store.get_nodes(["n", "m"])] == ["m"]


async def test_refresh_writes_what_is_new_or_changed_and_nothing_else(index, documents, call):
    before = held(index)
    changed = Document(id_="leave", text="Every year has forty days of paid leave.", metadata=documents[1].metadata)
    remarked = Document(id_="remote", text=documents[2].text, metadata={"year": 2030})
    new = Document(id_="new", text="amber")
    answer = await call(index, "refresh_ref_docs", [documents[0], changed, remarked, new])
    assert answer == [False, True, True, True]
    after = held(index)
    assert after.keys() == before.keys() | {"new"}
    assert {ref for ref in before if before[ref] == after[ref]} == {"notice", "frist"}
    assert not before["leave"] & after["leave"]
    assert "Every year has forty days of paid leave." in texts(index)
    assert documents[1].text not in texts(index)
    assert await call(index, "refresh_ref_docs", [documents[0], changed, remarked, new]) == [False] * 4


class InPlace(TransformComponent):
    """Changes documents in place."""

    def __call__(self, nodes, **kwargs):
        for node in nodes:
            node.metadata["seen"] = node.metadata.get("seen", 0) + 1
        return nodes


async def test_a_transformation_that_changes_documents_in_place_does_not_confuse_a_refresh(store, call):
    index = ColBERTIndex.from_vector_store(store, transformations=[InPlace()])
    assert await call(index, "refresh_ref_docs", [Document(id_="a", text="amber")]) == [True]
    assert await call(index, "refresh_ref_docs", [Document(id_="a", text="amber")]) == [False]


async def test_a_refresh_without_changes_writes_nothing(index, documents, call):
    before = (Path(index.vector_store.path) / "catalog.sqlite").read_bytes()
    wal = Path(index.vector_store.path) / "catalog.sqlite-wal"
    size = wal.stat().st_size if wal.exists() else 0
    assert await call(index, "refresh_ref_docs", documents) == [False] * 4
    assert (Path(index.vector_store.path) / "catalog.sqlite").read_bytes() == before
    assert (wal.stat().st_size if wal.exists() else 0) == size


async def test_update_replaces_the_nodes_of_one_document(index, call):
    await call(
        index, "update_ref_doc", Document(id_="leave", text="No leave."), delete_kwargs={"delete_from_docstore": True}
    )
    assert [n.get_content() for n in index.vector_store.get_nodes(list(held(index)["leave"]))] == ["No leave."]
    await call(index, "update_ref_doc", Document(id_="new", text="amber"))
    assert len(held(index)["new"]) == 1
    with pytest.raises(InvalidArgumentError, match="takes no argument 'wrong'"):
        await call(index, "update_ref_doc", LONG, wrong={})


async def test_a_document_that_was_deleted_is_new_again(index, documents, call):
    await call(index, "delete_ref_doc", "leave")
    assert await call(index, "refresh_ref_docs", documents) == [False, True, False, False]


async def test_refresh_after_load_changes_only_what_changed(index, documents, call, encoder):
    index.vector_store.client.close()
    loaded = ColBERTIndex.load(index.vector_store.path, encoder)
    assert await call(loaded, "refresh_ref_docs", documents) == [False] * 4
    documents[3] = Document(id_="frist", text="Die Frist beträgt vier Monate.")
    assert await call(loaded, "refresh_ref_docs", documents) == [False, False, False, True]
    loaded.vector_store.client.close()


class Shout(TransformComponent):
    """Changes documents before they are cut."""

    def __call__(self, nodes, **kwargs):
        return [Document(id_=node.id_, text=node.text.upper(), metadata=node.metadata) for node in nodes]


async def test_what_a_transformation_makes_of_a_document_is_not_a_change(tmp_path, encoder, documents, call):
    index = ColBERTIndex.from_documents(
        documents, transformations=[Shout(), *SPLIT], path=tmp_path / "index", encoder=encoder
    )
    assert texts(index)[-1] == "THE NOTICE PERIOD IS THREE MONTHS."
    assert await call(index, "refresh_ref_docs", documents) == [False] * 4
    index.vector_store.client.close()


async def test_whole_documents_are_refreshed_and_deleted_too(tmp_path, encoder, documents, call):
    options = {"transformations": [], "path": tmp_path / "index", "encoder": encoder}
    index = ColBERTIndex.from_documents(documents, **options)
    assert await call(index, "refresh_ref_docs", documents) == [False] * 4
    documents[0].set_content("No notice.")
    assert await call(index, "refresh_ref_docs", documents) == [True, False, False, False]
    await call(index, "delete_ref_doc", "leave")
    assert texts(index) == sorted([documents[0].text, documents[2].text, documents[3].text])
    index.vector_store.client.close()


async def test_documents_of_one_id_are_replaced_together(index, call):
    twins = [Document(id_="twin", text="amber"), Document(id_="twin", text="birch")]
    assert await call(index, "refresh_ref_docs", twins) == [True, True]
    await call(index, "refresh_ref_docs", [Document(id_="twin", text="cedar"), twins[1]])
    assert len(held(index)["twin"]) == 2
    assert {"cedar", "birch"} < set(texts(index))


async def test_a_failed_update_leaves_the_old_nodes(index, call):
    before = held(index)
    with pytest.raises(InvalidDocumentError):
        await call(index, "update_ref_doc", Document(id_="leave", text="amber", metadata={"bad": {1, 2}}))
    assert held(index) == before


async def test_pages_without_text_are_left_out_with_a_warning(index, call, caplog):
    await call(index, "refresh_ref_docs", [Document(id_="blank", text=""), Document(id_="new", text="amber")])
    assert held(index).keys() & {"blank", "new"} == {"new"}
    assert "1 nodes without text and metadata are left out" in caplog.text


def test_the_folder_holds_nothing_but_the_index_s_own_format(index, documents):
    index.refresh_ref_docs(documents)
    index.delete_ref_doc("leave")
    assert {p.name.split("-")[0] for p in Path(index.vector_store.path).iterdir()} == {"catalog.sqlite", "segment"}
    report = index.vector_store.client.verify()
    assert (report.problems, report.leftovers) == ((), ())
    assert index.docstore.docs == {}


async def test_an_id_that_is_a_node_s_of_another_document_touches_that_document_in_no_way(index, call):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}
    await call(index, "insert_nodes", [TextNode(id_=i, text=f"chapter {i}", relationships=source) for i in ("1", "2")])
    await call(index, "delete_ref_doc", "1")
    await call(index, "refresh_ref_docs", [Document(id_="1", text="amber")])
    await call(index, "update_ref_doc", Document(id_="2", text="birch"))
    assert held(index)["book"] == {"1", "2"}
    assert {"chapter 1", "chapter 2", "amber", "birch"} < set(texts(index))
    found = index.as_retriever(similarity_top_k=9, doc_ids=["1"]).retrieve("chapter")
    assert [node.node.get_content() for node in found] == ["amber"]


async def test_a_document_that_has_become_empty_takes_its_nodes_along(index, call):
    await call(index, "refresh_ref_docs", [Document(id_="leave", text="")])
    assert "leave" not in held(index)


def test_threads_that_build_in_one_folder_at_once_write_every_source_once(tmp_path, encoder):
    documents = [Document(id_=f"d{n}", text=f"text number {n}") for n in range(20)]
    Index.create(tmp_path / "index", encoder).close()
    start = Barrier(4)

    def build(_: int) -> None:
        start.wait()
        ColBERTIndex.from_documents(documents, path=tmp_path / "index", encoder=encoder).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(build, range(4)))
    with ColBERTIndex.load(tmp_path / "index", encoder) as index:
        assert {ref: len(nodes) for ref, nodes in held(index).items()} == {d.id_: 1 for d in documents}
        assert index.refresh_ref_docs(documents) == [False] * 20


def test_a_document_by_itself_is_refused_with_words(tmp_path, encoder):
    with pytest.raises(InvalidArgumentError, match=r"takes a list of documents, found Document\."):
        ColBERTIndex.from_documents(LONG, path=tmp_path / "index", encoder=encoder)


@pytest.mark.parametrize("name", ["insert", "update_ref_doc"])
@pytest.mark.parametrize("wrong", ["text", None, [LONG]])
async def test_what_is_no_document_is_refused_with_words(index, call, name: str, wrong):
    found = type(wrong).__name__
    with pytest.raises(InvalidArgumentError, match=rf"{name} takes documents of llama_index, found {found} .* Make it"):
        await call(index, name, wrong)
    assert len(index.vector_store.client) == 4


def test_a_closed_index_takes_its_temporary_folder_with_it(encoder, documents):
    with ColBERTIndex.from_documents(documents, encoder=encoder) as index:
        folder = Path(index.vector_store.path)
        assert folder.exists()
    assert not folder.exists()
    index.close()


def test_load_creates_nothing(tmp_path):
    with pytest.raises(IndexNotFoundError):
        ColBERTIndex.load(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_load_index_from_storage_makes_a_plain_index_that_needs_a_mock_embedding(index, documents, tmp_path):
    index.storage_context.persist(str(tmp_path / "storage"))
    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "storage"), vector_store=index.vector_store)
    with pytest.raises(ImportError, match="embeddings-openai"):
        load_index_from_storage(context)
    plain = load_index_from_storage(context, embed_model=MockEmbedding(embed_dim=1))
    assert type(plain) is VectorStoreIndex
    [best, _] = plain.as_retriever(similarity_top_k=2).retrieve("thirty days of leave")
    assert (best.node.ref_doc_id, type(best)) == ("leave", NodeWithScore)
    assert plain.refresh_ref_docs(documents) == [True] * 4
    assert len(index.vector_store.client) == 8


def test_nothing_asks_for_a_model_of_another_company(index):
    assert isinstance(index._embed_model, MockEmbedding)
    assert Settings._embed_model is None
    assert Settings._llm is None


@pytest.mark.parametrize("option", ["as_retriever", "as_query_engine"])
def test_a_wrong_option_is_an_error(index, option: str):
    with pytest.raises(
        InvalidArgumentError, match=r"takes no argument 'top_k'; it takes similarity_top_k, .*LlamaIndex calls"
    ):
        getattr(index, option)(top_k=3)


def test_embed_model_is_refused_with_words(tmp_path, store, documents):
    mock = MockEmbedding(embed_dim=2)
    for make in (
        lambda: ColBERTIndex([], embed_model=mock),
        lambda: ColBERTIndex.from_documents(documents, embed_model=mock),
        lambda: ColBERTIndex.from_vector_store(store, mock),
    ):
        with pytest.raises(InvalidArgumentError, match=r"'embed_model'; .* pass encoder= in its place"):
            make()


def test_a_storage_context_must_hold_our_store(store, encoder):
    with pytest.raises(InvalidArgumentError, match="found SimpleVectorStore"):
        ColBERTIndex(storage_context=StorageContext.from_defaults())
    context = StorageContext.from_defaults(vector_store=store)
    assert ColBERTIndex(storage_context=context).vector_store is store
    with pytest.raises(InvalidArgumentError, match="its vector store has both already"):
        ColBERTIndex(storage_context=context, encoder=encoder)


def test_the_retriever_gets_every_option(index):
    filters = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])
    retriever = index.as_retriever(
        similarity_top_k=7, filters=filters, node_ids=["a"], doc_ids=["b"], mode="hybrid", alpha=0.3, passages=3
    )
    got = (retriever.similarity_top_k, retriever.filters, retriever.node_ids, retriever.doc_ids)
    assert got == (7, filters, ["a"], ["b"])
    assert (retriever.mode, retriever.alpha, retriever.passages) == ("hybrid", 0.3, 3)
    assert index.as_retriever(mode="mmr", mmr_threshold=0.2).mmr_threshold == 0.2
    assert index.as_retriever(mode="mmr").mode == index.as_retriever(vector_store_query_mode="mmr").mode == "mmr"


def test_an_index_node_hides_nothing_and_leads_to_its_object(index):
    inner = VectorStoreIndex([TextNode(id_="deep", text="deep inside")], embed_model=MockEmbedding(embed_dim=2))
    index.insert_nodes([IndexNode(id_="door", text="cellar", index_id="inner", obj=inner.as_retriever())])
    assert [found.node_id for found in index.as_retriever(similarity_top_k=1).retrieve("cellar")] == ["deep"]
    assert index.as_retriever(similarity_top_k=1).retrieve("notice period")[0].node.ref_doc_id == "notice"
    assert len(index.as_retriever(similarity_top_k=9).retrieve("notice")) == 5


def test_after_load_an_object_is_given_again(index, encoder):
    index.insert_nodes([IndexNode(id_="door", text="cellar", index_id="inner", obj=index.as_retriever(node_ids=["x"]))])
    loaded = ColBERTIndex.load(index.vector_store.path, encoder)
    assert loaded.as_retriever(similarity_top_k=1).retrieve("cellar")[0].node_id == "door"
    inside = TextNode(id_="deep", text="deep inside")
    retriever = loaded.as_retriever(similarity_top_k=1, object_map={"inner": inside})
    assert retriever.retrieve("cellar")[0].node_id == "deep"
    loaded.vector_store.client.close()


def test_objects_may_be_given_at_the_start(tmp_path, encoder):
    door = IndexNode(id_="door", text="cellar", index_id="inner", obj=TextNode(id_="deep", text="deep inside"))
    index = ColBERTIndex(objects=[door], path=tmp_path / "index", encoder=encoder)
    assert index.as_retriever().retrieve("cellar")[0].node_id == "deep"
    index.vector_store.client.close()


def test_a_pickle_finds_the_same(index):
    again = pickle.loads(pickle.dumps(index))
    query = "thirty days of leave"
    assert again.as_retriever().retrieve(query) == index.as_retriever().retrieve(query)
    again.vector_store.client.close()


def test_the_marker_is_a_transformation_that_keeps_documents_whole(tmp_path, encoder):
    index = ColBERTIndex.from_documents(
        [LONG], transformations=[LateInteractionMarker()], path=tmp_path / "index", encoder=encoder
    )
    [node] = index.vector_store.get_nodes()
    assert node.get_content(MetadataMode.NONE) == LONG.text
    index.vector_store.client.close()


def test_a_vector_store_of_ours_makes_an_index(store):
    assert ColBERTIndex.from_vector_store(store).vector_store is store
    assert isinstance(ColBERTIndex.from_vector_store(store), VectorStoreIndex)
    assert isinstance(store, ColBERTVectorStore)
