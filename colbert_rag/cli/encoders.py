"""From the name on the command line to an encoder."""

from __future__ import annotations

from colbert_rag.types import TextEncoder

__all__ = ["chosen_encoder", "load_encoder"]


def load_encoder(name: str) -> TextEncoder:
    """Return the encoder of that name: ``"builtin"``, a hub name or a folder."""
    from colbert_rag import Encoder

    return Encoder(name)


def chosen_encoder(name: str | None) -> TextEncoder | None:
    """Return the encoder of that name; without a name None, which leaves the choice to the index."""
    return None if name is None else load_encoder(name)
