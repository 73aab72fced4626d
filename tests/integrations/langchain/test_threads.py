"""Many threads search while another writes: every answer is one that serial execution gives."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_colbert_rag import ColBERTRetriever
from langchain_core.documents import Document

THREADS = 16
ROUNDS = 12
QUERIES = ["amber birch", "cedar delta", "ember fjord", "glade harbor"]
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "glade", "harbor", "island", "juniper"]


def page(n: int) -> Document:
    return Document(id=f"d{n:02}", page_content=f"{WORDS[n % 10]} {WORDS[(n * 3 + 1) % 10]} page{n}", metadata={"n": n})


VISITOR = Document(id="a-visitor", page_content="amber birch cedar delta ember fjord glade harbor", metadata={"n": -1})


def answers(retriever: ColBERTRetriever) -> list[list[Document]]:
    return [retriever.invoke(query) for query in QUERIES]


@pytest.mark.parametrize("mode", ["maxsim", "hybrid"])
def test_sixteen_threads_see_the_index_before_or_after_a_write_and_nothing_between(store, mode: str):
    store.add_documents([page(n) for n in range(40)])
    retriever = ColBERTRetriever(store=store, k=10, mode=mode)
    without = answers(retriever)
    store.add_documents([VISITOR])
    with_visitor = answers(retriever)
    assert all(one != other for one, other in zip(without, with_visitor, strict=True))
    done = threading.Event()

    written: list[int] = []

    def write() -> None:
        while not done.is_set():
            store.delete(["a-visitor"])
            store.add_documents([VISITOR])
            written.append(len(written))

    def search(number: int) -> list[tuple[int, list[Document]]]:
        found: list[tuple[int, list[Document]]] = []
        # however fast they are, the writer is to come between
        while len(found) < ROUNDS or (len(written) < 2 and not writer.done()):
            q = (len(found) + number) % len(QUERIES)
            found.append((q, retriever.invoke(QUERIES[q])))
        return found

    with ThreadPoolExecutor(THREADS + 1) as pool:
        writer = pool.submit(write)
        try:
            found = [answer for answers in pool.map(search, range(THREADS)) for answer in answers]
        finally:
            done.set()
    writer.result()
    assert len(found) >= THREADS * ROUNDS
    assert len(written) > 1
    for q, documents in found:
        assert documents in (without[q], with_visitor[q])
    assert answers(retriever) == with_visitor


def test_threads_that_share_the_built_in_model_find_what_one_finds(new_store, builtin):
    store = new_store(given=builtin)
    store.add_documents([page(n) for n in range(20)])
    retriever = ColBERTRetriever(store=store, k=3)
    queries = [f"{one} {other}" for one in WORDS[:4] for other in WORDS[4:8]]
    with ThreadPoolExecutor(THREADS) as pool:
        adding = pool.submit(store.add_texts, [f"zephyr {'quartz ' * n}" for n in range(40)])
        found = [[document.id for document in documents] for documents in pool.map(retriever.invoke, queries)]
        adding.result()
    serial = [[document.id for document in retriever.invoke(query, filter={"n": {"$gte": 0}})] for query in queries]
    assert found == serial
