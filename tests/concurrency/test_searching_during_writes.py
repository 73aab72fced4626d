"""Readers in threads and processes while one writes: every answer is one commit, whole and new (T11)."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from racing import OPTIONS, create, search_until, searching_process, writing_process

PROCESSES = THREADS = 4


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_answer_during_writes_is_one_commit_no_older_than_the_last_announced(kind, fast_folder, figures):
    create(fast_folder, kind)
    seed = f"{figures.seed} {kind}"
    context = multiprocessing.get_context("spawn")
    # processes take a moment to start; the clock is the same for all of them
    end = time.monotonic() + 3 + figures.size(12, 1_800)
    writer = context.Process(target=writing_process, args=(fast_folder, end, seed))
    searchers = [
        context.Process(target=searching_process, args=(fast_folder, kind, end, f"{seed} process {n}"))
        for n in range(PROCESSES)
    ]
    for process in (writer, *searchers):
        process.start()
    with ThreadPoolExecutor(THREADS) as pool:
        counts = list(pool.map(lambda n: search_until(fast_folder, kind, end, f"{seed} thread {n}"), range(THREADS)))
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
    figures.add("commits during searches", int(reports[0]))
