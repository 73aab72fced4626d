from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from colbert_rag.search.device.ranker import DeviceRanker

# there is no triton for macOS and Windows; tests/conftest.py asks for its interpreter
collect_ignore_glob = [] if find_spec("triton") else ["test_ra*.py", "test_re*.py"]

PLENTY = 1 << 40


@pytest.fixture
def ranker() -> Callable[..., DeviceRanker]:
    """``ranker(rooms=(...,))``: as many devices that are not there; the processor stands for each."""

    def ranker(rooms: tuple[int, ...] = (PLENTY,), **options: Any) -> DeviceRanker:
        from colbert_rag.search.device.cards import Card
        from colbert_rag.search.device.ranker import DeviceRanker

        cards = [Card(torch.device("cpu", n), room) for n, room in enumerate(rooms)]
        return DeviceRanker(cards, **{"wanted": "cuda"} | options)

    return ranker
