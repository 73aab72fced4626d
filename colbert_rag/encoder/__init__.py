"""Text to token vectors: the built-in model, or any late-interaction checkpoint."""

from __future__ import annotations

from colbert_rag.encoder.encoder import Encoder

__all__ = ["Encoder"]
