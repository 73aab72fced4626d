"""Scoring kernels: ``reference.py`` says what they compute, ``cpu.py`` computes it fast."""

from colbert_rag.kernels.gelu import gelu
from colbert_rag.kernels.maxsim import blocked_query, maxsim, token_similarities

__all__ = ["blocked_query", "gelu", "maxsim", "token_similarities"]
