"""``colbert-rag search``: a question to an index."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
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
from colbert_rag.types import Hit, Mode, SearchConfig

__all__ = ["hits_table", "parsed_filter", "search_index"]


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
    locality: Annotated[
        float, typer.Option(min=0, max=1, help="0: score whole documents; towards 1: their best place, too.")
    ] = 0.0,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the index's own model is now, if it has moved.")
    ] = None,
    passages: Annotated[int, typer.Option(metavar="N", min=1, help="Passages of each document, best first.")] = 1,
    full: Annotated[bool, typer.Option("--full", help="Show whole documents, not the best passages.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hits as JSON.")] = False,
) -> None:
    """Ask an index a question: the best documents, each with the passage that answers, matched words marked.

    Try:

    - `colbert-rag search handbook.index "how long is the notice period?"`

    - `colbert-rag search handbook.index "§ 622 BGB" --mode hybrid -k 10`

    - `colbert-rag search handbook.index "notice period" --filter '{"year": {"$gte": 2020}}'`

    - `colbert-rag search handbook.index "notice period" --passages 3`

    - `colbert-rag search handbook.index "notice period" --json | jq '.[0].id'`
    """
    from colbert_rag import Index

    condition, config = parsed_filter(chosen), SearchConfig(passages=passages, locality=locality)
    with Index.open(path, chosen_encoder(model), read_only=True) as index:
        hits = index.search(question, k, mode=mode, filter=condition, config=config)
    if as_json:
        emit_json([asdict(hit) for hit in hits])
    elif hits:
        output_console().print(hits_table(hits, is_full=full))
    else:
        say("no document matches")


def parsed_filter(chosen: str | None) -> Any:
    """Return what ``--filter`` holds; None where it was not given.

    Raises:
        InvalidFilterError: it is not JSON.
    """
    try:
        return None if chosen is None else json.loads(chosen)
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
        table.add_row(str(rank), f"{hit.score:.2f}", name, excerpt(hit, is_full=True) if is_full else _evidence(hit))
    return table


def _evidence(hit: Hit) -> Text:
    """Every passage of a hit, one below the other."""
    alone = [replace(hit, passages=(passage,)) for passage in hit.passages] or [hit]
    return Text("\n").join(map(excerpt, alone))
