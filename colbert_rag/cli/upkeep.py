"""``colbert-rag info``, ``verify``, ``compact``, ``backup`` and ``restore``: what an index holds, and its upkeep."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from colbert_rag.cli.encoders import chosen_encoder
from colbert_rag.cli.output import bytes_in_words, counted, emit_json, make_table, output_console, say
from colbert_rag.cli.progress import progress_bars
from colbert_rag.types import IndexInfo, RestoreReport

__all__ = ["backup", "compact", "info", "restore", "verify"]

_Path = Annotated[Path, typer.Argument(metavar="PATH", help="The index.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def info(path: _Path, as_json: _Json = False) -> None:
    """Say what an index holds: documents, tokens, bytes, model.

    Try:

    - `colbert-rag info handbook.index`

    - `colbert-rag info handbook.index --json | jq .bytes_per_token`
    """
    from colbert_rag import Index

    with Index.open(path, read_only=True) as index:
        found = index.info()
    if as_json:
        emit_json(asdict(found))
    else:
        output_console().print(make_table("", ["", str(path)], _rows(found)))


def verify(path: _Path, quiet: _Quiet = False, as_json: _Json = False) -> None:
    """Read every file of an index and compare it with what was committed; exit code 1 when something is wrong.

    Try:

    - `colbert-rag verify handbook.index`

    - `colbert-rag verify handbook.index --json | jq -r '.problems[]'`
    """
    from colbert_rag.verifying import verify_folder

    # an index that cannot even be opened is verified too
    with progress_bars(is_quiet=quiet or as_json) as progress:
        report = verify_folder(path, progress)
    if as_json:
        emit_json({"ok": report.ok, **asdict(report)})
    else:
        for problem in report.problems:
            say(problem)
        for leftover in report.leftovers:
            say(f"left over: {leftover}")
        outcome = "sound" if report.ok else counted(len(report.problems), "problem")
        read = (
            f"{counted(report.files, 'file')}, {bytes_in_words(report.bytes)}, {counted(report.documents, 'document')}"
        )
        output_console().print(f"{path}: {outcome}; read: {read}", soft_wrap=True)
    raise typer.Exit(0 if report.ok else 1)


def compact(path: _Path, quiet: _Quiet = False, as_json: _Json = False) -> None:
    """Merge the segments of an index and drop the vectors of deleted documents; ids stay as they are.

    Try:

    - `colbert-rag compact handbook.index`
    """
    from colbert_rag import Index

    with Index.open(path) as index, progress_bars(is_quiet=quiet or as_json) as progress:
        before = index.info()
        index.compact(progress=progress)
        after = index.info()
    if as_json:
        emit_json({"before": asdict(before), "after": asdict(after)})
    else:
        sizes = f"{bytes_in_words(before.vector_bytes)} to {bytes_in_words(after.vector_bytes)}"
        say(f"{path}: {before.n_segments:,} to {counted(after.n_segments, 'segment')}, {sizes} of vectors")


def backup(
    path: _Path,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder that does not exist.")],
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Copy an index, one whole commit of it, while others search and write; the copy is verified before it appears.

    Try:

    - `colbert-rag backup handbook.index /backups/handbook-monday.index`
    """
    from colbert_rag import Index

    with Index.open(path, read_only=True) as index, progress_bars(is_quiet=quiet or as_json) as progress:
        report = index.backup(target, progress=progress)
    if as_json:
        emit_json(asdict(report))
    else:
        held = f"{counted(report.documents, 'document')}, {bytes_in_words(report.bytes)} of vectors"
        say(f"{path}: copied to {target} and verified: {held}")


def restore(
    damaged: Annotated[Path, typer.Argument(metavar="DAMAGED", help="The damaged index; it is left as it is.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder that does not exist.")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The model that it was built with, if it is not found by itself."),
    ] = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Build a new index from what is sound in a damaged one, and say what is lost; exit code 1 when anything is.

    Documents keep their vectors where these are sound; the others are encoded anew from their text. A backup, where
    there is one, is the better way.

    Try:

    - `colbert-rag verify handbook.index`

    - `colbert-rag restore handbook.index saved.index`
    """
    from colbert_rag import restore_index

    with progress_bars(is_quiet=quiet or as_json) as progress:
        report = restore_index(damaged, target, chosen_encoder(model), progress=progress)
    if as_json:
        emit_json(asdict(report))
    else:
        for line in _outcome(report):
            say(line)
    raise typer.Exit(1 if report.n_lost or report.uncounted else 0)


def _outcome(report: RestoreReport) -> list[str]:
    lines = [f"found: {problem}" for problem in report.problems]
    lines += [f"lost: {document_id}" for document_id in report.lost]
    if report.n_lost > len(report.lost):
        lines.append(f"lost: {counted(report.n_lost - len(report.lost), 'document')} of which no id can be read")
    lines += [f"lost, uncounted: {line}" for line in report.uncounted]
    kept = f"{counted(report.kept, 'document')} kept, {report.encoded:,} encoded anew, {report.n_lost:,} lost"
    more = ", besides what cannot be counted" if report.uncounted else ""
    return [*lines, f"{report.path}: {kept}{more}"]


def _rows(found: IndexInfo) -> list[tuple[str, str]]:
    compression = f"{found.bits} bits, {found.n_centroids:,} centroids" if found.is_compressed else "none yet (16 bits)"
    return [
        ("documents", f"{found.n_documents:,}"),
        ("deleted documents not yet compacted", f"{found.n_deleted:,}"),
        ("token vectors", f"{found.n_tokens:,}"),
        ("pooling", "none" if found.pool_factor == 1 else f"1 vector of {found.pool_factor} tokens"),
        ("dimensions", f"{found.dim:,}"),
        ("compression", compression),
        ("bytes per token vector, texts not counted", f"{found.bytes_per_token:.1f}"),
        ("vectors", bytes_in_words(found.vector_bytes)),
        ("catalog with texts and words", bytes_in_words(found.catalog_bytes)),
        ("texts", bytes_in_words(found.text_bytes)),
        ("segments", f"{found.n_segments:,}"),
        ("format", str(found.format_version)),
        ("model", str(found.model.get("model") or "unknown")),
    ]
