from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
import torch

from colbert_rag.kernels.cuda.launching import Documents

# there is no triton for macOS and Windows; tests/conftest.py asks for its interpreter
collect_ignore_glob = [] if find_spec("triton") else ["test_*.py"]

LENGTHS = (63, 1, 32, 130, 33)


@pytest.fixture
def documents() -> Callable[..., Documents]:
    """``documents(n)``: n documents of odd lengths, in an order that is not theirs."""

    def documents(n: int, lengths: Sequence[int] = LENGTHS) -> Documents:
        offsets = np.concatenate([[0], np.cumsum(list(islice(cycle(lengths), n)))]).astype(np.int64)
        order = np.random.default_rng(n).permutation(n)
        return Documents(*(torch.from_numpy(part[order]) for part in (offsets[:-1], offsets[1:])))

    return documents


@pytest.fixture
def by_reference() -> Callable[..., Any]:
    """``by_reference(score, documents, n_blocks)``: ``score(block, starts, ends)`` of each block, ``(G, N)``."""

    def by_reference(score: Callable[..., Any], documents: Documents, n_blocks: int) -> Any:
        return np.stack([score(block, documents.starts.numpy(), documents.ends.numpy()) for block in range(n_blocks)])

    return by_reference
