"""Cases of the crash tests: each runs in a forked child of a warm process."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from faults_disk import MARK, Disk, read_log, write_state
from faults_plan import KILL, Armed, Plan
from faults_server import tell
from faults_work import (
    HISTORIES,
    assert_nothing_is_left,
    check,
    check_answers,
    check_content,
    document,
    open_descriptors,
    open_index,
    perform,
    state_after,
)

from colbert_rag import ColbertRagError, Index
from colbert_rag.errors import CorruptIndexError, IndexExistsError, StorageError

__all__ = [
    "check_each",
    "check_power_losses",
    "crash_case",
    "crash_twice",
    "create",
    "endless_writes",
    "fail_at_every_call",
    "fill_a_disk",
    "logged_history",
]


def crash_case(base: Path, folder: Path, kind: str, number: int, plan: Plan) -> int:
    """Do one step under a plan in a copy of what it finds, from opening to closing; returns the calls counted."""
    shutil.copytree(base / str(number), folder)
    with Armed.on(folder, plan) as armed:
        index = perform(folder, kind, number)
        tell("returned")
        index.close()
    return armed.calls


def check_each(cases: Sequence[tuple[str, Path, str, Sequence[int]]]) -> list[int]:
    """:func:`faults_work.check` for several folders, which are removed: what was done there, folder, kind, allowed."""
    found = []
    for what, folder, kind, allowed in cases:
        try:
            found.append(check(folder, kind, allowed))
        except Exception as err:
            raise AssertionError(what) from err
        shutil.rmtree(folder)
    return found


def logged_history(folder: Path, log: Path, kind: str, stays_open: bool) -> None:
    """Do every step in a new folder and log every call; the log says which steps have returned."""
    folder.mkdir()
    with Armed.on(folder, Plan(log=log)) as armed:
        index = perform(folder, kind, 0)
        armed.mark("returned")
        for number, step in enumerate(HISTORIES[kind], 1):
            if stays_open:
                step.act(index)
            else:
                index.close()
                index = perform(folder, kind, number)
            armed.mark("returned")
        index.close()


def check_power_losses(
    folder: Path, root: Path, log: Path, kind: str, cases: Sequence[tuple[int, str, int]]
) -> list[str]:
    """Check what the disk may hold if the power fails after some of the logged calls.

    Args:
        folder: A new folder to write the states to.
        root: The folder that was watched.
        log: Of :func:`logged_history`.
        kind: Of the history.
        cases: Number of calls done, style and seed of what is lost; rising.

    Returns:
        Digests of the states.
    """
    events, disk, done, returned, digests = read_log(log), Disk(str(root)), 0, 0, []
    for place, style, seed in cases:
        for event in events[done:place]:
            disk.do(event)
            returned += event.kind == MARK
        done = place
        digests.append(write_state(folder, disk.state(style, random.Random(seed))))
        allowed = [returned, min(returned + 1, len(HISTORIES[kind]) + 1)]
        try:
            check(folder, kind, allowed, goes_on=seed % 8 == 0)
        except Exception as err:
            after = events[place - 1] if place else None
            msg = f"power lost after call {place} ({after and (after.kind, after.path)}), {style}, seed {seed}"
            raise AssertionError(msg) from err
        shutil.rmtree(folder)
    return digests


# what a failing call becomes, since nothing is damaged and all is writable, and what its message says
_ADVICE: dict[int, dict[type[ColbertRagError], str]] = {
    # SQLite calls a page malformed that the disk fails to give, and tells that from damage by nothing
    errno.EIO: {
        StorageError: "the disk",
        CorruptIndexError: "The file is damaged, or the disk cannot read it",
    },
    errno.ENOSPC: {StorageError: "Free space"},
    errno.EACCES: {StorageError: "the permissions"},
    errno.EMFILE: {StorageError: "(ulimit -n)"},
}


def fail_at_every_call(
    base: Path, folder: Path, kind: str, number: int, start: int, plans: Sequence[Plan]
) -> tuple[int, bool]:
    """Repeat one step on one index while call after call of it fails, until it returns.

    Args:
        base: Of the histories.
        folder: A new folder.
        kind: Of the history.
        number: Of the step.
        start: The first call that fails.
        plans: What the failing calls do in turn, the first of them call number 0; ``at`` is not used.

    Returns:
        The call that failed last, and whether the step was done without meeting one.
    """
    shutil.copytree(base / str(number), folder)
    before = open_descriptors()
    index = None if number == 0 else open_index(folder)
    at, is_done = start - 1, False
    while index is None or not is_done:
        at += 1
        plan = plans[at % len(plans)]
        with Armed.on(folder, replace(plan, at=at)) as armed:
            try:
                if index is None:
                    index = perform(folder, kind, number)
                else:
                    HISTORIES[kind][number - 1].act(index)
                is_done = True
            except IndexExistsError:
                # the last step of an earlier try failed when the name was there already
                is_done = True
            except ColbertRagError as err:
                _expect_in_message(str(folder), err)
                _expect_advice(plan, err)
        if is_done:
            index = index or open_index(folder)
            break
        if index is not None:
            check_answers(index, state_after(kind, number) or {}, kind)
    check_content(index, state_after(kind, number + 1) or {}, kind)
    index.add([document(99)])
    assert_nothing_is_left(index)
    index.close()
    gc.collect()
    assert open_descriptors() == before, "a descriptor was left open"
    return at, armed.calls < at


def _expect_in_message(text: str, err: Exception) -> None:
    assert text in str(err), f"the message does not say {text!r}: {err}"


def _expect_advice(plan: Plan, err: ColbertRagError) -> None:
    advice = [text for kind, text in _ADVICE[plan.error].items() if isinstance(err, kind)]
    assert advice, f"{errno.errorcode[plan.error]} became {err!r}"
    _expect_in_message(advice[0], err)


def endless_writes(folder: Path, kind: str, seed: int) -> None:
    """Write at random until killed; tells what is begun and what has returned, as changed texts by id."""
    rng = random.Random(seed)
    index = open_index(folder)
    tell("open")
    while True:
        act = rng.choice(["add", "upsert", "upsert", "delete", "compact"])
        known = sorted(index.ids())
        numbers = rng.sample(range(40), rng.randint(1, 4))
        if act in {"add", "upsert"}:
            documents = [document(n, rng.randrange(1_000)) for n in numbers if act == "upsert" or f"d{n}" not in known]
            tell({d.id: d.text for d in documents})
            (index.add if act == "add" else index.upsert)(documents)
        elif act == "delete":
            tell(dict.fromkeys((f"d{n}" for n in numbers), None))
            index.delete([f"d{n}" for n in numbers])
        else:
            tell({})
            index.compact()
        tell("returned")


def crash_twice(base: Path, folder: Path, kind: str, number: int, first: int, second: int) -> tuple[bool, bool]:
    """Kill a writer at a call and the one after it too, while a reader has the index open; then the reader dies.

    The reader keeps the shared memory of the log alive, so the second writer does not replay the log: it must not
    take for gone what a later replay will find.

    Returns:
        Whether the two were killed before they had done their work.
    """
    shutil.copytree(base / str(number), folder)
    reader = open_index(folder)
    check_answers(reader, state_after(kind, number) or {}, kind)
    return _killed_child(folder, kind, number, first), _killed_child(folder, kind, number, second)


def _killed_child(folder: Path, kind: str, number: int, at: int) -> bool:
    child = os.fork()
    if child == 0:
        try:
            with Armed.on(folder, Plan(KILL, at)):
                index = open_index(folder)
                # adding again what the first writer may have committed is refused; replacing it is not
                index.upsert([document(n) for n in range(5, 8)])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def fill_a_disk(folder: Path, kind: str, size: int) -> int:
    """Do a whole history on a disk of its own that is too small; where a step is refused the disk grows.

    Args:
        folder: A new folder, to mount the disk at.
        kind: Of the history.
        size: Of the disk at first, in bytes.

    Returns:
        How many steps were refused.
    """
    folder.mkdir()
    _mount(folder, size, again=False)
    refused, index = 0, None
    for number in range(len(HISTORIES[kind]) + 1):
        while True:
            try:
                if index is None:
                    index = _create_or_open(folder, kind)
                else:
                    HISTORIES[kind][number - 1].act(index)
                break
            except StorageError as err:
                _expect_in_message("Free space", err)
                refused += 1
            if index is not None:
                check_answers(index, state_after(kind, number) or {}, kind)
            size += 64 << 10
            _mount(folder, size, again=True)
        check_content(index, state_after(kind, number + 1) or {}, kind)
    assert_nothing_is_left(index)
    index.close()
    check(folder, kind, [len(HISTORIES[kind]) + 1], goes_on=False)
    ctypes.CDLL(None).umount2(os.fsencode(folder), 2)
    return refused


def _create_or_open(folder: Path, kind: str) -> Index:
    """Creation that is refused when the new index is opened leaves that index, whole and empty."""
    try:
        return perform(folder, kind, 0)
    except IndexExistsError:
        return open_index(folder)


def _mount(folder: Path, size: int, *, again: bool) -> None:
    remount = 32
    library = ctypes.CDLL(None, use_errno=True)
    options = f"size={size}".encode()
    if library.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", remount if again else 0, options):
        raise OSError(ctypes.get_errno(), f"no disk at {folder}")


def create(folder: Path, kind: str) -> None:
    """Make an empty index below a folder."""
    perform(folder, kind, 0).close()
