"""How well a document answers at one place: MaxSim of its best tokens in a row."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from colbert_rag.types import Float32Array

__all__ = ["LOCAL_TOKENS", "local_score"]

LOCAL_TOKENS = 256
# windows begin at every second block of so many tokens
_BLOCK = 32
_STEP = 2


def local_score(similarities: Float32Array) -> float:
    """MaxSim of a query with the best ``LOCAL_TOKENS`` tokens in a row; windows begin 64 tokens apart.

    A long document gathers good matches for single query tokens from all over its text, which says little; a place
    that matches them all says more (as passage retrieval has it: Callan, SIGIR 1994).

    Args:
        similarities: ``(T, Q) float32``, token by query token; T may be anything from 1 on.
    """
    tops = np.maximum.reduceat(similarities, np.arange(0, len(similarities), _BLOCK), axis=0)
    width = min(LOCAL_TOKENS // _BLOCK, len(tops))
    windows = sliding_window_view(tops, width, axis=0)
    # the last window ends with the document, whatever the step
    firsts = np.append(np.arange(0, len(windows) - 1, _STEP), len(windows) - 1)
    return float(windows[firsts].max(axis=-1).sum(axis=-1).max())
