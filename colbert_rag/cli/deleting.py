"""``colbert-rag delete``: documents out of an index, by id or by filter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colbert_rag.cli.output import counted, emit_json, say
from colbert_rag.cli.searching import parsed_filter

if TYPE_CHECKING:
    from colbert_rag import Index

__all__ = ["delete_documents"]

UNKNOWN_SHOWN = 5


def delete_documents(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The index.")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Documents.")] = None,
    *,
    chosen: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="Instead of ids: whatever this holds for.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them and delete nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Delete documents by id or by what they say of themselves; ids that are not in the index are named.

    They are gone from every later search; `colbert-rag compact` gives their space back.

    Try:

    - `colbert-rag delete handbook.index holiday.md travel/train.md`

    - `colbert-rag delete handbook.index --filter '{"year": {"$lt": 2020}}' --dry-run`
    """
    from colbert_rag import Index

    wanted, condition = list(dict.fromkeys(ids or [])), parsed_filter(chosen)
    if bool(wanted) == (condition is not None):
        raise typer.BadParameter("delete takes ids or --filter, exactly one of them; --filter '{}' is every document")
    with Index.open(path, read_only=dry_run) as index:
        known = {document.id for document in index.get_many(wanted)}
        count = _count if dry_run else _delete
        n_deleted = count(index, wanted, condition)
        n_documents = len(index)
    unknown = [name for name in wanted if name not in known]
    if as_json:
        outcome = {"path": str(path), "deleted": n_deleted, "documents": n_documents, "dry_run": dry_run}
        emit_json({**outcome, "unknown": unknown})
        return
    done = "would be deleted" if dry_run else "deleted"
    say(f"{path}: {counted(n_deleted, 'document')} {done}; {n_documents:,} in the index")
    _report_unknown(unknown)


def _delete(index: Index, ids: list[str], condition: Any) -> int:
    return index.delete(ids) if condition is None else index.delete(filter=condition)


def _count(index: Index, ids: list[str], condition: Any) -> int:
    return len(index.get_many(ids)) if condition is None else sum(1 for _ in index.find(condition))


def _report_unknown(ids: list[str]) -> None:
    for document_id in ids[:UNKNOWN_SHOWN]:
        say(f"not in the index: {document_id}")
    if len(ids) > UNKNOWN_SHOWN:
        say(f"  and {len(ids) - UNKNOWN_SHOWN:,} more; --json lists all of them")
