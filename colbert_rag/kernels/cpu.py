"""The kernels of ``reference.py`` for processors, in numba."""

from colbert_rag.kernels.dense import dot_scores, dot_table
from colbert_rag.kernels.inverted import best_centroids, fill_lists, list_sizes, probe
from colbert_rag.kernels.quantising import quantise
from colbert_rag.kernels.residual import residual_scores, residual_table
from colbert_rag.kernels.scanning import approximate_scores, score_table

__all__ = [
    "approximate_scores",
    "best_centroids",
    "dot_scores",
    "dot_table",
    "fill_lists",
    "list_sizes",
    "probe",
    "quantise",
    "residual_scores",
    "residual_table",
    "score_table",
]
