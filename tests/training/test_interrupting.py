from __future__ import annotations

import signal
import threading

import pytest

from colbert_rag.training.interrupting import deferred_interrupt


def interrupted(times, reached):
    with deferred_interrupt() as flag:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            reached.append(flag.is_set)


def test_an_interrupt_is_noted_and_raised_only_when_the_block_is_over():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(1, reached)
    assert reached == [True]


def test_a_second_interrupt_is_raised_at_once():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, reached)
    assert reached == [True]


def test_the_handler_of_before_is_back_afterwards_and_nothing_is_raised_without_an_interrupt():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as flag:
        assert signal.getsignal(signal.SIGINT) is not before
    assert not flag.is_set
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupts_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        reached = []
        interrupted(2, reached)
        assert reached == [False, False]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_no_handler():
    seen = []

    def work():
        with deferred_interrupt():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
