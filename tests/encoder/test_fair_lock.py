from __future__ import annotations

import threading
import time

import pytest

from colbert_rag.encoder.fair_lock import FairLock


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_threads_get_the_lock_in_the_order_in_which_they_asked():
    lock, order = FairLock(), []

    def ask(number):
        with lock:
            order.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    with lock:
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda n=number: len(lock._waiting) == n + 1)
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_thread_that_asks_again_at_once_does_not_overtake():
    lock, events = FairLock(), []

    def waiter():
        with lock:
            events.append("waiter")

    thread = threading.Thread(target=waiter)
    with lock:
        thread.start()
        wait_until(lambda: lock._waiting)
    with lock:
        events.append("greedy")
    thread.join(10)
    assert events == ["waiter", "greedy"]


def test_only_one_thread_is_inside():
    lock, inside, worst = FairLock(), [], []

    def work():
        for _ in range(200):
            with lock:
                inside.append(1)
                worst.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert max(worst) == 1
    assert len(worst) == 800


@pytest.mark.parametrize("is_handed_over", [False, True])
def test_waiter_that_is_interrupted_leaves_the_lock_usable(monkeypatch, is_handed_over):
    lock = FairLock()

    class InterruptedEvent(threading.Event):
        def wait(self, timeout=None):
            if is_handed_over:
                lock.__exit__()
            raise KeyboardInterrupt

    lock.__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Event", InterruptedEvent)
        with pytest.raises(KeyboardInterrupt):
            lock.__enter__()
    if not is_handed_over:
        lock.__exit__()
    assert not lock._waiting
    assert not lock._is_held
