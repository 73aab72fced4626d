"""One model on several devices, which share the mini-batches of documents."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from colbert_rag.encoder.batching import is_out_of_memory
from colbert_rag.encoder.precision import Precision
from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.errors import DeviceError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["replicas", "shared"]

T = TypeVar("T")
R = TypeVar("R")


def replicas(first: TokenModel, devices: Sequence[str], dim: int | None, precision: Precision) -> list[TokenModel]:
    """A model, and a copy of it on each of some other devices, with a tokenizer and a lock of its own.

    Args:
        first: The model, which stays where it is.
        devices: Where the copies go.
        dim: As of the model.
        precision: As of the model.

    Raises:
        DeviceError: a device is not there.
    """
    return [first, *(TokenModel(_copied(first.model, device), dim, precision) for device in devices)]


def _copied(model: MultiVectorEncoder, device: str) -> MultiVectorEncoder:
    try:
        return copy.deepcopy(model).to(device)
    # torch asserts that it was built for CUDA
    except (RuntimeError, AssertionError) as err:
        if is_out_of_memory(err):
            raise
        msg = (
            f"{device}: the model cannot be copied there ({type(err).__name__}: {err}). Name GPUs that torch sees; "
            "torch.cuda.device_count() says how many."
        )
        raise DeviceError(msg) from err


@contextmanager
def shared(
    work: Callable[[TokenModel, T], R], models: Sequence[TokenModel], items: Sequence[T]
) -> Iterator[Iterator[tuple[T, R]]]:
    """``work(model, item)`` of every item, by whichever model is free, each in a thread of its own.

    One model works in this thread. Whatever is raised here or there, no thread begins another item then, and none
    outlives the block.

    Yields:
        Each item with its result, in the order in which they are done.
    """
    if len(models) == 1 or len(items) <= 1:
        yield ((item, work(models[0], item)) for item in items)
        return
    # a step of an iterator is taken whole by one thread
    left = iter(items)
    done: SimpleQueue[tuple[T, R] | BaseException] = SimpleQueue()

    def take_some(model: TokenModel) -> None:
        try:
            for item in left:
                done.put((item, work(model, item)))
        except BaseException as err:
            done.put(err)

    threads = [
        Thread(target=copy_context().run, args=(take_some, model), name="colbert_rag replica") for model in models
    ]
    try:
        for thread in threads:
            thread.start()
        yield (_raised(done.get()) for _ in items)
    finally:
        deque(left, maxlen=0)
        for thread in threads:
            if thread.is_alive():
                thread.join()


def _raised(found: tuple[T, R] | BaseException) -> tuple[T, R]:
    if isinstance(found, BaseException):
        raise found
    return found
