"""Keep an index in step with its sources: LangChain's indexing API adds, skips and deletes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from langchain_colbert_rag import ColBERTVectorStore
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index

SOURCES = {
    "leave.md": ["Every year has thirty days of paid leave.", "Days that are left expire in March."],
    "remote.md": ["Remote work is possible two days a week."],
}


def documents() -> list[Document]:
    return [Document(page_content=text, metadata={"source": name}) for name, texts in SOURCES.items() for text in texts]


with tempfile.TemporaryDirectory() as folder, ColBERTVectorStore(Path(folder) / "handbook") as store:
    # one that stays, after pip install langchain-classic: langchain_classic.indexes.SQLRecordManager("handbook", db_url="sqlite:///records.db")
    records = InMemoryRecordManager("handbook")
    records.create_schema()

    def sync() -> None:
        result = index(
            documents(), records, store, cleanup="full", source_id_key="source", key_encoder="sha256", batch_size=100
        )
        print({name: count for name, count in result.items() if count})

    sync()  # everything is new
    sync()  # nothing has changed
    SOURCES["remote.md"] = ["Remote work is possible three days a week."]
    del SOURCES["leave.md"][1]
    sync()
    print([document.page_content for document in store.similarity_search("work from home", k=9)])
