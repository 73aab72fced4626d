"""Late-interaction (ColBERT) retrieval for RAG.

Importing this package is light: torch, sentence-transformers and numba load when a name that needs
them is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from colbert_rag import errors, filters
from colbert_rag.context import Context, Excerpt, build_context, estimate_tokens, passages_to_fill
from colbert_rag.errors import *  # noqa: F403
from colbert_rag.types import (
    BackupReport,
    Document,
    Explanation,
    Hit,
    IndexInfo,
    Mode,
    Passage,
    QueryToken,
    RestoreReport,
    SearchConfig,
    TextEncoder,
    TokenLabel,
    TokenMatch,
    TokenVectors,
    VerifyReport,
)
from colbert_rag.version import __version__

if TYPE_CHECKING:
    from colbert_rag.encoder import Encoder
    from colbert_rag.index import Index
    from colbert_rag.rerank import RankedText, Reranker
    from colbert_rag.restoring import restore_index

_LAZY = {
    "Encoder": "colbert_rag.encoder",
    "Index": "colbert_rag.index",
    "RankedText": "colbert_rag.rerank",
    "Reranker": "colbert_rag.rerank",
    "restore_index": "colbert_rag.restoring",
}

__all__ = [  # noqa: PLE0604
    "BackupReport",
    "Context",
    "Document",
    "Encoder",
    "Excerpt",
    "Explanation",
    "Hit",
    "Index",
    "IndexInfo",
    "Mode",
    "Passage",
    "QueryToken",
    "RankedText",
    "Reranker",
    "RestoreReport",
    "SearchConfig",
    "TextEncoder",
    "TokenLabel",
    "TokenMatch",
    "TokenVectors",
    "VerifyReport",
    "__version__",
    "build_context",
    "estimate_tokens",
    "filters",
    "passages_to_fill",
    "restore_index",
    *errors.__all__,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
