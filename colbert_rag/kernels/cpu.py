"""The kernels of ``reference.py`` for processors, in numba."""

from __future__ import annotations

from colbert_rag.kernels.activating import gelu
from colbert_rag.kernels.dense import dot_scores, dot_table
from colbert_rag.kernels.inverted import best_centroids, fill_lists, list_sizes, probe
from colbert_rag.kernels.pruning import pruned
from colbert_rag.kernels.quantising import complete, round_each
from colbert_rag.kernels.residual import residual_scores, residual_table
from colbert_rag.kernels.scanning import approximate_scores, score_table
from colbert_rag.kernels.trellis import round_on_trellis

__all__ = [
    "approximate_scores",
    "best_centroids",
    "complete",
    "dot_scores",
    "dot_table",
    "fill_lists",
    "gelu",
    "list_sizes",
    "make_ready",
    "probe",
    "pruned",
    "residual_scores",
    "residual_table",
    "round_each",
    "round_on_trellis",
    "score_table",
]

_KERNELS = (
    approximate_scores,
    best_centroids,
    complete,
    dot_scores,
    dot_table,
    fill_lists,
    gelu,
    list_sizes,
    probe,
    pruned,
    residual_scores,
    residual_table,
    round_each,
    round_on_trellis,
    score_table,
)


def make_ready() -> None:
    """Load or compile all kernels for all types now: before a process forks, or where time or memory is measured."""
    for kernel in _KERNELS:
        kernel.make_ready()
