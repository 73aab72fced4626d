"""What lets an ingestion pipeline feed a store that makes its own vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import BaseNode, TransformComponent

__all__ = ["LateInteractionMarker"]


class LateInteractionMarker(TransformComponent):
    """Marks nodes as ready for a :class:`ColBERTVectorStore`; the last transformation of a pipeline.

    ``IngestionPipeline`` leaves out nodes whose embedding is None, without a word. The marker gives them an empty
    one, on a copy; the store makes the token vectors itself. A node that has an embedding keeps it.
    """

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "LateInteractionMarker"

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Mark nodes; options of other transformations are left to them."""
        return [node if node.embedding is not None else node.model_copy(update={"embedding": []}) for node in nodes]
