"""Which texts are one passage, and which pairs may be told apart from them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from colbert_rag.training.pairs import Pair

__all__ = ["components", "group_texts", "hold_out"]


def group_texts(pairs: Iterable[Pair], corpus: Mapping[str, str] | None = None) -> dict[str, int]:
    """Number the passages: texts with one id, and ids with one text, are the same.

    Args:
        pairs: Positives, with or without ids.
        corpus: Passage id -> text.

    Returns:
        Text -> number of its passage.
    """
    known = [(pair.passage_id, pair.positive) for pair in pairs]
    known += list((corpus or {}).items())
    keys = [[("text", text), *([] if key is None else [("id", key)])] for key, text in known]
    return {text: number for (_, text), number in zip(known, components(keys), strict=True)}


def hold_out(pairs: Sequence[Pair], n: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Part pairs in those to train on and at most ``n`` others, which share no passage and no query with them.

    Args:
        pairs: All.
        n: How many are held out, at most.
        seed: Of the choice.

    Returns:
        Pairs to train on, and pairs held out, both in the order given.
    """
    groups = group_texts(pairs)
    parts = components([[("passage", groups[pair.positive]), ("query", pair.query)] for pair in pairs])
    sizes = Counter(parts)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    chosen: set[int] = set()
    for part in order:
        if sizes[part] <= n:
            chosen.add(part)
            n -= sizes[part]
    marked = list(zip(pairs, parts, strict=True))
    return [pair for pair, part in marked if part not in chosen], [pair for pair, part in marked if part in chosen]


def components(items: Sequence[Sequence[Hashable]]) -> list[int]:
    """Number items so that those which share a key, directly or through others, have one number."""
    parent = list(range(len(items)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    first: dict[Hashable, int] = {}
    for position, keys in enumerate(items):
        for key in keys:
            parent[root(position)] = root(first.setdefault(key, position))
    return [root(position) for position in range(len(items))]
