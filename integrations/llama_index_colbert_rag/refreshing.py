"""What a refresh must write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.schema import Document as LlamaDocument
from typing_extensions import Self

from colbert_rag import Index
from llama_index_colbert_rag.arguments import check_names
from llama_index_colbert_rag.filters import from_sources
from llama_index_colbert_rag.sources import source_hash

__all__ = ["HeldNodes", "transformation_options"]


@dataclass(frozen=True, slots=True)
class HeldNodes:
    """What an index holds of some documents.

    Attributes:
        hashes: By document id, the hashes of the document that its nodes were cut from: one, unless others wrote.
    """

    hashes: dict[str, set[str | None]]

    @classmethod
    def of(cls, documents: Sequence[LlamaDocument], index: Index) -> Self:
        """Look them up."""
        ids = dict.fromkeys(document.id_ for document in documents)
        return cls({i: {source_hash(node) for node in index.find(from_sources([i]))} for i in ids})

    def is_changed(self, document: LlamaDocument) -> bool:
        """Whether the document is new, or another one than its nodes were cut from."""
        return self.hashes[document.id_] != {document.hash}

    def changed(self, documents: Sequence[LlamaDocument]) -> list[LlamaDocument]:
        """All documents of the ids of which one changed: those of one id are replaced together."""
        ids = {document.id_ for document in documents if self.is_changed(document)}
        return [document for document in documents if document.id_ in ids]


def transformation_options(update_kwargs: dict[str, Any]) -> dict[str, Any]:
    """What transformations are told; nothing else applies, because there is no docstore to delete from.

    Raises:
        InvalidArgumentError: a name that LlamaIndex does not know here.
    """
    check_names("refreshing and updating", update_kwargs, ("insert_kwargs", "update_kwargs", "delete_kwargs"))
    return dict(update_kwargs.get("insert_kwargs", {}))
