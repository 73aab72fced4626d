"""What an index holds."""

from __future__ import annotations

from pathlib import Path

from colbert_rag.storage import Catalog, CatalogState, Reading
from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.schema import FORMAT_VERSION
from colbert_rag.types import IndexInfo

__all__ = ["index_info"]


def index_info(root: Path, catalog: Catalog) -> IndexInfo:
    """Count documents, tokens and bytes."""

    def counted(reading: Reading) -> tuple[CatalogState, tuple[int, int, int], int]:
        return catalog.state(reading), reading.totals(), len(reading.tombstones())

    state, (n_documents, n_tokens, text_bytes), n_deleted = catalog.read(counted)
    vector_bytes = sum(record.size for _, record in state.files)
    catalog_bytes = sum(path.stat().st_size for path in root.glob(CATALOG + "*"))
    overhead = vector_bytes + max(0, catalog_bytes - text_bytes)
    return IndexInfo(
        path=str(root),
        format_version=FORMAT_VERSION,
        n_documents=n_documents,
        n_tokens=n_tokens,
        n_deleted=n_deleted,
        n_segments=len(state.segments),
        dim=state.settings.dim,
        bits=state.settings.bits,
        pool_factor=state.settings.pool_factor,
        is_compressed=state.codec is not None,
        n_centroids=0 if state.codec is None else state.codec.n_centroids,
        codec_tokens=0 if state.codec is None else state.codec.trained_on,
        vector_bytes=vector_bytes,
        catalog_bytes=catalog_bytes,
        text_bytes=text_bytes,
        bytes_per_token=round(overhead / n_tokens, 2) if n_tokens else 0.0,
        model=state.settings.model,
    )
