"""How kernels are compiled: at the first call, for given types, without the GIL.

Callers split documents over threads; a kernel itself is serial, so that concurrent searches never
meet in a shared pool (numba's portable one aborts the process when two threads enter it).
All indices are unsigned: a signed index costs a wrap-around test at every access.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba as nb
from numba import types as t
from numba.np.numpy_support import as_dtype

__all__ = ["IDS", "RANGE", "Kernel", "kernel", "read", "written"]

_log = logging.getLogger(__name__)


def read(dtype: Any, ndim: int) -> Any:
    """A C-contiguous array that may lie in a read-only map."""
    return t.Array(dtype, ndim, "C", readonly=True)


def written(dtype: Any, ndim: int) -> Any:
    """A C-contiguous array that a kernel fills."""
    return t.Array(dtype, ndim, "C")


class Kernel:
    """A function for the types of its signatures and no others; the first call of each makes its machine code ready.

    A search needs few of the signatures that there are, and every one costs milliseconds to load and about a second
    to compile. Any number of threads may make the first call.

    Args:
        function: What is compiled.
        signatures: At least one; they differ in the element type of one array and nothing else.
        options: Further options of ``numba.njit``.
    """

    def __init__(self, function: Callable[..., Any], signatures: tuple[Any, ...], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self._function, self._options = function, options
        places = zip(*(signature.args for signature in signatures), strict=True)
        self._varying = next((n for n, types in enumerate(places) if len(set(types)) > 1), None)
        self._signatures = {self._kind(signature.args): signature for signature in signatures}
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._guard = threading.Lock()
        self.inner = nb.njit(**options)(function)
        """The function as another kernel calls it: compiled with that one, for whatever types it passes."""

    def __call__(self, *args: Any) -> Any:
        """Run it; TypeError for arguments of other types than its signatures name."""
        kind = None if self._varying is None else args[self._varying].dtype
        return (self._compiled.get(kind) or self._made_ready(kind))(*args)

    def make_ready(self) -> None:
        """Load or compile all signatures now."""
        for kind in self._signatures:
            self._made_ready(kind)

    def _kind(self, types: tuple[Any, ...]) -> Any:
        return None if self._varying is None else as_dtype(types[self._varying].dtype)

    def _made_ready(self, kind: Any) -> Callable[..., Any]:
        with self._guard:
            if kind not in self._compiled:
                self._compiled[kind] = _machine_code(self._function, self._signature(kind), self._options)
            return self._compiled[kind]

    def _signature(self, kind: Any) -> Any:
        if kind not in self._signatures:
            taken = " or ".join(map(str, self._signatures))
            msg = f"{self._function.__name__}: argument {self._varying} is an array of {kind}, expected {taken}"
            raise TypeError(msg)
        return self._signatures[kind]


def kernel(*signatures: Any, **options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Compile at the first call, keep the machine code on disk where a folder for that can be written."""
    return lambda function: Kernel(function, signatures, options)


def _machine_code(function: Callable[..., Any], signature: Any, options: dict[str, Any]) -> Callable[..., Any]:
    """From numba's cache, or compiled anew: a cache is a gain in time and never a reason to fail."""
    begin = time.perf_counter()
    function = _named_by_sources(function)
    try:
        compiled: Any = nb.njit(signature, nogil=True, cache=True, **options)(function)
    except Exception as err:
        compiled = nb.njit(signature, nogil=True, **options)(function)
        # numba's own RuntimeError names the function, and would be said once for each
        _warn(*(_NO_FOLDER if isinstance(err, RuntimeError) else (f"{type(err).__name__}: {err}", _DAMAGED)))
    spent, place = time.perf_counter() - begin, compiled.stats.cache_path
    if compiled.stats.cache_misses or place is None:
        _log.info("compiled %s in %.1f s; %s", function.__name__, spent, f"kept in {place}" if place else "not kept")
    return compiled  # type: ignore[no-any-return]


def _named_by_sources(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under a name that changes with any file of the kernels.

    numba's cache knows a function by its name and its own file, and would go on with machine code that was made of
    another file's constants and operations as they were.
    """
    named = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    named.__qualname__ = f"{function.__qualname__}_{_sources_digest()}"
    return named


@functools.cache
def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


_NO_FOLDER = ("no folder can be written", "Set NUMBA_CACHE_DIR to a folder that this user can write and nobody else.")
_DAMAGED = (
    "Delete the files *.nbi and *.nbc in colbert_rag/kernels/__pycache__, in the folder numba of the user's cache or "
    "in NUMBA_CACHE_DIR: they are made again."
)


@functools.cache
def _warn(reason: str, advice: str) -> None:
    """Say it once for each reason."""
    _log.warning(
        "Compiled kernels cannot be kept or read back, so every process compiles them anew, which takes seconds: "
        "%s. %s",
        reason,
        advice,
    )


# types of a centroid id
IDS = (t.uint16, t.uint32)
# starts and ends of documents
RANGE = (read(t.int64, 1), read(t.int64, 1))
