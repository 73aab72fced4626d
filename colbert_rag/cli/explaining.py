"""``colbert-rag explain``: why documents are found, on the terminal or as an HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from colbert_rag.cli.encoders import chosen_encoder
from colbert_rag.cli.files import check_output, write_whole
from colbert_rag.cli.output import counted, output_console, say
from colbert_rag.cli.searching import parsed_filter
from colbert_rag.cli.text import MATCH_STYLE, printable
from colbert_rag.report import report_page
from colbert_rag.types import Explanation, Mode, QueryToken, SearchConfig

__all__ = ["explain_hits"]

# from here on a match is marked, as in the passages of a search
_STRONG = 0.6


def explain_hits(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The index.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for.")],
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="How many documents.")] = 3,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write an HTML report instead.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    mode: Annotated[
        Mode, typer.Option(help="maxsim: late interaction; bm25: words; hybrid: both, their scores joined.")
    ] = "maxsim",
    chosen: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="Only documents whose metadata fits.")
    ] = None,
    locality: Annotated[
        float, typer.Option(min=0, max=1, help="0: score whole documents; towards 1: their best place, too.")
    ] = 0.0,
    passages: Annotated[int, typer.Option(metavar="N", min=1, help="Passages of each document in the report.")] = 3,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the index's own model is now, if it has moved.")
    ] = None,
) -> None:
    """Show why documents are found: which token of each of them every token of the question matched, and how well.

    Try:

    - `colbert-rag explain handbook.index "how long is the notice period?"`

    - `colbert-rag explain handbook.index "how long is the notice period?" --output report.html`
    """
    from colbert_rag import Index

    if output is not None:
        check_output(output, is_forced=force)
    condition, config = parsed_filter(chosen), SearchConfig(passages=passages, locality=locality)
    with Index.open(path, chosen_encoder(model), read_only=True) as index:
        found = index.explain(question, k=k, mode=mode, filter=condition, config=config)
    if not found:
        say("no document matches")
    elif output is None:
        _print_tables(found)
    else:
        write_whole(output, report_page(question, found, mode, locality=locality), is_forced=force)
        say(f"{output}: {counted(len(found), 'document')} explained")


def _print_tables(found: Sequence[Explanation]) -> None:
    console = output_console()
    for rank, explanation in enumerate(found, 1):
        hit = explanation.hit
        console.print(Text(f"{rank}  {printable(hit.id)}  {hit.score:.2f}", style="bold"))
        console.print(_alignment(explanation.query_tokens))


def _alignment(tokens: Sequence[QueryToken]) -> Table:
    table = Table("#", "question", "similarity", "document", "at", box=box.SIMPLE_HEAD)
    for column in (0, 2, 4):
        table.columns[column].justify = "right"
    for n, token in enumerate(tokens, 1):
        match = token.match
        style = MATCH_STYLE if token.similarity >= _STRONG else ""
        shown = Text(_one_line(match.text), style=style) if match.text else Text("no text", style="dim")
        place = f"{match.start:,}" if match.text else ""
        table.add_row(str(n), _one_line(token.label.text), f"{token.similarity:.2f}", shown, place)
    table.add_section()
    table.add_row("", "MaxSim", f"{sum(token.similarity for token in tokens):.2f}", "", "")
    return table


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ")
