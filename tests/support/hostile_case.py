"""One hostile index: how it is made, and which step must refuse it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hostile_index import HostileIndex

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """A row of a table of hostile indexes.

    Attributes:
        name: What is wrong.
        at: The step of ``hostile_walk.walk`` that must refuse it; "" where it does no harm and need not be refused.
        make: Makes it from a good index.
        is_packed: From a compressed one, with a codec and inverted lists.
        error: What the step must raise; verify reports instead.
        typed: Further errors of ours that other steps may raise.
    """

    name: str
    at: str
    make: Callable[[HostileIndex], None]
    is_packed: bool = True
    error: str = "CorruptIndexError"
    typed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name
