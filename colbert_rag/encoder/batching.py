"""Mini-batches of like length within a token budget, halved where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from colbert_rag.encoder.tokenise import IdArray

__all__ = ["is_out_of_memory", "plan_batches", "run_with_backoff"]

Result = TypeVar("Result")


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group sequences by falling length, so that little padding is computed.

    Args:
        lengths: Tokens of each sequence.
        budget: Tokens of a batch, padding included; a longer sequence makes a batch of its own.

    Returns:
        Positions in ``lengths``, each once; the largest batch comes first, so that a lack of memory
        shows at once.
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # the first of a batch is its longest
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def run_with_backoff(batch: Sequence[IdArray], run: Callable[[Sequence[IdArray]], list[Result]]) -> list[Result]:
    """Run a batch; where memory runs out, run its two halves instead.

    Args:
        batch: Token ids of each sequence, ``(T,) int64``.
        run: Gives one result per sequence.

    Returns:
        One result per sequence, in order.

    Raises:
        RuntimeError: a single sequence is too much for the device's memory.
    """
    try:
        return run(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise type(error)(
                f"Out of memory while encoding one window of {len(batch[0]):,} tokens. Set document_length to "
                f"less than that, or use a device with more memory (device='cpu')."
            ) from error
    # outside the except clause: there, the traceback would keep the failed batch's tensors alive
    _free_cached_memory()
    half = len(batch) // 2
    return run_with_backoff(batch[:half], run) + run_with_backoff(batch[half:], run)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on the device or the CPU."""
    # torch.OutOfMemoryError is a RuntimeError with these words; the CPU allocator has words of its own
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _free_cached_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
