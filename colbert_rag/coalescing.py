"""Concurrent callers share one pass: what arrives while one batch is answered makes up the next."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from colbert_rag.errors import IndexClosedError

__all__ = ["Coalescer"]

# a batch is answered whole before its first caller goes on, so it is bounded
_MOST = 256

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Caller(Generic[Request, Answer]):
    request: Request
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]

    def reply(self, answer: Answer | BaseException) -> None:
        def settle() -> None:
            if self.future.done():
                return
            if isinstance(answer, StopIteration):
                # a future takes every exception but this one, and would wait for ever
                self.future.set_exception(RuntimeError("StopIteration in a search"))
            elif isinstance(answer, BaseException):
                self.future.set_exception(answer)
            else:
                self.future.set_result(answer)

        # a loop that is closed has nobody waiting in it
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(settle)


class Coalescer(Generic[Request, Answer]):
    """Answers requests of any number of coroutines, in any number of event loops, from one thread.

    A lone request is answered at once; nobody waits for company.

    Args:
        answer: Answers several requests together, in order.
    """

    def __init__(self, answer: Callable[[Sequence[Request]], Sequence[Answer]]) -> None:
        self._answer = answer
        self._guard = threading.Lock()
        self._waiting: deque[_Caller[Request, Answer]] = deque()
        self._is_running = False
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="colbert_rag_async")

    async def ask(self, request: Request) -> Answer:
        """The answer to one request; the event loop goes on meanwhile.

        Raises:
            IndexClosedError: after :meth:`close`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        caller = _Caller(request, loop, future)
        with self._guard:
            if self._is_closed:
                msg = "the index is closed. Open it again with Index.open."
                raise IndexClosedError(msg)
            self._waiting.append(caller)
            if not self._is_running:
                self._thread.submit(self._run)
                self._is_running = True
        return await future

    def _run(self) -> None:
        while True:
            with self._guard:
                callers = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                if not callers:
                    self._is_running = False
                    return
            self._reply(callers)

    def _reply(self, waiting: Sequence[_Caller[Request, Answer]]) -> None:
        callers = [caller for caller in waiting if not caller.future.cancelled()]
        if not callers:
            return
        try:
            answers: Sequence[Answer | BaseException] = self._answer([caller.request for caller in callers])
        except BaseException as err:
            if len(callers) > 1:
                # one bad request must not fail the others; halving finds it in few passes
                half = len(callers) // 2
                self._reply(callers[:half])
                self._reply(callers[half:])
                return
            answers = [err]
        for caller, answer in zip(callers, answers, strict=True):
            caller.reply(answer)

    def close(self) -> None:
        """End the thread once it has answered what it has taken up."""
        with self._guard:
            self._is_closed = True
        self._thread.shutdown(wait=False)
