"""What a user may pass in; everything else is refused before anything is written."""

from colbert_rag.validation.documents import (
    check_commit_every,
    check_documents,
    check_ids,
    check_pair,
    check_stream,
    check_texts,
)
from colbert_rag.validation.options import (
    check_create_options,
    check_k,
    check_limit,
    check_mode,
    check_pool_factor,
    check_queries,
    check_search_config,
    check_timeout,
)
from colbert_rag.validation.vectors import (
    check_count,
    check_queries_encoded,
    check_query_vectors,
    check_token_vectors,
    check_vector_list,
)

__all__ = [
    "check_commit_every",
    "check_count",
    "check_create_options",
    "check_documents",
    "check_ids",
    "check_k",
    "check_limit",
    "check_mode",
    "check_pair",
    "check_pool_factor",
    "check_queries",
    "check_queries_encoded",
    "check_query_vectors",
    "check_search_config",
    "check_stream",
    "check_texts",
    "check_timeout",
    "check_token_vectors",
    "check_vector_list",
]
