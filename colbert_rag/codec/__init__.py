"""Compression of token vectors: centroids plus quantised residuals."""

from colbert_rag.codec.codec import Codec, EncodedTokens, QuantisedQuery
from colbert_rag.codec.training import n_centroids_for, require_faiss, train_codec

__all__ = ["Codec", "EncodedTokens", "QuantisedQuery", "n_centroids_for", "require_faiss", "train_codec"]
