"""A set of the keys of documents that stays small while a stream is long."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["KeySet"]

_TOGETHER = 1024


class KeySet:
    """Keys, about a bit for each where they are close together, as those of documents are that came together."""

    def __init__(self) -> None:
        self._bits: dict[int, int] = {}

    def update(self, keys: Iterable[int]) -> None:
        """Put keys into the set."""
        for key in keys:
            group, place = divmod(key, _TOGETHER)
            self._bits[group] = self._bits.get(group, 0) | 1 << place

    def __contains__(self, key: int) -> bool:
        group, place = divmod(key, _TOGETHER)
        return bool(self._bits.get(group, 0) >> place & 1)
