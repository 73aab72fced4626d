"""Arguments that LangChain hands through by name: understood, or refused with words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.embeddings import Embeddings

from colbert_rag import InvalidArgumentError, SearchConfig
from langchain_colbert_rag.filters import core_filter

__all__ = ["check_encoder", "check_names", "search_arguments"]

SEARCH_OPTIONS = ("filter", "mode", "config")

# LangChain's invoke() reads it and passes it on all the same
READ_BY_LANGCHAIN = ("verbose",)


def check_names(call: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse keyword arguments that a call does not take.

    Raises:
        InvalidArgumentError: naming the call, the argument, and those that the call takes.
    """
    for name in given:
        if name not in known and name not in READ_BY_LANGCHAIN:
            msg = f"{call} takes no argument {name!r}; it takes {', '.join(known)}."
            raise InvalidArgumentError(msg)


def check_encoder(encoder: object) -> None:
    """Refuse a LangChain ``Embeddings``; every other check is the core's.

    Raises:
        InvalidArgumentError: it is one.
    """
    if isinstance(encoder, Embeddings):
        msg = (
            f"{type(encoder).__name__} makes one vector of a text, late interaction needs one of every token. Leave it "
            "out for the built-in model, or pass encoder= the name of a late-interaction model or a "
            "colbert_rag.Encoder."
        )
        raise InvalidArgumentError(msg)


def search_arguments(call: str, options: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The keyword arguments of ``Index.search`` from those of a LangChain call.

    Args:
        call: The name of the call, for errors.
        options: Of ``filter``, ``mode`` and ``config``, those that are given; None stands for the default.
        changes: Fields of the ``SearchConfig`` that the call itself decides.

    Raises:
        InvalidArgumentError: an option of another name.
    """
    check_names(call, options, ("query", "k", *SEARCH_OPTIONS))
    given = {name: options[name] for name in SEARCH_OPTIONS if options.get(name) is not None}
    config = given.get("config", SearchConfig())
    if isinstance(config, SearchConfig):  # anything else is refused by the core, with words
        config = replace(config, **changes)
    return {"mode": given.get("mode", "maxsim"), "filter": core_filter(given.get("filter")), "config": config}
