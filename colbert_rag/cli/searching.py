"""``colbert-rag search``: a question to an index."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from colbert_rag.cli.encoders import chosen_encoder
from colbert_rag.cli.output import emit_json, output_console, say
from colbert_rag.cli.text import excerpt, printable
from colbert_rag.errors import InvalidFilterError
from colbert_rag.types import Hit, Mode

__all__ = ["hits_table", "search_index"]


def search_index(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The index.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for.")],
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="How many documents.")] = 5,
    mode: Annotated[
        Mode, typer.Option(help="maxsim: late interaction; bm25: words; hybrid: both, their scores joined.")
    ] = "maxsim",
    chosen: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="Only documents whose metadata fits.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the index's own model is now, if it has moved.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show whole documents, not the best passage.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hits as JSON.")] = False,
) -> None:
    """Ask an index a question: the best documents, each with the passage that answers, matched words marked.

    Try:

    - `colbert-rag search handbook.index "how long is the notice period?"`

    - `colbert-rag search handbook.index "§ 622 BGB" --mode hybrid -k 10`

    - `colbert-rag search handbook.index "notice period" --filter '{"year": {"$gte": 2020}}'`

    - `colbert-rag search handbook.index "notice period" --json | jq '.[0].id'`
    """
    from colbert_rag import Index

    condition = None if chosen is None else _parsed(chosen)
    with Index.open(path, chosen_encoder(model), read_only=True) as index:
        hits = index.search(question, k, mode=mode, filter=condition)
    if as_json:
        emit_json([asdict(hit) for hit in hits])
    elif hits:
        output_console().print(hits_table(hits, is_full=full))
    else:
        say("no document matches")


def _parsed(chosen: str) -> Any:
    try:
        return json.loads(chosen)
    except ValueError as err:
        msg = f'--filter is not JSON ({err}); expected an object such as \'{{"year": {{"$gte": 2020}}}}\'.'
        raise InvalidFilterError(msg) from err


def hits_table(hits: list[Hit], *, is_full: bool = False, marks: list[str] | None = None) -> Table:
    """Return a table of rank, score, id and text; ``marks`` adds a word to each hit's id."""
    table = Table("rank", "score", "id", "text", box=box.SIMPLE_HEAD)
    table.columns[0].justify = table.columns[1].justify = "right"
    for rank, hit in enumerate(hits, 1):
        name = Text(printable(hit.id), overflow="fold")
        if marks:
            name.append(f"\n{marks[rank - 1]}", style="bold")
        table.add_row(str(rank), f"{hit.score:.2f}", name, excerpt(hit, is_full=is_full))
    return table
