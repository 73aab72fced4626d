"""Jina's ColBERT checkpoints, whose backbones are built here instead of by the code that they name."""

from __future__ import annotations

from colbert_rag.encoder.jina.family import Family, family_of

__all__ = ["Family", "family_of"]
