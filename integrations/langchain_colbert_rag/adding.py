"""What one call adds to a store: blank documents are left out, and errors say where in the call a document stands."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from langchain_core.documents import Document
from typing_extensions import Self

from colbert_rag import Document as CoreDocument
from colbert_rag import InvalidArgumentError, InvalidDocumentError, InvalidVectorsError

__all__ = ["Addition"]

logger = logging.getLogger(__name__)

# as the core names a document in an error
_NAMED = re.compile(r"document '([0-9a-f-]{36})'")


@dataclass(frozen=True, slots=True)
class Addition:
    """Documents that are to be added together.

    Attributes:
        documents: As the core takes them; an id is that of the call, else the document's own, else a new one.
        places: Of each new id, where in the call its document stands.
    """

    documents: list[CoreDocument]
    places: dict[str, str]

    @classmethod
    def of(cls, documents: Iterable[Document], ids: Sequence[str | None] | None) -> Self:
        """The documents of a call; blank ones are left out with a warning.

        Raises:
            InvalidArgumentError: no list of documents, or no list of ids.
            InvalidDocumentError: another number of ids than of documents.
        """
        _check_ids(ids)
        found = _listed(documents)
        given = [None] * len(found) if ids is None else list(ids)
        if len(given) != len(found):
            msg = f"{len(given)} ids for {len(found)} documents; give one for each. Nothing was written."
            raise InvalidDocumentError(msg)
        _warn_of_blank_ones(found)
        added, places = [], {}
        for n, (given_id, document) in enumerate(zip(given, found, strict=True)):
            if not document.page_content.strip():
                continue
            # an empty id is left to the core, which refuses it
            chosen = document.id if given_id is None else given_id
            if chosen is None:
                chosen = str(uuid.uuid4())
                places[chosen] = _place(n, document)
            added.append(CoreDocument(chosen, document.page_content, document.metadata))
        return cls(added, places)

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """An error of the core names a document without an id by its place: nobody knows the id that was made here."""
        try:
            yield
        except (InvalidDocumentError, InvalidVectorsError) as err:
            err.args = (_NAMED.sub(lambda name: self.places.get(name[1], name[0]), str(err)),)
            raise


def _check_ids(ids: object) -> None:
    if isinstance(ids, str) or not (ids is None or isinstance(ids, Iterable)):
        msg = f"ids must be a list of str, one for each document, found {type(ids).__name__}. Nothing was written."
        raise InvalidArgumentError(msg)


def _listed(documents: object) -> list[Document]:
    # one document is iterable as well: pydantic goes through its fields
    if isinstance(documents, Document | str) or not isinstance(documents, Iterable):
        msg = (
            f"documents must be a list of LangChain Document, found {type(documents).__name__}; wrap one document in a "
            "list. Nothing was written."
        )
        raise InvalidArgumentError(msg)
    found = list(documents)
    for n, document in enumerate(found):
        if not isinstance(document, Document):
            msg = (
                f"document number {n} must be a LangChain Document, found {type(document).__name__}; texts go to "
                "add_texts. Nothing was written."
            )
            raise InvalidArgumentError(msg)
    return found


def _warn_of_blank_ones(documents: Sequence[Document]) -> None:
    blank = [n for n, document in enumerate(documents) if not document.page_content.strip()]
    if blank:
        first = _place(blank[0], documents[blank[0]])
        logger.warning("%d of %d documents are blank and left out; the first is %s", len(blank), len(documents), first)


def _place(n: int, document: Document) -> str:
    source = document.metadata.get("source")
    return f"document number {n}" + (f" (source {source!r})" if isinstance(source, str) else "")
