"""Arguments that LangChain hands through by name: understood, or refused with words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from langchain_core.embeddings import Embeddings

from colbert_rag import Index, InvalidArgumentError, SearchConfig
from langchain_colbert_rag.filters import core_filter

__all__ = ["check_encoder", "check_names", "check_path", "check_sources", "diversity_of", "search_arguments"]

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


def check_path(path: object) -> None:
    """Refuse what is no folder, such as an encoder in the first place.

    Raises:
        InvalidArgumentError: neither a str nor a path.
    """
    check_encoder(path)
    if not isinstance(path, str | PathLike):
        msg = (
            f"path must be the folder of the index, a str or a pathlib.Path, found {type(path).__name__}. Pass an "
            "encoder as encoder= and an open index as index=."
        )
        raise InvalidArgumentError(msg)


def check_sources(path: object, encoder: object, index: object, lock_timeout_s: object) -> None:
    """Refuse what no store can be opened from.

    Args:
        path: A folder, or None.
        encoder: What the core takes, or None.
        index: An open index, or None.
        lock_timeout_s: None where it was not given.

    Raises:
        InvalidArgumentError: one of another kind, or an index together with something else.
    """
    check_encoder(encoder)
    if path is not None:
        check_path(path)
    if index is None:
        return
    if not isinstance(index, Index):
        msg = f"index must be an open colbert_rag.Index, found {type(index).__name__}. Pass a folder as path=."
        raise InvalidArgumentError(msg)
    if any(given is not None for given in (path, encoder, lock_timeout_s)):
        msg = (
            "ColBERTVectorStore takes an index, or a path and an encoder and lock_timeout_s: an open index has all "
            "three already."
        )
        raise InvalidArgumentError(msg)


def diversity_of(call: str, lambda_mult: object) -> float:
    """The core's diversity from LangChain's weight of relevance.

    Raises:
        InvalidArgumentError: not a number from 0 to 1.
    """
    if isinstance(lambda_mult, bool) or not isinstance(lambda_mult, int | float) or not 0 <= lambda_mult <= 1:
        msg = (
            f"{call}: lambda_mult must be a number from 0 (the greatest diversity) to 1 (relevance alone), "
            f"found {lambda_mult!r}."
        )
        raise InvalidArgumentError(msg)
    return 1 - lambda_mult


def search_arguments(call: str, options: Mapping[str, Any], own: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """The keyword arguments of ``Index.search`` from those of a LangChain call.

    Args:
        call: The name of the call, for errors.
        options: Of ``filter``, ``mode`` and ``config``, those that are given; None stands for the default.
        own: Names that this call takes beside the ones of every search, for errors.
        changes: Fields of the ``SearchConfig`` that the call itself decides.

    Raises:
        InvalidArgumentError: an option of another name.
    """
    check_names(call, options, ("query", "k", *own, *SEARCH_OPTIONS))
    given = {name: options[name] for name in SEARCH_OPTIONS if options.get(name) is not None}
    config = given.get("config", SearchConfig())
    if isinstance(config, SearchConfig):  # anything else is refused by the core, with words
        config = replace(config, **changes)
    return {"mode": given.get("mode", "maxsim"), "filter": core_filter(given.get("filter")), "config": config}
