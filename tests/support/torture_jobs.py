"""Commands that run beside one another, each with its own output, in a group of processes that ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Done", "Job", "run_jobs"]

_LOOK_S = 0.05
# nothing is interrupted that works; what does not end in that time hangs, and has failed
_HANG_S = 4 * 3600.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SHOWN = 6_000


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        name: Of the job.
        code: Its exit code; a negative one is a signal.
        seconds: That it took.
        output: What it printed, to both streams.
    """

    name: str
    code: int
    seconds: float
    output: str


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        name: For people.
        command: Made when the job begins.
        is_alone: Whether nothing else may run beside it.
    """

    name: str
    command: Callable[[], Sequence[str]]
    is_alone: bool = False


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    output: Path
    begun: float = field(default_factory=time.monotonic)

    def done(self) -> Done | None:
        """None while it runs. Whatever it has started and left is ended with it."""
        seconds = time.monotonic() - self.begun
        if self.process.poll() is None and seconds < _HANG_S:
            return None
        self.end()
        said = self.output.read_text(encoding="utf-8", errors="replace")
        return Done(self.job.name, self.process.returncode, seconds, said)

    def end(self) -> None:
        """Kill the whole group."""
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        except (ProcessLookupError, PermissionError):
            # none of the group is left
            pass
        self.process.wait()


def run_jobs(jobs: Sequence[Job], folder: Path, lanes: int, ended: Callable[[Done], None]) -> None:
    """Run all jobs, some at a time; those that must run alone come last.

    Args:
        jobs: In the order in which they begin.
        folder: That the commands run in.
        lanes: How many run at a time.
        ended: Told of each as it ends.
    """
    waiting = sorted(jobs, key=lambda job: job.is_alone)
    running: list[_Running] = []
    with tempfile.TemporaryDirectory() as outputs:
        try:
            while waiting or running:
                while waiting and _may_begin(waiting[0], running, lanes):
                    output = Path(outputs, f"{len(waiting)}.txt")
                    running.append(_begin(waiting.pop(0), folder, output))
                for one in list(running):
                    if (done := one.done()) is not None:
                        running.remove(one)
                        _tell(done)
                        ended(done)
                time.sleep(_LOOK_S)
        finally:
            for one in running:
                one.end()


def _may_begin(job: Job, running: Sequence[_Running], lanes: int) -> bool:
    return not running if job.is_alone else len(running) < lanes


def _begin(job: Job, folder: Path, output: Path) -> _Running:
    command = list(job.command())
    print(f"== {job.name}: begun", flush=True)
    # a file and no pipe: nobody has to read it, and what is left behind holds up nobody
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_one_thread_each(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Running(job, process, output)


def _one_thread_each(environment: Mapping[str, str]) -> dict[str, str]:
    return {**environment, **dict.fromkeys(_THREADS, "1")}


def _tell(done: Done) -> None:
    print(f"== {done.name}: {'well' if done.code == 0 else f'exit code {done.code}'}, {done.seconds:.0f} s", flush=True)
    if done.code:
        print(done.output[-_SHOWN:], flush=True)
