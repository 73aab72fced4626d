"""Backups and restored indexes under faults: the cases, and the check of what they leave."""

from __future__ import annotations

import errno
import gc
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from faults_disk import MARK, Disk, read_log, write_state
from faults_plan import FAIL_ALWAYS, Armed, Plan
from faults_server import tell
from faults_work import ENCODER, INSIDE, check_content, open_descriptors, open_index, state_after
from index_bytes import index_bytes

from colbert_rag import ColbertRagError, Index, restore_index
from colbert_rag.errors import CorruptIndexError, IndexExistsError, StorageError

__all__ = [
    "COPIES",
    "Copy",
    "check_killed",
    "check_lost_power",
    "copy_under",
    "fail_calls",
    "logged_copy",
    "make_source",
]

# steps that a source has behind it: three segments, deleted documents, and a log that nobody has folded in
_STEPS = 4
# the folder below which the copy is made; parents of the copy are missing there
_AWAY = "away"
# what a copy is called that cannot be read back, and a page that the disk fails to give, which SQLite tells from damage
# by nothing
_CALLED_DAMAGE = ("was kept: ", "malformed")
_UNFINISHED = re.compile(r"index\.unfinished-[0-9a-f]{8}")


@dataclass(frozen=True)
class Copy:
    """A way to make one index from another.

    Attributes:
        act: "backup", or "restore" of an index with a damaged segment, whose documents are encoded anew.
        kind: Of the history that the other has behind it.
    """

    act: str
    kind: str

    def __str__(self) -> str:
        return f"{self.act}-{self.kind}"

    @contextmanager
    def ready(self, folder: Path) -> Iterator[Callable[[], Sequence[str]]]:
        """A call that makes the copy below a folder and returns the ids that it says are lost."""
        source, target = folder / INSIDE, folder / _AWAY / INSIDE
        if self.act == "restore":
            yield lambda: restore_index(source, target, ENCODER).lost
            return
        # the second keeps the log from being folded in when the first closes a connection that failed
        with open_index(folder) as index, open_index(folder):
            yield lambda: _backup(index, target)


COPIES = tuple(Copy(act, kind) for act in ("backup", "restore") for kind in ("packed", "plain"))


def _backup(index: Index, target: Path) -> Sequence[str]:
    report = index.backup(target)
    assert report.documents == len(index)
    return ()


def make_source(bases: Path, folder: Path, copy: Copy) -> None:
    """Write what a copy is made of below a new folder."""
    shutil.copytree(bases / str(_STEPS), folder)
    (folder / _AWAY).mkdir()
    if copy.act == "restore":
        first = min((folder / INSIDE).glob("segment-*/doc_keys.npy"), key=Path.read_bytes)
        first.write_bytes(first.read_bytes()[:-1] + b"\xff")


def copy_under(source: Path, folder: Path, copy: Copy, plan: Plan) -> int:
    """Make a copy under a plan in a folder like the source's; returns the calls counted."""
    shutil.copytree(source, folder)
    with copy.ready(folder) as make, Armed.on(folder, plan) as armed:
        make()
        tell("returned")
    return armed.calls


def check_killed(source: Path, cases: Sequence[tuple[str, Path, Copy, bool, bool]]) -> list[bool]:
    """What kills left: a whole copy or none, a source as it was, and nothing that the next try stumbles over.

    Args:
        source: Of all cases.
        cases: What was done there, folder, copy, whether the call had returned, and whether to try again where there
            is no copy; the folders are removed.

    Returns:
        Whether there was a copy.
    """
    found = []
    for what, folder, copy, has_returned, tries_again in cases:
        try:
            # whoever closes an index after its backup folds the log in
            has_changed = index_bytes(folder / INSIDE) != index_bytes(source / INSIDE)
            assert has_returned or not has_changed, "the source has changed"
            found.append(_check_place(folder / _AWAY, copy))
            assert found[-1] or not has_returned, "the call returned, and there is no copy"
            if found[-1] or tries_again:
                _check_next_try(folder, copy, is_there=found[-1])
        except Exception as err:
            raise AssertionError(what) from err
        shutil.rmtree(folder)
    return found


def _check_next_try(folder: Path, copy: Copy, *, is_there: bool) -> None:
    left = _unfinished(folder / _AWAY)
    with copy.ready(folder) as make:
        try:
            make()
        except IndexExistsError:
            assert is_there
        else:
            assert not is_there, "a copy was overwritten"
    assert _check_place(folder / _AWAY, copy)
    assert _unfinished(folder / _AWAY) == left


