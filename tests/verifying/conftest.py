from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import small_index


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory):
    """``original(kind)``: the folder of a small closed index, which nobody may change."""

    @cache
    def original(kind: str) -> Path:
        return small_index.build(kind, tmp_path_factory.mktemp(kind) / "index")

    return original


@pytest.fixture(params=["exact", "lists"])
def path(request, original, tmp_path):
    """A copy that a test may damage."""
    return small_index.copied(original(request.param), tmp_path / "index")
