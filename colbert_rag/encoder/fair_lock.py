"""A lock that is handed over in the order in which it was asked for."""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["FairLock"]


class FairLock:
    """A first-come, first-served lock.

    ``threading.Lock`` lets a thread that releases it and asks again at once overtake all who wait: a
    thread that encodes batch after batch would keep queries out for many batches.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_held = False
        self._waiting: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            turn.wait()
        except BaseException:
            self._leave_queue(turn)
            raise

    def __exit__(self, *exception: object) -> None:
        with self._guard:
            self._hand_over()

    def _hand_over(self) -> None:
        # the lock stays held on behalf of whoever is next
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._is_held = False

    def _leave_queue(self, turn: threading.Event) -> None:
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._hand_over()
