"""Encodes the next documents in a thread of its own while the ones before are compressed and written."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias, TypeVar

from colbert_rag.errors import IndexClosedError
from colbert_rag.types import Document, Progress, TokenVectors

__all__ = ["Encode", "Encoding", "Vectors", "never"]

C = TypeVar("C")

Encode: TypeAlias = Callable[[Sequence[Document], Progress], Sequence[TokenVectors]]
Vectors: TypeAlias = Callable[[Progress], Sequence[TokenVectors]]
"""Gives the vectors of documents, or raises what the encoder raised; called once, and tells progress meanwhile."""


class _StoppedError(BaseException):
    """Ends an encoder whose vectors nobody waits for; no ``except Exception`` of its keeps it going."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    vectors: Sequence[TokenVectors] = ()
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """Documents to be encoded, and what is said of them: progress, and at last the outcome."""

    documents: Sequence[Document]
    said: SimpleQueue[tuple[str, int, int | None] | _Outcome] = field(default_factory=SimpleQueue)


class Encoding:
    """Encodes the documents of one call; not for several threads.

    Where encoding leaves the processor to others, it goes on in one thread, at most one chunk ahead of what is written.
    An encoder on the processor takes all of its cores: it is called in this thread, when it is asked for vectors.

    Args:
        encode: What encodes; never called twice at a time.
        is_elsewhere: Whether it works on another device than the processor; asked once, before the first documents.
        check_process: Raises in a forked child, which has no such thread.
    """

    def __init__(
        self, encode: Encode, is_elsewhere: Callable[[], bool], check_process: Callable[[], None] = lambda: None
    ) -> None:
        self._encode = encode
        self._is_elsewhere = is_elsewhere
        self._check_process = check_process
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._is_known = self._is_over = False

    def each(self, chunks: Iterable[tuple[C, Sequence[Document]]]) -> Iterator[tuple[C, Sequence[Document], Vectors]]:
        """Chunks in their order, each with the documents of it that are to be encoded and with their vectors.

        With a thread the next chunk is taken before a chunk is given out, so that the thread has something to do.
        """
        before = None
        for chunk, documents in chunks:
            here = chunk, documents, self._begun(documents)
            if self._thread is None:
                yield here
                continue
            if before is not None:
                yield before
            before = here
        if before is not None:
            yield before

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Around a transaction: where it fails the encoder has stopped before the next writer may call it."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the encoder at its next progress, and end the thread."""
        self._is_over = True
        self._jobs.put(None)
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _begun(self, documents: Sequence[Document]) -> Vectors:
        if not documents:
            return lambda _: ()
        if not self._is_known:
            self._is_known = True
            if self._is_elsewhere():
                # an encoder finds the settings of the caller's context there
                self._thread = Thread(target=copy_context().run, args=(self._run,), name="colbert_rag encoding")
                self._thread.start()
        if self._thread is None:
            return partial(self._encode, documents)
        job = _Job(documents)
        self._jobs.put(job)
        return partial(self._awaited, job)

    def _awaited(self, job: _Job, progress: Progress) -> Sequence[TokenVectors]:
        while True:
            self._check_process()
            said = job.said.get()
            if not isinstance(said, _Outcome):
                progress(*said)
                continue
            try:
                if said.error is not None:
                    raise said.error
                return said.vectors
            finally:
                # an error holds this frame, which would hold the error
                del said

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.said.put(self._outcome(job))
            self._end_in_child()
            del job

    def _end_in_child(self) -> None:
        """End a process that the encoder has forked: it is this thread alone, and nobody waits for its vectors."""
        try:
            self._check_process()
        except IndexClosedError:
            traceback.print_exc()
            # in an ordinary exit torch waits for threads that the child does not have
            os._exit(1)

    def _outcome(self, job: _Job) -> _Outcome:
        def tell(stage: str, done: int, total: int | None) -> None:
            if self._is_over:
                raise _StoppedError
            job.said.put((stage, done, total))

        try:
            return _Outcome() if self._is_over else _Outcome(self._encode(job.documents, tell))
        except BaseException as err:
            return _Outcome(error=err)


def never() -> bool:
    """Vectors that are there already need no thread."""
    return False
