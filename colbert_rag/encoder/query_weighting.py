"""What weighs the tokens of a model's queries: found in it, put into it, taken out, and read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

    from colbert_rag.encoder.minilm.weighting import QueryWeighting

__all__ = ["DIRECTION", "SETTINGS", "add_weighting", "query_weighting", "weigh_alike", "weigh_queries"]

# sentence-transformers refuses modules of other packages, and passes over settings that it does not know
SETTINGS, DIRECTION = "config_sentence_transformers.json", "colbert_rag_query_direction"
_LARGEST = 3.4e38  # that float32 holds


def query_weighting(model: MultiVectorEncoder) -> QueryWeighting | None:
    """What weighs the tokens of a model's queries, if anything does."""
    from colbert_rag.encoder.minilm.weighting import QueryWeighting

    return next((module for module in model if isinstance(module, QueryWeighting)), None)


def weigh_queries(model: MultiVectorEncoder) -> QueryWeighting:
    """What weighs the tokens of a model's queries; where nothing does, it is put there, and all count alike."""
    from colbert_rag.encoder.minilm.weighting import QueryWeighting

    weighting = query_weighting(model)
    if weighting is None:
        dim = model.get_embedding_dimension()
        assert dim is not None
        weighting = QueryWeighting(dim).to(model.device)
        model.append(weighting)
    return weighting


def weigh_alike(model: MultiVectorEncoder) -> None:
    """Take out what weighs the tokens of a model's queries, if anything does."""
    if query_weighting(model) is not None:
        # nothing comes after it
        model.pop(-1)


def add_weighting(model: MultiVectorEncoder, settings: Mapping[str, JsonValue], name: str) -> None:
    """Put into a model what weighs its queries, if the settings in its folder say so.

    Args:
        model: As sentence-transformers loaded it.
        settings: Of the file ``SETTINGS``.
        name: Of the model.

    Raises:
        ModelUnsupportedError: what it says is not a finite number for each dimension.
    """
    import torch

    direction = settings.get(DIRECTION)
    if direction is None:
        return
    width = model.get_embedding_dimension()
    if not isinstance(direction, list) or len(direction) != width or not all(map(_is_number, direction)):
        raise ModelUnsupportedError(
            f"{name}: {DIRECTION} in {SETTINGS} is not a list of {width} finite numbers, one for each dimension. "
            f"Fetch or train the model again."
        )
    weigh_queries(model).load_state_dict({"direction": torch.tensor(direction, dtype=torch.float32)})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
