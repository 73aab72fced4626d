"""Arguments that LlamaIndex hands through by name: understood, or refused with words."""

from __future__ import annotations

from collections.abc import Iterable

from colbert_rag import InvalidArgumentError

__all__ = ["check_names"]

_HINTS = {
    "embed_model": "Late interaction makes a vector of every token: pass encoder= in its place.",
    "top_k": "LlamaIndex calls it similarity_top_k.",
}


def check_names(call: str, given: Iterable[str], known: Iterable[str] = ()) -> None:
    """Refuse keyword arguments that a call does not take.

    Raises:
        InvalidArgumentError: naming the call, the argument, and those that the call takes.
    """
    names = list(known)
    for name in given:
        if name not in names:
            takes = f"; it takes {', '.join(names)}" if names else ""
            msg = f"{call} takes no argument {name!r}{takes}. {_HINTS.get(name, '')}".rstrip()
            raise InvalidArgumentError(msg)
