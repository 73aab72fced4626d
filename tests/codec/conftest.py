from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def clustered() -> Callable[..., Any]:
    """``clustered(n, dim)``: unit vectors around 64 directions, as token vectors lie around their words."""

    def clustered(n: int, dim: int, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        directions = np.random.default_rng(99).standard_normal((64, dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        rows = directions[rng.integers(0, 64, n)] + 0.7 * rng.standard_normal((n, dim)) / np.sqrt(dim)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return clustered
