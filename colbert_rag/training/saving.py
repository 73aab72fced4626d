"""A trained model in sentence-transformers' format, with what weighs its queries beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.encoder.query_weighting import DIRECTION, SETTINGS, query_weighting, weigh_alike

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["save_model"]


def save_model(model: MultiVectorEncoder, folder: Path) -> None:
    """Write a model in sentence-transformers' format; there, all tokens of a query count alike, and here as they do.

    Args:
        model: The model.
        folder: New or empty.
    """
    weighting = query_weighting(model)
    if weighting is None:
        model.save(str(folder), create_model_card=False)
        return
    weigh_alike(model)
    try:
        model.save(str(folder), create_model_card=False)
    finally:
        model.append(weighting)
    settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    settings[DIRECTION] = weighting.direction.tolist()
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
