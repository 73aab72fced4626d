"""Compression of token vectors: centroids plus quantised residuals, and fewer vectors by pooling."""

from colbert_rag.codec.clustering import require_faiss
from colbert_rag.codec.codec import Codec, EncodedTokens, QuantisedQueries, QuantisedQuery
from colbert_rag.codec.packer import Packer, ProcessorPacker
from colbert_rag.codec.pooling import pool_tokens
from colbert_rag.codec.training import n_centroids_for, train_codec

__all__ = [
    "Codec",
    "EncodedTokens",
    "Packer",
    "ProcessorPacker",
    "QuantisedQueries",
    "QuantisedQuery",
    "n_centroids_for",
    "pool_tokens",
    "require_faiss",
    "train_codec",
]
