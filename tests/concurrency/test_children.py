"""The processes of a test end with it, also of one that fails."""

from __future__ import annotations

import os
import signal

import pytest
from children import fork, join, running

pytestmark = pytest.mark.usefixtures("needs_fork")


def test_no_process_outlives_a_test_that_fails():
    with pytest.raises(ZeroDivisionError), running(signal.pause, signal.pause, lambda: None) as processes:
        raise ZeroDivisionError
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_process_that_was_joined_is_left_alone():
    with running(lambda: None) as processes:
        assert join(*processes) == [0]


def test_a_process_that_hangs_ends_at_its_time():
    assert join(fork(signal.pause, most_seconds=1)) == [-signal.SIGALRM]
