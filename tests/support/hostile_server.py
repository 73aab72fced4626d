"""A process that tries hostile input in children of its own, each with a limit of memory and of time."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lifeline import end_with_parent

__all__ = ["HostileServer"]

# beyond what the process has mapped when the child begins: a guard, the tests look at what was really touched
_MOST_MORE_BYTES = 4 << 30
# a copy of holes that were not seen ends here, and not when the disk, which may be memory, is full
_MOST_FILE_BYTES = 128 << 20


class HostileServer:
    """Starts the process; ``run`` has one child do one thing."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, job: str, *arguments: Any, limit_s: int = 20) -> dict[str, Any]:
        """What a child made of a job: its ``result``, ``signal`` (0: none) and ``grown`` bytes of memory."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([job, list(arguments), limit_s]) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the server of hostile input has died"
        return json.loads(line)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


def _jobs() -> dict[str, Callable[..., Any]]:
    from hostile_fuzz import fuzz
    from hostile_walk import walk

    return {"walk": walk, "fuzz": fuzz}


def _serve() -> None:
    """Load everything once, so that a child costs a fork; nothing here starts a thread."""
    end_with_parent()
    jobs = _jobs()
    _warm_up()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            job, arguments, limit_s = json.loads(line)
            answers.write(json.dumps(_in_child(jobs[job], arguments, limit_s)) + "\n")
            answers.flush()


def _warm_up() -> None:
    import faiss  # noqa: F401

    from colbert_rag.kernels import cpu

    cpu.make_ready()

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def _in_child(job: Callable[..., Any], arguments: list[Any], limit_s: int) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        end_with_parent()
        os.close(read)
        signal.alarm(limit_s)
        with os.fdopen(write, "w") as pipe:
            json.dump(_measured(job, arguments), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {"signal": number, **(json.loads(said) if said and not number else {"result": {}, "grown": 0})}


def _measured(job: Callable[..., Any], arguments: list[Any]) -> dict[str, Any]:
    before, mapped = _memory("VmRSS"), _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MOST_MORE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES,) * 2)
    Path("/proc/self/clear_refs").write_text("5")
    try:
        result = job(*arguments)
    except BaseException:
        result = {"the job itself": traceback.format_exc()}
    return {"result": result, "grown": _memory("VmHWM") - before}


def _memory(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    _serve()
