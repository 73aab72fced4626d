"""Ways of damaging one file of an index, and a process that tries many and says what became of each.

The process may die by a signal, which is what it is for: it answers each case with a line, so the first one without an
answer is the case that killed it. Run as ``python damage.py ORIGINALS CASES ANSWERS``, all of them JSON.
"""

from __future__ import annotations

import faulthandler
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import small_index
from lifeline import end_with_parent

from colbert_rag import ColbertRagError, Index
from colbert_rag.verifying import verify_folder

__all__ = ["Damage", "Outcome", "damaged"]

_QUERY = "word1 something alpha3 naïve"
_MODES = ("maxsim", "bm25")
_HANG_S = 120
# how the full-text index lays out its words
_INTERNAL = {"fulltext_data", "fulltext_idx"}


@dataclass(frozen=True)
class Damage:
    """What happens to one file.

    Attributes:
        kind: Of the index, as ``small_index`` names it.
        file: Its path inside the index.
        how: A name of ``HOW``.
        at: Byte offset, or a number of bytes.
        bit: Of the byte.
        other: Path of another file.
    """

    kind: str
    file: str
    how: str = "flip"
    at: int = 0
    bit: int = 0
    other: str = ""


@dataclass(frozen=True)
class Outcome:
    """What ``verify``, opening and searching made of it.

    Attributes:
        problems: Of ``verify``; the words of its error where it found no index.
        leftovers: Of ``verify``.
        error: Of opening, or of the first search that failed: its class and words.
        is_typed: Whether that is an error of ours; True where there is none.
        same: Whether each search that ended gave the answer of the sound index.
        is_same_content: Whether every row and word of the catalog is what it was; looked at only where ``verify`` found
            nothing.
    """

    problems: list[str]
    leftovers: list[str]
    error: str
    is_typed: bool
    same: dict[str, bool]
    is_same_content: bool | None


def _flip(file: Path, damage: Damage, root: Path) -> None:
    _write(file, damage.at, bytes([file.read_bytes()[damage.at] ^ 1 << damage.bit]))


def _zero(file: Path, damage: Damage, root: Path) -> None:
    _write(file, damage.at, bytes(file.stat().st_size - damage.at)[: 1 << damage.bit])


def _write(file: Path, at: int, raw: bytes) -> None:
    with file.open("rb+") as opened:
        opened.seek(at)
        opened.write(raw)


def _truncate(file: Path, damage: Damage, root: Path) -> None:
    with file.open("rb+") as opened:
        opened.truncate(damage.at)


def _extend(file: Path, damage: Damage, root: Path) -> None:
    with file.open("ab") as opened:
        opened.write(bytes([damage.bit]) * damage.at)


def _delete(file: Path, damage: Damage, root: Path) -> None:
    file.unlink()


def _folder(file: Path, damage: Damage, root: Path) -> None:
    file.unlink()
    file.mkdir()


def _link(file: Path, damage: Damage, root: Path) -> None:
    """The very file, but somewhere else."""
    moved = root.parent / "moved"
    shutil.move(file, moved)
    file.symlink_to(moved)


def _swap(file: Path, damage: Damage, root: Path) -> None:
    other = root / damage.other
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


def _replace(file: Path, damage: Damage, root: Path) -> None:
    """By a file of another index, which stands under its absolute path."""
    file.write_bytes(Path(damage.other).read_bytes())


HOW: dict[str, Callable[[Path, Damage, Path], None]] = {
    "flip": _flip,
    "zero": _zero,
    "truncate": _truncate,
    "extend": _extend,
    "delete": _delete,
    "folder": _folder,
    "link": _link,
    "swap": _swap,
    "replace": _replace,
}


@contextmanager
def damaged(root: Path, damage: Damage) -> Iterator[None]:
    """The index of a folder with the damage, which is undone afterwards."""
    paths = [root / name for name in (damage.file, damage.other) if name and not Path(name).is_absolute()]
    # opening an index with a log folds the log in, whatever is damaged
    paths += [path for path in root.glob("catalog.sqlite*") if path not in paths and not path.name.endswith("-shm")]
    before = {path: path.read_bytes() for path in paths}
    HOW[damage.how](root / damage.file, damage, root)
    try:
        yield
    finally:
        for path, raw in before.items():
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            path.write_bytes(raw)


class _Trial:
    """A copy of one index, what it answers, and what its catalog holds."""

    def __init__(self, original: Path, folder: Path) -> None:
        folder.mkdir()
        self._root = small_index.copied(original, folder / "index")
        self._content = _rows(self._root)
        self._answers, error = self._search()
        if error is not None:
            raise error
        shutil.rmtree(self._root)
        small_index.copied(original, self._root)

    def outcome(self, damage: Damage) -> Outcome:
        with damaged(self._root, damage):
            try:
                report = verify_folder(self._root)
                problems, leftovers = list(report.problems), list(report.leftovers)
            except ColbertRagError as err:
                problems, leftovers = [str(err)], []
            is_same_content = None if problems else _rows(self._root) == self._content
            answers, error = self._search()
        return Outcome(
            problems,
            leftovers,
            "" if error is None else f"{type(error).__name__}: {error}",
            error is None or isinstance(error, ColbertRagError),
            {mode: answer == self._answers[mode] for mode, answer in answers.items()},
            is_same_content,
        )

    def _search(self) -> tuple[dict[str, object], Exception | None]:
        answers: dict[str, object] = {}
        try:
            with Index.open(self._root, small_index.encoder()) as index:
                for mode in _MODES:
                    answers[mode] = index.search(_QUERY, k=10, mode=mode)
        except Exception as err:
            return answers, err
        return answers, None


def _rows(root: Path) -> dict[str, object]:
    """Every row of every table, with the types and bytes of its values; of the full-text index what it says.

    Its words are read as they stand and once more after all of its parts were merged, which is what later writes do.
    """
    catalog = f"{(root / 'catalog.sqlite').as_uri()}?mode=ro"
    with closing(sqlite3.connect(":memory:")) as copy:
        with closing(sqlite3.connect(catalog, uri=True)) as connection:
            connection.backup(copy)
        copy.text_factory = lambda raw: ("text", raw)
        schema = copy.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        names = [name[1].decode() for kind, name, *_, sql in schema if kind[1] == b"table" and b"VIRTUAL" not in sql[1]]
        found: dict[str, object] = {"schema": schema}
        for name in names:
            if name not in _INTERNAL:
                found[name] = copy.execute(f'SELECT * FROM "{name}"').fetchall()
        copy.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, fulltext, instance)")
        found["words"] = copy.execute("SELECT * FROM temp.words").fetchall()
        copy.execute("INSERT INTO fulltext (fulltext) VALUES ('optimize')")
        found["merged words"] = copy.execute("SELECT * FROM temp.words").fetchall()
    return found


def main(originals: Path, cases: Path, answers: Path) -> None:
    """Try every case."""
    end_with_parent()
    trials = {}
    with answers.open("w") as out, tempfile.TemporaryDirectory(dir=answers.parent) as folder:
        for kind, path in json.loads(originals.read_text()).items():
            trials[kind] = _Trial(Path(path), Path(folder, kind))
        for line in cases.read_text().splitlines():
            faulthandler.dump_traceback_later(_HANG_S, exit=True)
            damage = Damage(**json.loads(line))
            print(json.dumps(asdict(trials[damage.kind].outcome(damage))), file=out, flush=True)
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
