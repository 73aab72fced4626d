"""Stores on the test encoder and on the built-in model; no test may open a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_socket
from llama_index.core import Document
from llama_index.core.schema import TextNode
from llama_index_colbert_rag import ColBERTIndex, ColBERTVectorStore

from colbert_rag import Encoder
from colbert_rag.testing import HashEncoder

HANDBOOK = [
    TextNode(id_="notice", text="The notice period is three months.", metadata={"year": 2024, "lang": "en"}),
    TextNode(id_="leave", text="Every year has thirty days of paid leave.", metadata={"year": 2020, "lang": "en"}),
    TextNode(id_="remote", text="Remote work is possible two days a week.", metadata={"year": 2022, "lang": "en"}),
    TextNode(id_="frist", text="Die Frist beträgt drei Monate.", metadata={"year": 2024, "lang": "de"}),
]


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def builtin() -> Encoder:
    return Encoder()


@pytest.fixture
def new_store(tmp_path: Path, encoder: HashEncoder) -> Iterator[Callable[..., ColBERTVectorStore]]:
    made: list[ColBERTVectorStore] = []

    def make(name: str = "index", given: object = None) -> ColBERTVectorStore:
        made.append(ColBERTVectorStore(tmp_path / name, encoder if given is None else given))
        return made[-1]

    yield make
    for store in made:
        store.client.close()


@pytest.fixture
def store(new_store: Callable[..., ColBERTVectorStore]) -> ColBERTVectorStore:
    return new_store()


@pytest.fixture
def pages() -> list[TextNode]:
    """Four pages of a handbook, in English and German."""
    return [page.model_copy(deep=True) for page in HANDBOOK]


@pytest.fixture
def handbook(store: ColBERTVectorStore, pages: list[TextNode]) -> ColBERTVectorStore:
    """A store that holds the pages."""
    store.add(pages)
    return store


@pytest.fixture
def documents() -> list[Document]:
    """The pages as documents that are still to be cut into nodes."""
    return [Document(id_=page.id_, text=page.text, metadata=dict(page.metadata)) for page in HANDBOOK]


@pytest.fixture
def index(store: ColBERTVectorStore, documents: list[Document]) -> ColBERTIndex:
    """An index of the documents."""
    index = ColBERTIndex.from_vector_store(store)
    index.refresh_ref_docs(documents)
    return index


class SlowEncoder(HashEncoder):
    """Takes its time and counts the forward passes."""

    passes = 0
    encoded = 0

    def encode_queries(self, texts):
        self.passes += 1
        time.sleep(0.2)
        return super().encode_queries(texts)

    def encode_documents(self, texts, *, progress=None):
        self.encoded += len(texts)
        time.sleep(0.2)
        return super().encode_documents(texts, progress=progress)


@pytest.fixture
def slow_encoder() -> SlowEncoder:
    return SlowEncoder()


@asynccontextmanager
async def loop_kept_free(ticks: int = 8) -> AsyncIterator[None]:
    """Fails when the event loop had no time for others while the body ran; the body takes 0.2 s or more."""
    seen = 0

    async def tick() -> None:
        nonlocal seen
        while True:
            await asyncio.sleep(0.01)
            seen += 1

    ticker = asyncio.create_task(tick())
    try:
        yield
        assert seen >= ticks, f"{seen} ticks"
    finally:
        ticker.cancel()


@pytest.fixture
def loop_free() -> Callable[[], object]:
    return loop_kept_free
