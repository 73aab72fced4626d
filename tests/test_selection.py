from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import numpy as np
import pytest

from colbert_rag import Document, InvalidFilterError, filters
from colbert_rag.selection import Selections, checked_filter, selected_keys
from colbert_rag.storage import Reading


@pytest.fixture
def catalog(new_index, documents):
    index = new_index()
    index.add(documents[:20])
    return index._catalog


def even(document):
    return document.metadata["even"]


FORMS = {
    "a mapping": {"even": True},
    "a condition": filters.Compare("even", "eq", 1),
    "a function": even,
    "an object": type("Callable", (), {"__call__": staticmethod(even), "__hash__": None})(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_filter_chooses_the_same_documents(catalog, form):
    with catalog.reading() as reading:
        assert selected_keys(reading, checked_filter(FORMS[form])) == list(range(1, 21, 2))


@pytest.mark.parametrize("wrong", [3, "even", ["even"], {"even": {"$above": 3}}])
def test_what_is_no_filter_is_refused(wrong):
    with pytest.raises(InvalidFilterError):
        checked_filter(wrong)


def test_a_function_sees_the_whole_document(catalog, documents):
    seen = []
    with catalog.reading() as reading:
        selected_keys(reading, checked_filter(lambda document: seen.append(document) is None))
    assert seen == documents[:20]


def test_the_keys_of_a_condition_are_kept_until_the_next_commit(catalog):
    selections, chosen = Selections(), checked_filter({"n": {"$lt": 3}})
    with catalog.reading() as reading:
        first = selections.keys(reading, reading.commits(), chosen)
        assert selections.keys(reading, reading.commits(), checked_filter({"n": {"$lt": 3}})) is first
        assert first.tolist() == [1, 2, 3]
        assert first.dtype == np.int64
        older = reading.commits()
    with catalog.writing() as writing:
        writing.remove_documents(writing.find(["d001"]))
    with catalog.reading() as reading:
        assert selections.keys(reading, reading.commits(), chosen).tolist() == [1, 3]
        # a slower reader of the older commit gets what it must and spoils nothing
        selections.keys(reading, older, chosen)
        assert selections.keys(reading, reading.commits(), chosen).tolist() == [1, 3]


def test_the_keys_of_a_read_that_a_writer_overtook_are_not_kept(catalog):
    selections, chosen = Selections(), checked_filter({"n": {"$lt": 3}})
    with catalog.reading() as reading:
        torn = Reading(reading.connection, lambda: False)
        first = selections.keys(torn, reading.commits(), chosen)
        assert selections.keys(reading, reading.commits(), chosen) is not first


def test_a_function_is_asked_every_time(catalog):
    selections, calls = Selections(), []
    with catalog.reading() as reading:
        for _ in range(2):
            selections.keys(reading, reading.commits(), checked_filter(lambda d: calls.append(d) is None))
    assert len(calls) == 40


def test_only_the_last_conditions_are_kept(catalog):
    selections = Selections()
    with catalog.reading() as reading:
        found = [selections.keys(reading, 1, checked_filter({"n": n})) for n in range(20)]
        assert selections.keys(reading, 1, checked_filter({"n": 19})) is found[19]
        assert selections.keys(reading, 1, checked_filter({"n": 0})) is not found[0]


def test_many_threads_share_the_kept_keys(catalog):
    selections, wrong = Selections(), []

    def work(seed):
        for n in np.random.default_rng(seed).integers(0, 40, 100).tolist():
            with catalog.reading() as reading:
                keys = selections.keys(reading, reading.commits(), checked_filter({"n": n})).tolist()
            if keys != ([n + 1] if n < 20 else []):
                wrong.append((n, keys))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_document_of_extra_fields_reaches_the_function(new_index):
    index = new_index()
    index.add([Document("a", "text", heading="head", ref_id="r", extra={"x": 1}), Document("b", "text")])
    assert [d.id for d in index.find(lambda d: d.ref_id == "r" and d.heading == "head" and d.extra == {"x": 1})] == [
        "a"
    ]


async def never(document):
    return False


@pytest.mark.parametrize("wrong", [never, filters.Exists, Document, dict])
def test_what_is_called_but_says_nothing_is_refused_at_once(wrong):
    with pytest.raises(InvalidFilterError, match="expected a mapping, a condition or a function of the document"):
        checked_filter(wrong)


@pytest.mark.parametrize("said", [None, 1, "yes", [], never(None)])
def test_a_function_that_says_neither_true_nor_false_is_refused(catalog, said):
    with catalog.reading() as reading, pytest.raises(InvalidFilterError, match=r"must return True or False.*'d000'"):
        selected_keys(reading, checked_filter(lambda document: said))


def test_what_numpy_says_counts(catalog):
    with catalog.reading() as reading:
        assert selected_keys(reading, checked_filter(lambda d: np.float32(d.metadata["n"]) > 17)) == [19, 20]


def test_a_function_that_runs_out_of_items_is_an_error_that_is_heard(catalog):
    with catalog.reading() as reading, pytest.raises(RuntimeError, match="StopIteration on document 'd000'"):
        selected_keys(reading, checked_filter(lambda document: next(iter([]))))


async def test_a_function_runs_in_the_context_of_its_caller(new_index, documents):
    index = new_index()
    index.add(documents[:4])
    tenant = ContextVar("tenant", default=None)

    async def ask(n):
        tenant.set(n)
        hits = await index.asearch("amber", filter=lambda d: d.metadata["n"] == tenant.get())
        return [hit.id for hit in hits]

    assert await asyncio.gather(*(ask(n) for n in range(4))) == [["d000"], ["d001"], ["d002"], ["d003"]]
    tenant.set(2)
    assert [hit.id for hit in index.search("amber", filter=lambda d: d.metadata["n"] == tenant.get())] == ["d002"]
