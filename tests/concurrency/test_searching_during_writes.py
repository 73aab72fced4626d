"""Readers in threads and processes while one writes: every answer is one commit, whole and new (T11)."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
from racing import OPTIONS, Start, create, search_until, searching_process, writing_process

PROCESSES = THREADS = 4
# for each kind of index: 30 s in all
SECONDS = 5


@contextmanager
def racing(*processes):
    """Processes that do not outlive the block."""
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


@contextmanager
def searching_threads():
    """A pool, and whether the block is left: threads that go on would hold up who interrupts it."""
    is_over = threading.Event()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            yield pool, is_over.is_set
        finally:
            is_over.set()


def test_no_process_of_a_race_outlives_a_failure():
    context = multiprocessing.get_context("spawn")
    process, never = (context.Process(target=time.sleep, args=(600,)) for _ in range(2))
    never.start = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError), racing(process, never):
        pass
    assert process.exitcode < 0


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_answer_during_writes_is_one_commit_no_older_than_the_last_announced(kind, fast_folder, figures):
    create(fast_folder, kind)
    seed = f"{figures.seed} {kind}"
    context = multiprocessing.get_context("spawn")
    start = Start(context.Barrier(PROCESSES + 2), figures.size(SECONDS, 1_800))
    writer = context.Process(target=writing_process, args=(fast_folder, start, seed))
    searchers = [
        context.Process(target=searching_process, args=(fast_folder, kind, start, f"{seed} process {n}"))
        for n in range(PROCESSES)
    ]
    with racing(writer, *searchers), searching_threads() as (pool, is_over):
        end = start.end()
        search = partial(search_until, fast_folder, kind, end, is_over=is_over)
        counts = list(pool.map(search, [f"{seed} thread {n}" for n in range(THREADS)]))
        for process in (writer, *searchers):
            process.join(60)
    said = {process.pid: (fast_folder / f"report-{process.pid}") for process in (writer, *searchers)}
    assert [process.exitcode for process in (writer, *searchers)] == [0] * (1 + PROCESSES)
    reports = [path.read_text() for path in said.values()]
    assert all(report.isdecimal() for report in reports), next(r for r in reports if not r.isdecimal())
    assert int(reports[0]) > 1
    counts += map(int, reports[1:])
    assert min(counts) > 0
    figures.add("searches during writes", sum(counts))
    figures.add("seconds of searches during writes", round(start.seconds))
    figures.add("commits during searches", int(reports[0]))
