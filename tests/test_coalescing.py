from __future__ import annotations

import asyncio
import threading

import pytest

from colbert_rag.coalescing import Coalescer
from colbert_rag.errors import IndexClosedError


class Slow:
    """Squares numbers; the first batch waits until it is told to go on. A negative number is an error."""

    def __init__(self):
        self.batches = []
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, numbers):
        self.batches.append(list(numbers))
        self.has_begun.set()
        assert self.may_go_on.wait(10)
        if any(n < 0 for n in numbers):
            raise ValueError(f"negative: {numbers}")
        return [n * n for n in numbers]


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def coalescer(slow):
    coalescer = Coalescer(slow)
    yield coalescer
    slow.may_go_on.set()
    coalescer.close()


async def begun(slow):
    await asyncio.to_thread(slow.has_begun.wait, 10)


async def asked(coalescer, slow, numbers):
    """Ask for number 0, and for the others while that is being answered."""
    tasks = [asyncio.create_task(coalescer.ask(0))]
    await begun(slow)
    tasks += [asyncio.create_task(coalescer.ask(n)) for n in numbers]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_request_is_answered_at_once(coalescer, slow):
    slow.may_go_on.set()
    assert await coalescer.ask(3) == 9
    assert slow.batches == [[3]]


async def test_what_arrives_meanwhile_is_answered_in_one_batch(coalescer, slow):
    tasks = await asked(coalescer, slow, range(1, 100))
    slow.may_go_on.set()
    assert await asyncio.gather(*tasks) == [n * n for n in range(100)]
    assert slow.batches == [[0], list(range(1, 100))]


async def test_a_batch_is_bounded(coalescer, slow):
    tasks = await asked(coalescer, slow, range(1, 600))
    slow.may_go_on.set()
    assert await asyncio.gather(*tasks) == [n * n for n in range(600)]
    assert [len(batch) for batch in slow.batches] == [1, 256, 256, 87]


async def test_one_bad_request_fails_alone(coalescer, slow):
    tasks = await asked(coalescer, slow, [1, -2, 3])
    slow.may_go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [results[0], results[1], results[3]] == [0, 1, 9]
    assert str(results[2]) == "negative: [-2]"


async def test_a_cancelled_request_is_not_answered(coalescer, slow):
    tasks = await asked(coalescer, slow, [1, 2, 3])
    tasks[2].cancel()
    await asyncio.sleep(0)
    slow.may_go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(2), asyncio.CancelledError)
    assert results == [0, 1, 9]
    assert slow.batches == [[0], [1, 3]]


async def test_the_event_loop_goes_on_meanwhile(coalescer, slow):
    tasks = await asked(coalescer, slow, [1])
    ticks = 0
    while ticks < 50:
        await asyncio.sleep(0)
        ticks += 1
    assert not any(task.done() for task in tasks)
    slow.may_go_on.set()
    await asyncio.gather(*tasks)


def test_several_event_loops_share_a_batch(coalescer, slow):
    slow.may_go_on.set()
    results = {}

    def run(n):
        results[n] = asyncio.run(coalescer.ask(n))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: n * n for n in range(8)}


def test_a_loop_that_is_gone_holds_nobody_up(coalescer, slow):
    async def abandon():
        task = asyncio.create_task(coalescer.ask(1))
        await begun(slow)
        task.cancel()

    asyncio.run(abandon())
    slow.may_go_on.set()
    assert asyncio.run(coalescer.ask(2)) == 4


async def test_after_closing_a_request_is_refused(coalescer, slow):
    slow.may_go_on.set()
    assert await coalescer.ask(1) == 1
    coalescer.close()
    for _ in range(2):
        with pytest.raises(IndexClosedError, match="closed"):
            await coalescer.ask(2)


async def test_a_bad_request_among_many_costs_few_passes(coalescer, slow):
    tasks = await asked(coalescer, slow, [*range(1, 100), -1, *range(101, 201)])
    slow.may_go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [n for n, r in enumerate(results) if isinstance(r, ValueError)] == [100]
    assert len(slow.batches) < 20


async def test_stop_iteration_reaches_its_caller_as_another_error():
    def answer(requests):
        raise StopIteration

    coalescer = Coalescer(answer)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(coalescer.ask(1), 10)
    coalescer.close()
