"""The warm process: imports everything once and forks a child for each case."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from lifeline import end_with_parent

__all__ = ["serve", "tell"]

_channel: list[Connection] = []


def tell(value: Any) -> None:
    """Send a value to the test at once; it arrives even if this process is killed next."""
    _channel[0].send(("told", value))


def serve(requests: Connection, warm_up: Callable[[], None]) -> None:
    """Answer requests until the test closes its end."""
    end_with_parent()
    warm_up()
    # children then do not write to the pages of what is already there
    gc.freeze()
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        sys.exit("a process with threads must not fork")
    requests.send("ready")
    while True:
        try:
            function, arguments, kill_after_s, timeout_s = requests.recv()
        except EOFError:
            return
        requests.send(_in_child(function, arguments, kill_after_s, timeout_s))


def _in_child(
    function: Callable[..., Any], arguments: tuple[Any, ...], kill_after_s: float | None, timeout_s: float
) -> tuple[int, list[tuple[str, Any]]]:
    """The signal that ended the child, or 0, and what it sent."""
    receiver, sender = Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        end_with_parent()
        receiver.close()
        _channel.append(sender)
        try:
            sender.send(("value", function(*arguments)))
        except BaseException:
            sender.send(("error", traceback.format_exc()))
        os._exit(0)
    sender.close()
    sent = _listen(receiver, child, kill_after_s, timeout_s)
    receiver.close()
    _, status = os.waitpid(child, 0)
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), sent


def _listen(receiver: Connection, child: int, kill_after_s: float | None, timeout_s: float) -> list[tuple[str, Any]]:
    """What a child sends until it ends; it is killed some time after its first word, or when it hangs."""
    sent: list[tuple[str, Any]] = []
    deadline = time.monotonic() + timeout_s
    while True:
        if not receiver.poll(max(0.0, deadline - time.monotonic())):
            os.kill(child, signal.SIGKILL)
            if kill_after_s is None:
                return [*sent, ("error", f"no end after {timeout_s} s")]
            deadline = time.monotonic() + timeout_s
            continue
        try:
            sent.append(receiver.recv())
        except (EOFError, OSError):
            return sent
        if kill_after_s is not None and len(sent) == 1:
            deadline = time.monotonic() + kill_after_s
