from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.encoder.query_cache import QueryCache


def test_query_unused_for_longest_is_dropped():
    cache = QueryCache(2)
    for text in ("a", "b"):
        cache.put(text, np.zeros((1, 2), np.float32))
    cache.get("a")
    cache.put("c", np.zeros((1, 2), np.float32))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.get("c") is not None


def test_cached_vectors_cannot_be_written():
    cache = QueryCache(1)
    vectors = np.zeros((1, 2), np.float32)
    cache.put("a", vectors)
    with pytest.raises(ValueError, match="read-only"):
        vectors[0] = 1
