"""``colbert-rag eval``: an index against judged queries."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from colbert_rag.cli.encoders import chosen_encoder
from colbert_rag.cli.output import emit_json, make_table, output_console
from colbert_rag.cli.progress import progress_bars
from colbert_rag.errors import InvalidQueryError
from colbert_rag.evaluation import DEFAULT_METRICS, TimedRun, check_metrics, evaluate, overlap, timed_run
from colbert_rag.readers import Qrels, read_qrels, read_queries
from colbert_rag.types import Mode, Progress, SearchConfig

if TYPE_CHECKING:
    from colbert_rag import Index

__all__ = ["evaluate_index"]


@dataclass(frozen=True, slots=True)
class _Row:
    mode: str
    metrics: dict[str, float]
    median_ms: float


def evaluate_index(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The index.")],
    queries_file: Annotated[
        Path, typer.Argument(metavar="QUERIES", exists=True, dir_okay=False, help="JSON Lines with _id and text.")
    ],
    qrels_file: Annotated[
        Path, typer.Argument(metavar="QRELS", exists=True, dir_okay=False, help="Judgements of BEIR or TREC, tabs.")
    ],
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="How many documents to rank for each query.")] = 100,
    metrics: Annotated[
        str, typer.Option(metavar="NAMES", help="Names of ir-measures, parted by blanks or commas.")
    ] = " ".join(DEFAULT_METRICS),
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the index's own model is now, if it has moved.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Measure an index on queries with known answers: late interaction, BM25, and both fused.

    Milliseconds are the median per query, from text to ranking, one query at a time. The last line says how much of
    the first ten documents of an exhaustive search the ordinary search finds.

    Try:

    - `colbert-rag eval wiki.index queries.jsonl qrels.tsv`

    - `colbert-rag eval wiki.index queries.jsonl.gz qrels.tsv -k 1000 --metrics "nDCG@20, R@1000"`
    """
    from colbert_rag import Index

    names = _parse_metrics(metrics)
    qrels = read_qrels(qrels_file)
    queries = _judged(read_queries(queries_file), qrels, queries_file, qrels_file)
    with Index.open(path, chosen_encoder(model), read_only=True) as index, progress_bars(is_quiet=as_json) as progress:
        runs = {mode: _run(index, queries, k, mode, progress) for mode in get_args(Mode)}
        exact = _run(index, queries, 10, "maxsim", progress, is_exact=True)
    rows = [_Row(mode, evaluate(run.rankings, qrels, names), run.median_ms) for mode, run in runs.items()]
    found = overlap(runs["maxsim"].rankings, exact.rankings)
    if as_json:
        emit_json({"queries": len(queries), "rows": [dataclasses.asdict(row) for row in rows], "overlap@10": found})
    else:
        _print(rows, names, found, len(queries))


def _parse_metrics(text: str) -> list[str]:
    names = text.replace(",", " ").split()
    try:
        check_metrics(names)
    except InvalidQueryError as error:
        raise typer.BadParameter(str(error)) from error
    if not names:
        raise typer.BadParameter("--metrics names no metric")
    return names


def _judged(queries: dict[str, str], qrels: Qrels, queries_file: Path, qrels_file: Path) -> dict[str, str]:
    judged = {query_id: query for query_id, query in queries.items() if query_id in qrels}
    if missing := sorted(qrels.keys() - queries.keys()):
        raise typer.BadParameter(
            f"{qrels_file} judges {len(missing):,} queries that {queries_file} lacks, such as {missing[0]!r}"
        )
    return judged


def _run(
    index: Index, queries: dict[str, str], k: int, mode: Mode, progress: Progress | None, *, is_exact: bool = False
) -> TimedRun:
    config = SearchConfig(exact=is_exact, passages=0)
    stage = "exhaustive search" if is_exact else mode
    return timed_run(lambda query: index.search(query, k, mode=mode, config=config), queries, stage, progress)


def _print(rows: list[_Row], names: list[str], found: float, n_queries: int) -> None:
    console = output_console()
    cells = [[row.mode, *(f"{row.metrics[name]:.4f}" for name in names), f"{row.median_ms:.1f}"] for row in rows]
    console.print(make_table(f"{n_queries:,} judged queries", ["mode", *names, "ms/query"], cells))
    console.print(f"maxsim finds {found:.1%} of the first ten documents of an exhaustive search")
