"""Many threads search while another writes: every answer is one that serial execution gives."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index_colbert_rag import ColBERTRetriever

THREADS = 16
ROUNDS = 12
QUERIES = ["amber birch", "cedar delta", "ember fjord", "glade harbor"]
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "glade", "harbor", "island", "juniper"]
VISITOR = TextNode(id_="a-visitor", text="amber birch cedar delta ember fjord glade harbor")


def page(n: int) -> TextNode:
    return TextNode(id_=f"d{n:02}", text=f"{WORDS[n % 10]} {WORDS[(n * 3 + 1) % 10]} page{n}")


def answers(retriever: ColBERTRetriever) -> list[list[NodeWithScore]]:
    return [retriever.retrieve(query) for query in QUERIES]


@pytest.mark.parametrize("mode", ["default", "hybrid"])
def test_sixteen_threads_see_the_index_before_or_after_a_write_and_nothing_between(store, mode: str):
    store.add([page(n) for n in range(40)])
    retriever = ColBERTRetriever(store, 10, mode=mode)
    without = answers(retriever)
    store.add([VISITOR])
    with_visitor = answers(retriever)
    assert all(one != other for one, other in zip(without, with_visitor, strict=True))
    done = threading.Event()

    written: list[int] = []

    def write() -> None:
        while not done.is_set():
            store.delete_nodes(["a-visitor"])
            store.add([VISITOR])
            written.append(len(written))

    def search(number: int) -> list[tuple[int, list[NodeWithScore]]]:
        found: list[tuple[int, list[NodeWithScore]]] = []
        # however fast they are, the writer is to come between
        while len(found) < ROUNDS or (len(written) < 2 and not writer.done()):
            q = (len(found) + number) % len(QUERIES)
            found.append((q, retriever.retrieve(QUERIES[q])))
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
    for q, nodes in found:
        assert nodes in (without[q], with_visitor[q])
    assert answers(retriever) == with_visitor


def test_threads_that_share_the_built_in_model_find_what_one_finds(new_store, builtin):
    store = new_store(given=builtin)
    pages = [page(n) for n in range(20)]
    store.add(pages)
    retriever = ColBERTRetriever(store, 3, node_ids=[node.node_id for node in pages])
    queries = [f"{one} {other}" for one in WORDS[:4] for other in WORDS[4:8]]
    with ThreadPoolExecutor(THREADS) as pool:
        adding = pool.submit(store.add, [TextNode(text=f"zephyr {'quartz ' * n}") for n in range(40)])
        found = [[node.node_id for node in nodes] for nodes in pool.map(retriever.retrieve, queries)]
        adding.result()
    assert found == [[node.node_id for node in retriever.retrieve(query)] for query in queries]
