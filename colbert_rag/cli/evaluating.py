"""``colbert-rag eval``: one index or several against judged queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, get_args

import typer

from colbert_rag.cli.encoders import chosen_encoder
from colbert_rag.cli.output import counted, emit_json, make_table, output_console
from colbert_rag.cli.progress import progress_bars
from colbert_rag.errors import InvalidQueryError
from colbert_rag.evaluation import (
    DEFAULT_METRICS,
    TimedRun,
    check_metrics,
    evaluate,
    evaluate_each,
    overlap,
    timed_run,
)
from colbert_rag.readers import Qrels, read_qrels, read_queries
from colbert_rag.significance import Difference, paired_difference
from colbert_rag.types import Mode, Progress, SearchConfig

if TYPE_CHECKING:
    from rich.table import Table

    from colbert_rag import Index

__all__ = ["evaluate_index"]


@dataclass(frozen=True, slots=True)
class _Row:
    index: str
    mode: Mode
    metrics: dict[str, float]
    median_ms: float
    to_first: Difference | None


@dataclass(frozen=True, slots=True)
class _Measured:
    """An index, its rankings by mode, and how much of an exhaustive search the ordinary one finds."""

    path: Path
    n_documents: int
    runs: dict[Mode, TimedRun]
    overlap: float


_Against: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--against", metavar="PATH", help="Another index of the same documents; may be repeated."),
]
_Models: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Where the index's own model is now, if it has moved: once for all indexes, or once for each.",
    ),
]


def evaluate_index(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The index.")],
    queries_file: Annotated[
        Path, typer.Argument(metavar="QUERIES", exists=True, dir_okay=False, help="JSON Lines with _id and text.")
    ],
    qrels_file: Annotated[
        Path, typer.Argument(metavar="QRELS", exists=True, dir_okay=False, help="Judgements of BEIR or TREC, tabs.")
    ],
    *,
    against: _Against = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many documents to rank for each query.")] = 100,
    metrics: Annotated[
        str, typer.Option(metavar="NAMES", help="Names of ir-measures, parted by blanks or commas.")
    ] = " ".join(DEFAULT_METRICS),
    model: _Models = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Measure an index on queries with known answers: late interaction, BM25, and both fused.

    Milliseconds are the median per query, from text to ranking, one query at a time. The last line says how much of
    the first ten documents of an exhaustive search the ordinary search finds.

    With --against, indexes that differ in model or bits stand side by side. Every row is compared with the first,
    query by query: the mean difference in the first metric with its 95 % interval (bootstrap), and p of a paired
    randomisation test, not corrected for several rows.

    Try:

    - `colbert-rag eval wiki.index queries.jsonl qrels.tsv`

    - `colbert-rag eval wiki.index queries.jsonl.gz qrels.tsv -k 1000 --metrics "nDCG@20, R@1000"`

    - `colbert-rag eval wiki-4bit.index queries.jsonl qrels.tsv --against wiki-2bit.index --against wiki-1bit.index`
    """
    names = _parse_metrics(metrics)
    paths = [path, *(against or [])]
    models = _models(model, len(paths))
    qrels = read_qrels(qrels_file)
    queries = _judged(read_queries(queries_file), qrels, queries_file, qrels_file)
    with progress_bars(is_quiet=as_json) as progress:
        measured = [_measure(*each, queries, k, progress) for each in zip(paths, models, strict=True)]
    rows = _rows(measured, qrels, names)
    if as_json:
        _emit(rows, measured, names, len(queries))
    else:
        _print(rows, measured, names, len(queries))


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


def _models(given: list[str] | None, n_indexes: int) -> Sequence[str | None]:
    if not given:
        return [None] * n_indexes
    if len(given) not in (1, n_indexes):
        raise typer.BadParameter(
            f"--model is given {len(given)} times; expected it once, or once for each of the {n_indexes} indexes"
        )
    return given if len(given) == n_indexes else given * n_indexes


def _measure(path: Path, model: str | None, queries: dict[str, str], k: int, progress: Progress | None) -> _Measured:
    from colbert_rag import Index

    with Index.open(path, chosen_encoder(model), read_only=True) as index:
        runs = {mode: _run(index, queries, k, mode, progress) for mode in get_args(Mode)}
        exact = _run(index, queries, 10, "maxsim", progress, is_exact=True)
        return _Measured(path, len(index), runs, overlap(runs["maxsim"].rankings, exact.rankings))


def _run(
    index: Index, queries: dict[str, str], k: int, mode: Mode, progress: Progress | None, *, is_exact: bool = False
) -> TimedRun:
    config = SearchConfig(exact=is_exact, passages=0)
    stage = f"{index.path.name}: {'exhaustive search' if is_exact else mode}"
    return timed_run(lambda query: index.search(query, k, mode=mode, config=config), queries, stage, progress)


def _rows(measured: list[_Measured], qrels: Qrels, names: list[str]) -> list[_Row]:
    runs = [(each.path, mode, run) for each in measured for mode, run in each.runs.items()]
    values = [evaluate_each(run.rankings, qrels, names[:1])[names[0]] for _, _, run in runs]
    # one query shows no spread
    is_comparable = len(values[0]) > 1
    rows = []
    for number, (path, mode, run) in enumerate(runs):
        to_first = paired_difference(values[number], values[0]) if number and is_comparable else None
        rows.append(_Row(str(path), mode, evaluate(run.rankings, qrels, names), run.median_ms, to_first))
    return rows


def _emit(rows: list[_Row], measured: list[_Measured], names: list[str], n_queries: int) -> None:
    indexes = [
        {"index": str(each.path), "documents": each.n_documents, "overlap@10": each.overlap} for each in measured
    ]
    emit_json(
        {
            "queries": n_queries,
            "compared_by": names[0],
            "rows": [dataclasses.asdict(row) for row in rows],
            "overlap@10": measured[0].overlap,
            "indexes": indexes,
        }
    )


def _print(rows: list[_Row], measured: list[_Measured], names: list[str], n_queries: int) -> None:
    console = output_console()
    heads = _heads(rows, is_index_named=len(measured) > 1)
    console.print(_metrics_table(rows, heads, names, n_queries))
    if any(row.to_first for row in rows):
        console.print(_comparison_table(rows, heads, names[0]))
    for each in measured:
        of = f" of {each.path.name}, which holds {counted(each.n_documents, 'document')}" if len(measured) > 1 else ""
        console.print(f"maxsim finds {each.overlap:.1%} of the first ten documents of an exhaustive search{of}")


def _heads(rows: list[_Row], *, is_index_named: bool) -> list[list[str]]:
    """The cells that a row begins with; the first are the names of the columns."""
    heads = [["index", "mode"], *([Path(row.index).name, row.mode] for row in rows)]
    return heads if is_index_named else [head[1:] for head in heads]


def _metrics_table(rows: list[_Row], heads: list[list[str]], names: list[str], n_queries: int) -> Table:
    values = [[*(f"{row.metrics[name]:.4f}" for name in names), f"{row.median_ms:.1f}"] for row in rows]
    cells = [head + line for head, line in zip(heads[1:], values, strict=True)]
    return make_table(f"{n_queries:,} judged queries", [*heads[0], *names, "ms/query"], cells)


def _comparison_table(rows: list[_Row], heads: list[list[str]], name: str) -> Table:
    cells = [
        [*head, f"{found.mean:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}", f"{found.p:.4f}"]
        for head, row in zip(heads[1:], rows, strict=True)
        if (found := row.to_first)
    ]
    return make_table(f"{name}, less that of the first row", [*heads[0], "mean", "95 % interval", "p"], cells)
