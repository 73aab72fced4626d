"""Everything that can be done with an index, step by step; what each step came to is written down."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile_index import encoder

from colbert_rag import Document, Index, SearchConfig, restore_index
from colbert_rag.verifying import verify_folder

__all__ = ["TYPED", "walk"]

TYPED = ("CorruptIndexError", "UnsupportedFormatError", "IndexNotFoundError")
"""The errors that a hostile index may cause."""

_QUERY = "alpha word3 word5 number"


def walk(folder: str) -> dict[str, str]:
    """Open an index, ask it, copy it, write to it.

    "fine", "problems: …" of a verify or a restore, or the name and words of an error. Copies are made beside the folder
    and removed under the names that were given: what a step leaves under any other stays there to be seen.
    """
    outcomes: dict[str, str] = {}
    _try(outcomes, "verify folder", lambda: verify_folder(folder))
    _try(outcomes, "restore", lambda: _copied(folder, lambda target: restore_index(folder, target, encoder())))
    index = _try(outcomes, "open", lambda: Index.open(folder, encoder(), lock_timeout_s=1.0))
    if index is not None:
        for name, step in _steps(index).items():
            _try(outcomes, name, step)
        _try(outcomes, "close", index.close)
    return outcomes


def _try(outcomes: dict[str, str], name: str, step: Callable[[], Any]) -> Any:
    try:
        found = step()
    except Exception as err:
        outcomes[name] = f"{type(err).__name__}: {err}"
        return None
    problems = getattr(found, "problems", ())
    outcomes[name] = f"problems: {problems[0]}" if problems else "fine"
    return found


def _steps(index: Index) -> dict[str, Callable[[], Any]]:
    pruned = SearchConfig(n_candidates=1, n_probe=2, passages=2)
    new = [Document(f"new{n}", f"alpha word{n} delta", {"n": n}) for n in range(3)]
    changed = [Document("d07", "alpha changed", {"n": 7})]
    return {
        "info": index.info,
        "len": lambda: len(index),
        "ids": lambda: list(index.ids()),
        "get": lambda: index.get_many([f"d{n:02}" for n in range(40)]),
        "find": lambda: list(index.find({"n": {"$gte": 3}})),
        "search": lambda: _read(index.search(_QUERY, 50)),
        "pruned": lambda: _read(index.search(_QUERY, 1, config=pruned)),
        "filtered": lambda: _read(index.search(_QUERY, 5, filter={"tags": "a", "n": {"$lt": 30}})),
        "function": lambda: _read(index.search(_QUERY, 5, filter=lambda document: document.extra is not None)),
        "bm25": lambda: _read(index.search(_QUERY, 50, mode="bm25")),
        "hybrid": lambda: _read(index.search(_QUERY, 50, mode="hybrid")),
        "diverse": lambda: _read(index.search(_QUERY, 3, mode="bm25", config=SearchConfig(diversity=0.5))),
        "local": lambda: _read(index.search(_QUERY, 3, config=SearchConfig(locality=0.5, exact=True))),
        "explain": lambda: index.explain(_QUERY, k=50),
        "verify": index.verify,
        "backup": lambda: _copied(index.path, index.backup),
        "add": lambda: index.add(new),
        "upsert": lambda: index.upsert(changed),
        "delete": lambda: index.delete(["d01", "d21"]),
        "delete by filter": lambda: index.delete(filter={"n": {"$gt": 35}}),
        "compact": index.compact,
        "search again": lambda: _read(index.search(_QUERY, 50)),
        "verify again": index.verify,
    }


def _copied(folder: str | Path, copy: Callable[[Path], Any]) -> Any:
    target = Path(folder).with_name("copy")
    try:
        return copy(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _read(hits: list[Any]) -> None:
    """What a caller would do with hits: every passage is a piece of the document's own text."""
    for hit in hits:
        repr(hit)
        assert all(hit.text[p.start : p.end] == p.text and 0 <= p.start <= p.end for p in hit.passages)
