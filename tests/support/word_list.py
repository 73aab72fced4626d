"""Words that texts are made of."""

from __future__ import annotations

__all__ = ["WORDS"]

WORDS = (
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "glade", "harbor", "island", "juniper", "kelp", "lagoon"),
    *("meadow", "nectar", "orchid", "prairie", "quartz", "river", "spruce", "thistle", "umber", "valley", "willow"),
    *("yarrow", "zephyr", "basalt", "copper", "dune", "estuary", "fen"),
)
