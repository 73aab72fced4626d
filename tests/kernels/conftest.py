from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest

LENGTHS = (63, 1, 31, 32, 33)

Bounds = tuple[Any, Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def bounds() -> Callable[..., Bounds]:
    """``bounds(n)``: starts and ends of n documents of odd lengths, in an order that is not theirs."""

    def bounds(n: int, lengths: Sequence[int] = LENGTHS) -> Bounds:
        offsets = np.concatenate([[0], np.cumsum(list(islice(cycle(lengths), n)))]).astype(np.int64)
        order = np.random.default_rng(n).permutation(n)
        return offsets[:-1][order], offsets[1:][order]

    return bounds


@pytest.fixture
def unit_rows(rng: np.random.Generator) -> Callable[[int, int], Any]:
    def unit_rows(n: int, dim: int) -> Any:
        rows = rng.standard_normal((n, dim))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return unit_rows


@pytest.fixture
def mapped(tmp_path: Any) -> Callable[[Any], Any]:
    """An array as it comes out of an index: read-only, in a memory map, at offset 128."""

    def mapped(array: Any) -> Any:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        loaded = np.load(path, mmap_mode="r")
        return loaded.view(np.ndarray)

    return mapped
