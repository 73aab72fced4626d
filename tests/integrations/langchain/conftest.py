"""Stores on the test encoder and on the built-in model; no test may open a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_socket
from langchain_colbert_rag import ColBERTVectorStore
from langchain_core.documents import Document

from colbert_rag import Encoder
from colbert_rag.testing import HashEncoder

HANDBOOK = [
    Document(id="notice", page_content="The notice period is three months.", metadata={"year": 2024, "lang": "en"}),
    Document(
        id="leave", page_content="Every year has thirty days of paid leave.", metadata={"year": 2020, "lang": "en"}
    ),
    Document(
        id="remote", page_content="Remote work is possible two days a week.", metadata={"year": 2022, "lang": "en"}
    ),
    Document(id="frist", page_content="Die Frist beträgt drei Monate.", metadata={"year": 2024, "lang": "de"}),
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
        store.index.close()


@pytest.fixture
def store(new_store: Callable[..., ColBERTVectorStore]) -> ColBERTVectorStore:
    return new_store()


@pytest.fixture
def pages() -> list[Document]:
    """Four pages of a handbook."""
    return [page.model_copy(deep=True) for page in HANDBOOK]


@pytest.fixture
def handbook(store: ColBERTVectorStore, pages: list[Document]) -> ColBERTVectorStore:
    """A store that holds the pages."""
    store.add_documents(pages)
    return store


class SlowEncoder(HashEncoder):
    """Takes its time and counts the forward passes of queries."""

    passes = 0

    def encode_queries(self, texts):
        self.passes += 1
        time.sleep(0.2)
        return super().encode_queries(texts)

    def encode_documents(self, texts, *, progress=None):
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
