"""A bar per stage on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from colbert_rag.cli.output import error_console
from colbert_rag.types import Progress

__all__ = ["progress_bars"]


# documents are written as their tokens are encoded: one bar, and the one with the finer steps
_SAID_BY = {"index": "encode"}


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class _Bars:
    """Turns ``progress(stage, done, total)`` into one task per stage."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if _SAID_BY.get(stage) in self._tasks:
            if stage in self._tasks:
                self._bars.update(self._tasks[stage], visible=False)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        task = self._tasks[stage]
        if done < self._bars.tasks[task].completed:
            self._bars.reset(task, total=total)
        self._bars.update(task, completed=done, total=total)


@contextmanager
def progress_bars(*, is_quiet: bool) -> Iterator[Progress | None]:
    """Show bars with speed and time left while the block runs; None where stderr is no terminal, or when quiet."""
    console = error_console()
    if is_quiet or not console.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with RichProgress(*columns, _SpeedColumn(), TimeRemainingColumn(), console=console) as bars:
        yield _Bars(bars)
