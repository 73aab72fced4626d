"""Scoring kernels: ``reference.py`` says what they compute, ``cpu.py`` computes it fast."""

from colbert_rag.kernels.maxsim import maxsim, token_similarities

__all__ = ["maxsim", "token_similarities"]
