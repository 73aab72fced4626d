"""An ingestion pipeline that keeps a folder in step with its sources: only what changed is encoded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index_colbert_rag import ColBERTIndex, ColBERTVectorStore, LateInteractionMarker, NodeWithEvidence

SOURCES = {
    "leave.md": "Every year has thirty days of paid leave.",
    "pets.md": "Dogs are welcome on Fridays.",
    "remote.md": "Remote work is possible two days a week.",
}


def read(sources: dict[str, str]) -> list[Document]:
    return [Document(id_=name, text=text, metadata={"file": name}) for name, text in sources.items()]


with tempfile.TemporaryDirectory() as folder:
    store = ColBERTVectorStore(Path(folder) / "handbook")
    pipeline = IngestionPipeline(
        # the marker comes last: without it the pipeline would drop nodes that have no embedding
        transformations=[SentenceSplitter(), LateInteractionMarker()],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    print("first run   ", len(pipeline.run(documents=read(SOURCES))), "written")
    print("second run  ", len(pipeline.run(documents=read(SOURCES))), "written")

    del SOURCES["pets.md"]
    SOURCES["remote.md"] = "Remote work is possible three days a week."
    print("after edits ", len(pipeline.run(documents=read(SOURCES))), "written")

    for found in ColBERTIndex.from_vector_store(store).as_retriever().retrieve("working from home"):
        assert isinstance(found, NodeWithEvidence)
        print(f"  {found.score:.2f}  {found.node.ref_doc_id:9}  {found.passages[0].text}")
    store.client.close()
