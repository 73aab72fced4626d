"""An ingestion pipeline that keeps a folder in step with its sources: only what changed is encoded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index_colbert_rag import ColBERTIndex, ColBERTVectorStore, LateInteractionMarker

SOURCES = {
    "leave.md": "Every year has thirty days of paid leave.",
    "pets.md": "Dogs are welcome on Fridays.",
    "remote.md": "Remote work is possible two days a week.",
}


def read(sources: dict[str, str]) -> list[Document]:
    return [Document(id_=name, text=text, metadata={"file": name}) for name, text in sources.items()]


def ingest(store: ColBERTVectorStore, kept: Path) -> int:
    pipeline = IngestionPipeline(
        # the marker comes last: without it the pipeline would drop nodes that have no embedding
        transformations=[SentenceSplitter(), LateInteractionMarker()],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    # the docstore says what was written before; without it everything would be written again
    if kept.exists():
        pipeline.load(str(kept))
    written = len(pipeline.run(documents=read(SOURCES)))
    pipeline.persist(str(kept))
    return written


with tempfile.TemporaryDirectory() as folder, ColBERTVectorStore(Path(folder) / "handbook") as store:
    kept = Path(folder) / "pipeline"
    print("first run   ", ingest(store, kept), "written")
    print("second run  ", ingest(store, kept), "written")

    del SOURCES["pets.md"]
    SOURCES["remote.md"] = "Remote work is possible three days a week."
    print("after edits ", ingest(store, kept), "written")

    for found in ColBERTIndex.from_vector_store(store).as_retriever().retrieve("working from home"):
        print(f"  {found.score:.2f}  {found.node.ref_doc_id:9}  {found.passages[0].text}")
