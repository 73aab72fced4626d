"""Arguments that LlamaIndex hands through: understood, or refused with words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from llama_index.core.schema import BaseNode

from colbert_rag import InvalidArgumentError

__all__ = ["check_documents", "check_names", "check_type", "id_list"]

_HINTS = {
    "embed_model": "Late interaction makes a vector of every token: pass encoder= in its place.",
    "top_k": "LlamaIndex calls it similarity_top_k.",
}


def check_names(call: str, given: Iterable[str], known: Iterable[str] = ()) -> None:
    """Refuse keyword arguments that a call does not take.

    Raises:
        InvalidArgumentError: naming the call, the argument, those that the call takes, and the nearest of them.
    """
    names = list(known)
    for name in given:
        if name not in names:
            takes = f"; it takes {', '.join(names)}" if names else ""
            msg = f"{call} takes no argument {name!r}{takes}. {_hint(name, names)}".rstrip()
            raise InvalidArgumentError(msg)


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return _HINTS.get(name, f"Did you mean {near[0]!r}?" if near else "")


def check_type(name: str, given: object, wanted: type) -> None:
    """Refuse an argument of another class.

    Raises:
        InvalidArgumentError: naming the argument, its class, and the class that it should have.
    """
    if not isinstance(given, wanted):
        msg = f"{name} must be of type {wanted.__name__}, found {type(given).__name__}."
        raise InvalidArgumentError(msg)


def check_documents(call: str, documents: object) -> None:
    """Refuse what is no list of documents.

    Raises:
        InvalidArgumentError: a document by itself, or something else among them.
    """
    if not isinstance(documents, Sequence) or isinstance(documents, str):
        msg = f"{call} takes a list of documents, found {type(documents).__name__}. For one document write [document]."
        raise InvalidArgumentError(msg)
    for n, document in enumerate(documents):
        if not isinstance(document, BaseNode):
            found = type(document).__name__
            msg = f"{call} takes documents of llama_index, found {found} at position {n}. Make it Document(text=...)."
            raise InvalidArgumentError(msg)


def id_list(name: str, ids: Iterable[str] | None) -> list[str] | None:
    """Ids as a list, None as None.

    Raises:
        InvalidArgumentError: one str in place of several, or ids of another type.
    """
    if ids is None:
        return None
    listed = [] if isinstance(ids, str) else list(ids)
    if isinstance(ids, str) or not all(isinstance(i, str) for i in listed):
        msg = f"{name} takes a list of str, found {ids!r}."
        raise InvalidArgumentError(msg)
    return listed
