from __future__ import annotations

import pytest

from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder

TEXTS = [f"word{n} alpha{n % 7} and something longer{n} to be found" for n in range(12)]


@pytest.fixture(params=["plain", "compressed"])
def path(request, tmp_path):
    """Folder of a closed index with two segments and a deleted document."""
    path = tmp_path / "index"
    with Index.create(path, HashEncoder(16), exact_tokens=0 if request.param == "compressed" else 10**9) as index:
        index.add(Document(f"d{n}", text, {"n": n}) for n, text in enumerate(TEXTS[:8]))
        index.add(Document(f"d{n}", text, {"n": n}) for n, text in enumerate(TEXTS[8:], start=8))
        index.delete(["d3"])
    return path


def test_info_counts_what_is_in_the_folder(path):
    with Index.open(path, HashEncoder(16)) as index:
        info = index.info()
    is_compressed = any(p.name.startswith("codec-") for p in path.iterdir())
    lengths = [len(text.split()) for n, text in enumerate(TEXTS) if n != 3]
    assert (info.n_documents, info.n_deleted, info.n_segments, info.n_tokens) == (11, 1, 2, sum(lengths))
    assert info.vector_bytes == sum(p.stat().st_size for p in path.rglob("*.npy"))
    assert info.text_bytes == sum(len(text) for n, text in enumerate(TEXTS) if n != 3)
    assert (info.dim, info.bits, info.is_compressed, info.path) == (16, 4, is_compressed, str(path))
    assert (info.n_centroids > 0, info.codec_tokens > 0) == (is_compressed, is_compressed)
    overhead = info.vector_bytes + info.catalog_bytes - info.text_bytes
    assert info.bytes_per_token == pytest.approx(overhead / info.n_tokens, abs=0.01)
    assert info.model == {"model": None, "dim": 16, "hash_seed": 0}


def test_info_of_an_empty_index_has_no_bytes_per_token(tmp_path):
    with Index.create(tmp_path / "empty", dim=4) as index:
        info = index.info()
    assert (info.n_documents, info.n_tokens, info.n_segments, info.bytes_per_token) == (0, 0, 0, 0.0)
