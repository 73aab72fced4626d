"""Keeping an index on disk: array files, segments, and the catalog that commits them."""

from colbert_rag.storage.access import absolute_folder, index_folder
from colbert_rag.storage.catalog import Catalog, CatalogState
from colbert_rag.storage.creating import check_is_vacant, create_catalog
from colbert_rag.storage.files import remove_folder, sha256_of
from colbert_rag.storage.full_text import parts_of, words_of
from colbert_rag.storage.reading import Reading
from colbert_rag.storage.records import CodecRecord, FileRecord, IndexSettings, SegmentRecord
from colbert_rag.storage.rows import StoredDocument, content_of
from colbert_rag.storage.segment import Segment, SegmentWriter, TokenColumns, fresh_name, is_data_folder
from colbert_rag.storage.writing import Writing

__all__ = [
    "Catalog",
    "CatalogState",
    "CodecRecord",
    "FileRecord",
    "IndexSettings",
    "Reading",
    "Segment",
    "SegmentRecord",
    "SegmentWriter",
    "StoredDocument",
    "TokenColumns",
    "Writing",
    "absolute_folder",
    "check_is_vacant",
    "content_of",
    "create_catalog",
    "fresh_name",
    "index_folder",
    "is_data_folder",
    "parts_of",
    "remove_folder",
    "sha256_of",
    "words_of",
]
