from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.errors import IndexClosedError
from colbert_rag.search import Workers


@pytest.fixture(scope="module")
def pools():
    pools = {n: Workers(n) for n in (1, 2, 3, 8)}
    yield pools
    for pool in pools.values():
        pool.close()


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 2_000), max_size=80),
    n_threads=st.sampled_from([1, 2, 3, 8]),
    tokens_per_thread=st.sampled_from([1, 7, 500, 10**9]),
)
def test_every_document_is_covered_once(pools, counts, n_threads, tokens_per_thread):
    ends = np.cumsum(counts).astype(np.int64)
    starts = ends - np.array(counts, np.int64)
    visits = np.zeros(len(counts), int)
    parts = []

    def work(part):
        assert part.stop > part.start
        visits[part] += 1
        parts.append(part)

    pools[n_threads].spread(work, starts, ends, tokens_per_thread)
    assert (visits == 1).all()
    assert len(parts) <= n_threads


def test_parts_hold_about_equally_many_tokens(pools):
    counts = np.random.default_rng(0).integers(1, 100, 1_000)
    ends = np.cumsum(counts)
    sizes = []
    pools[8].spread(lambda part: sizes.append(counts[part].sum()), ends - counts, ends, 100)
    assert len(sizes) == 8
    assert max(sizes) - min(sizes) <= 2 * counts.max()


def test_little_work_stays_on_the_calling_thread(pools):
    threads = []
    starts, ends = np.array([0, 5]), np.array([5, 9])
    pools[8].spread(lambda part: threads.append((part, threading.current_thread())), starts, ends, 1_000_000)
    assert threads == [(slice(0, 2), threading.current_thread())]


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_in_any_thread_reaches_the_caller(pools, failing):
    def work(part):
        if part.start <= failing < part.stop:
            raise ValueError(failing)

    ends = np.arange(1, 4) * 10
    with pytest.raises(ValueError, match=str(failing)):
        pools[3].spread(work, ends - 10, ends, 1)


def test_threads_default_to_one_per_core(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert Workers().n_threads == 5
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert Workers().n_threads == 1


def test_several_items_keep_to_one_thread_each_and_the_caller_takes_a_share():
    workers, meeting = Workers(3), threading.Barrier(3, timeout=60)
    threads, sizes = set(), set()

    def work(item, inner):
        if item < 3:
            meeting.wait()
        threads.add(threading.current_thread())
        sizes.add(inner.n_threads)
        return item * item

    assert workers.each(work, list(range(20))) == [n * n for n in range(20)]
    assert len(threads) == 3
    assert threading.current_thread() in threads
    assert sizes == {1}
    workers.close()


def test_who_fails_leaves_the_others_nothing_to_begin():
    workers, meeting, is_over = Workers(2), threading.Barrier(2, timeout=60), threading.Event()
    begun = []

    def work(item, inner):
        begun.append(item)
        meeting.wait()
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        is_over.wait(60)

    with pytest.raises(KeyboardInterrupt):
        workers.each(work, list(range(1_000)))
    is_over.set()
    workers.close()
    assert sorted(begun) == [0, 1]


def test_what_has_not_begun_behind_another_callers_work_is_not_waited_for():
    workers, is_over = Workers(2), threading.Event()
    busy = [workers._pool.submit(is_over.wait, 60) for _ in range(2)]
    assert workers.each(lambda item, inner: item + 1, [1, 2, 3]) == [2, 3, 4]
    assert not any(future.done() for future in busy)
    is_over.set()
    workers.close()


def test_where_no_thread_is_to_be_had_the_caller_does_it_all(monkeypatch):
    workers = Workers(3)

    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(workers._pool, "submit", no_thread)
    assert workers.each(lambda item, inner: item + 1, [1, 2, 3]) == [2, 3, 4]
    workers.close()
    with pytest.raises(IndexClosedError, match="closed during a search"):
        workers.each(lambda item, inner: item, [1, 2])


def test_a_lone_item_has_all_the_threads():
    workers = Workers(3)
    assert workers.each(lambda item, inner: (item, inner is workers), ["a"]) == [("a", True)]
    assert workers.each(lambda item, inner: item, []) == []
    workers.close()


def test_an_error_of_one_item_is_raised():
    workers = Workers(2)
    with pytest.raises(ZeroDivisionError):
        workers.each(lambda item, inner: 1 // item, [1, 0, 1])
    workers.close()
