"""Runs functions in a warm process that has faults.c under it, each in a forked child of its own.

The C library's calls are put under Python, NumPy and SQLite alike, so a plan meets every call that touches the index.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any

__all__ = ["FaultServer", "FaultServers", "Outcome", "build_interposer", "why_not_here"]

_SOURCE = Path(__file__).with_name("faults.c")
# the current folder must not come before the path of the test run
_START = (
    "import sys; sys.path.remove(''); from multiprocessing.connection import Connection; "
    "import faults_server, faults_work; "
    "faults_server.serve(Connection(int(sys.argv[1])), faults_work.warm_up)"
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def why_not_here() -> str | None:
    """Why faults cannot be put under a process on this machine, or None."""
    if not sys.platform.startswith("linux"):
        return "faults are put under a process by LD_PRELOAD, which needs Linux"
    return None if shutil.which("gcc") else "faults.c needs gcc"


def build_interposer(folder: Path) -> Path:
    """Compile faults.c into a folder."""
    library = folder / "faults.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Outcome:
    """How one function ended.

    Attributes:
        signal: What killed its process, or 0.
        told: What it sent by ``faults_server.tell``.
        value: What it returned.
        error: The traceback of what it raised, or None.
    """

    signal: int
    told: tuple[Any, ...]
    value: Any
    error: str | None

    @property
    def was_killed(self) -> bool:
        """Whether it was killed as planned; any other signal is a crash of its own."""
        return self.signal == signal.SIGKILL and self.error is None

    def result(self) -> Any:
        """What it returned.

        Raises:
            AssertionError: it did not.
        """
        assert self.signal == 0, f"ended by signal {self.signal}; it had told {self.told}"
        assert self.error is None, self.error
        return self.value


class FaultServer:
    """One process that gets warm; :meth:`wait` for it.

    Args:
        library: From :func:`build_interposer`.
        prefix: A command that runs the process, such as ``unshare --mount``.
    """

    def __init__(self, library: Path, prefix: Sequence[str] = ()) -> None:
        self._connection, theirs = Pipe()
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), "LD_PRELOAD": str(library), "PYTHONPATH": path}
        command = [*prefix, sys.executable, "-c", _START, str(theirs.fileno())]
        self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()

    def wait(self) -> None:
        """Until it is warm; no function can be run before."""
        assert self._connection.recv() == "ready"

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        kill_after_s: float | None = None,
        timeout_s: float = 60.0,
    ) -> Outcome:
        """Run a function of a module that the process can import.

        Args:
            function: Sent by name.
            arguments: Sent as pickles.
            kill_after_s: SIGKILL this long after it first tells something.
            timeout_s: SIGKILL and an error after that long.
        """
        self._connection.send((function, arguments, kill_after_s, timeout_s))
        ended_by, sent = self._connection.recv()
        parts: dict[str, list[Any]] = {"told": [], "value": [], "error": []}
        for kind, content in sent:
            parts[kind].append(content)
        value, error = (parts[kind][0] if parts[kind] else None for kind in ("value", "error"))
        return Outcome(ended_by, tuple(parts["told"]), value, error)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.wait(timeout=30)

    def kill(self) -> None:
        """End the process and its child at once; who waits for a function gets an error."""
        self._process.kill()


class FaultServers:
    """Some warm processes that share the cases of a test.

    Args:
        library: From :func:`build_interposer`.
        count: How many.
    """

    def __init__(self, library: Path, count: int) -> None:
        # in this thread: they end with the one that starts them
        self._servers = [FaultServer(library) for _ in range(count)]
        for server in self._servers:
            server.wait()
        self._free: SimpleQueue[FaultServer] = SimpleQueue()
        for server in self._servers:
            self._free.put(server)

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Outcome:
        """As :meth:`FaultServer.run`, in a process that is free."""
        server = self._free.get()
        try:
            return server.run(function, *arguments, **options)
        finally:
            self._free.put(server)

    def map(self, work: Callable[[Any], Any], cases: Iterable[Any]) -> list[Any]:
        """Results of ``work(case)`` in order, as many at once as there are processes; the first failure ends it."""
        stopped = threading.Event()

        def guarded(case: Any) -> Any:
            if stopped.is_set():
                return None
            try:
                return work(case)
            except BaseException:
                stopped.set()
                raise

        with ThreadPoolExecutor(len(self._servers)) as pool:
            try:
                return list(pool.map(guarded, cases))
            except KeyboardInterrupt:
                # a case may be thousands of functions, and the pool waits for what it has begun
                stopped.set()
                for server in self._servers:
                    server.kill()
                raise

    def close(self) -> None:
        """End the processes."""
        for server in self._servers:
            server.close()
