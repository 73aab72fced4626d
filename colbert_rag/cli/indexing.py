"""``colbert-rag index``: files into an index."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colbert_rag.cli.encoders import chosen_encoder
from colbert_rag.cli.output import counted, emit_json, say
from colbert_rag.cli.progress import progress_bars
from colbert_rag.cli.pruning import remove_gone
from colbert_rag.errors import CorpusFormatError, DuplicateIdError, IndexNotFoundError
from colbert_rag.readers import Corpus, SkippedFile
from colbert_rag.types import Document, Progress

if TYPE_CHECKING:
    from colbert_rag import Index

__all__ = ["index_files", "report_skipped"]

# often enough to lose little at an interrupt, seldom enough to keep segments few
COMMIT_EVERY = 10_000
SKIPPED_SHOWN = 5


def index_files(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE_OR_FOLDER...", exists=True, help="Files, or folders of files.")
    ],
    *,
    into: Annotated[Path, typer.Option("--into", metavar="PATH", help="The index; it is created where there is none.")],
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model of a new index: a hub name or a folder.")
    ] = None,
    bits: Annotated[
        int | None, typer.Option(help="Bits per dimension of a new index: 1, 2, 4 or 8. Default: 4.")
    ] = None,
    pool_factor: Annotated[
        int | None,
        typer.Option(help="Keep about one of so many token vectors in a new index: 1 to 4. Default: 1, all of them."),
    ] = None,
    upsert: Annotated[bool, typer.Option("--upsert", help="Replace documents that are in the index already.")] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="With --upsert: remove documents of these folders whose files are gone."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Add files to an index: .txt, .md, .html, .pdf, .jsonl, .jsonl.gz and .csv.

    A text, HTML or PDF file is one document, and its path below the given folder is its id. Records of JSON Lines and
    CSV have an id, a text, and optionally a title; all else in them becomes metadata.

    A file of a folder that cannot be read is left out, counted and named; one that was named itself, or a wrong line of
    a .jsonl or .csv file, ends the command with 1.

    Every 10,000 documents are committed. An interrupt keeps what is committed: run the command again with --upsert.

    Try:

    - `colbert-rag index handbook/ --into handbook.index`

    - `colbert-rag index corpus.jsonl.gz --into wiki.index --model lightonai/GTE-ModernColBERT-v1 --bits 2`

    - `colbert-rag index handbook/ --into handbook.index --upsert --prune`
    """
    start = time.perf_counter()
    _check_prune(paths, prune=prune, upsert=upsert)
    corpus = Corpus(paths)
    seen: set[str] = set()
    index = _open_or_create(into, model, bits=bits, pool_factor=pool_factor)
    with index, progress_bars(is_quiet=quiet or as_json) as progress:
        n_added = _add(index, _noted(corpus, seen), upsert, progress)
        n_removed = remove_gone(index, corpus, seen) if prune else 0
        n_documents = len(index)
    seconds = time.perf_counter() - start
    if as_json:
        skipped = [{"path": file.path, "reason": file.reason} for file in corpus.skipped]
        outcome = {"path": str(into), "added": n_added, "removed": n_removed, "documents": n_documents}
        emit_json({**outcome, "seconds": round(seconds, 3), "skipped": skipped})
    elif not quiet:
        removed = f", {n_removed:,} removed" if prune else ""
        written = f"{counted(n_added, 'document')} written{removed} in {seconds:.1f} s"
        say(f"{into}: {written}; {n_documents:,} in the index")
    if not as_json:
        report_skipped(corpus.skipped)
    if corpus.skipped and not seen:
        say("none of these files could be indexed")
        raise typer.Exit(1)


def _check_prune(paths: list[Path], *, prune: bool, upsert: bool) -> None:
    if prune and not upsert:
        raise typer.BadParameter("--prune goes together with --upsert only; give both, or neither")
    if prune and not any(path.is_dir() for path in paths):
        raise typer.BadParameter("--prune removes what is gone from a folder; name one, or use colbert-rag delete")


def _open_or_create(path: Path, model: str | None, **options: int | None) -> Index:
    from colbert_rag import Index

    encoder = chosen_encoder(model)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    try:
        index = Index.open(path, encoder)
    except IndexNotFoundError:
        return Index.create(path, encoder, **given)
    created = asdict(index.info())
    for name, value in given.items():
        if value != created[name]:
            index.close()
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{path} has {option} {created[name]}; leave it out, or create a new index")
    return index


def _noted(corpus: Corpus, seen: set[str]) -> Iterator[Document]:
    for document in corpus:
        seen.add(document.id)
        yield document


def _add(index: Index, documents: Iterator[Document], is_upsert: bool, progress: Progress | None) -> int:
    write = index.upsert if is_upsert else index.add
    n_before = len(index)
    try:
        return write(documents, commit_every=COMMIT_EVERY, progress=progress)
    except CorpusFormatError as error:
        say(f"CorpusFormatError: {error}")
        held = counted(len(index), "document")
        say(f"the index holds {held}; put the file right or move it away, and run the command again with --upsert")
        raise typer.Exit(1) from error
    except DuplicateIdError as error:
        say(f"DuplicateIdError: {error}")
        committed = counted(len(index) - n_before, "new document")
        say(f"committed before: {committed}; --upsert replaces what is there already")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        held = counted(len(index), "document")
        say(f"interrupted; the index holds {held}; run the command again with --upsert for the rest")
        raise typer.Exit(130) from error


def report_skipped(skipped: list[SkippedFile]) -> None:
    """Say which files gave no document: every one that should have, and some of the others."""
    if not skipped:
        return
    say(f"left out: {counted(len(skipped), 'file')}")
    unreadable = [file for file in skipped if file.is_unreadable]
    others = [file for file in skipped if not file.is_unreadable]
    for file in unreadable + others[:SKIPPED_SHOWN]:
        say(f"  {file.path}: {file.reason}")
    if len(others) > SKIPPED_SHOWN:
        say(f"  and {len(others) - SKIPPED_SHOWN:,} more; --json lists all of them")
