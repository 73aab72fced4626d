"""The commands, and the help above them."""

from __future__ import annotations

from typing import Annotated

import typer

from colbert_rag.cli.deleting import delete_documents
from colbert_rag.cli.demo import demo
from colbert_rag.cli.evaluating import evaluate_index
from colbert_rag.cli.explaining import explain_hits
from colbert_rag.cli.indexing import index_files
from colbert_rag.cli.mining import mine_negatives
from colbert_rag.cli.searching import search_index
from colbert_rag.cli.training import train_model
from colbert_rag.cli.upkeep import backup, compact, info, restore, verify
from colbert_rag.version import __version__

__all__ = ["app"]


app = typer.Typer(
    name="colbert-rag",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("index")(index_files)
app.command("search")(search_index)
app.command("delete")(delete_documents)
app.command("explain")(explain_hits)
app.command("eval")(evaluate_index)
app.command("mine")(mine_negatives)
app.command("info")(info)
app.command("verify")(verify)
app.command("compact")(compact)
app.command("backup")(backup)
app.command("restore")(restore)
app.command("train")(train_model)
app.command("demo")(demo)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"colbert-rag {__version__}")
        raise typer.Exit


@app.callback()
def _colbert_rag(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Late-interaction (ColBERT) retrieval: index files, then ask them questions.

    Try:

    - `colbert-rag index handbook/ --into handbook.index`

    - `colbert-rag search handbook.index "how long is the notice period?"`

    - `colbert-rag demo`

    Exit codes: **0** all is well; **1** the command failed, and says why on stderr, or `verify` found problems;
    **2** wrong usage; **130** interrupted.
    """