def _check_place(away: Path, copy: Copy, lost: Sequence[str] = ()) -> bool:
    """Whether there is a copy; it holds every document that was not lost, and is sound."""
    _unfinished(away)
    if not (away / INSIDE).exists():
        return False
    texts = {name: text for name, text in (state_after(copy.kind, _STEPS) or {}).items() if name not in lost}
    with open_index(away) as index:
        check_content(index, texts, copy.kind)
    return True


def _unfinished(away: Path) -> list[Path]:
    """What lies beside the place of a copy; its name says what it is."""
    found = sorted(path for path in away.glob("*/*") if path != away / INSIDE)
    assert all(_UNFINISHED.fullmatch(path.name) for path in found), found
    return found


def fail_calls(
    source: Path, folder: Path, copy: Copy, points: Sequence[int], plans: Sequence[Plan]
) -> tuple[int, bool]:
    """Try to make a copy again and again, each time with another call that fails, and at last with none.

    Args:
        source: Of the copy.
        folder: A new folder, which is removed.
        copy: What is made.
        points: The calls that fail.
        plans: What a failing call does: call ``n`` meets plan ``n``, round and round; ``at`` is not used.

    Returns:
        How many tries met a call that failed, and whether the last one did.
    """
    shutil.copytree(source, folder)
    before, n_met, is_met = open_descriptors(), 0, False
    with copy.ready(folder) as make:
        content = index_bytes(folder / INSIDE)
        for at in points:
            plan = replace(plans[at % len(plans)], at=at)
            try:
                is_met = _fail_call(folder, copy, make, plan)
                n_met += is_met
                assert index_bytes(folder / INSIDE) == content, "the source has changed"
            except Exception as err:
                msg = f"call {at}, {errno.errorcode[plan.error]}, {'once' if plan.action < FAIL_ALWAYS else 'for ever'}"
                raise AssertionError(msg) from err
            shutil.rmtree(folder / _AWAY / INSIDE.parent, ignore_errors=True)
        make()
    assert _check_place(folder / _AWAY, copy)
    gc.collect()
    assert open_descriptors() == before, "a descriptor was left open"
    shutil.rmtree(folder)
    return n_met, is_met


def _fail_call(folder: Path, copy: Copy, make: Callable[[], Sequence[str]], plan: Plan) -> bool:
    """Whether a call failed while the copy was made."""
    away, lost, error = folder / _AWAY, (), None
    with Armed.on(folder, plan) as armed:
        try:
            lost = make()
        except ColbertRagError as err:
            _check_error(folder, plan, err)
            error = str(err)
    is_there = _check_place(away, copy, lost)
    assert is_there or error
    # where every call fails from one on, what was begun cannot be removed either, nor lose the name it has got
    assert plan.action == FAIL_ALWAYS or not (is_there and error), "a copy appeared with an error"
    assert plan.action == FAIL_ALWAYS or not _unfinished(away), "something was left behind"
    assert armed.calls >= plan.at or not error
    return armed.calls >= plan.at


def _check_error(folder: Path, plan: Plan, err: ColbertRagError) -> None:
    what = f"{errno.errorcode[plan.error]} became {err!r}"
    assert str(folder) in str(err), what
    if not isinstance(err, StorageError):
        assert isinstance(err, CorruptIndexError), what
        assert plan.error != errno.EMFILE, what
        assert any(words in str(err) for words in _CALLED_DAMAGE), what


def logged_copy(source: Path, folder: Path, log: Path, copy: Copy) -> Path:
    """Make a copy and log every call in the folder that it is made below, which is returned."""
    shutil.copytree(source, folder)
    away = folder / _AWAY
    with copy.ready(folder) as make, Armed.on(away, Plan(log=log)) as armed:
        make()
        armed.mark("returned")
    return away


def check_lost_power(folder: Path, root: Path, log: Path, copy: Copy, cases: Sequence[tuple[int, str, int]]) -> None:
    """Check what the disk may hold if the power fails after some of the logged calls: a whole copy, or none.

    Args:
        folder: A new folder to write the states to.
        root: The folder that was watched.
        log: Of :func:`logged_copy`.
        copy: What was made.
        cases: Number of calls done, style and seed of what is lost; rising.
    """
    events, disk, done, has_returned = read_log(log), Disk(str(root)), 0, False
    for place, style, seed in cases:
        for event in events[done:place]:
            disk.do(event)
            has_returned |= event.kind == MARK
        done = place
        write_state(folder, disk.state(style, random.Random(seed)))
        try:
            assert _check_place(folder, copy) or not has_returned, "the call returned, and there is no copy"
        except Exception as err:
            after = events[place - 1] if place else None
            msg = f"power lost after call {place} ({after and (after.kind, after.path)}), {style}, seed {seed}"
            raise AssertionError(msg) from err
        shutil.rmtree(folder)
