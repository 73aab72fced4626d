"""Errors that say where in a call a node stands: its id alone may be one that a splitter made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llama_index.core.schema import BaseNode

from colbert_rag import InvalidDocumentError, InvalidVectorsError

__all__ = ["named_by_place"]

# as the core and this adapter name one in an error
_NAMED = re.compile(r"(?:document|node) ('[^']*')")
# what readers call the place that a text comes from
_ORIGINS = ("file_path", "file_name", "source", "url")


@contextmanager
def named_by_place(nodes: Sequence[BaseNode]) -> Iterator[None]:
    """An error of the core about one of the nodes names it by its number in the call, its id, and where it comes from.

    Args:
        nodes: As they were given to the call.
    """
    try:
        yield
    except (InvalidDocumentError, InvalidVectorsError) as err:
        places = {repr(node.node_id): (n, node) for n, node in enumerate(nodes)}
        err.args = (_NAMED.sub(lambda name: _place(*places[name[1]]) if name[1] in places else name[0], str(err)),)
        raise


def _place(n: int, node: BaseNode) -> str:
    parts = [repr(node.node_id)]
    if node.source_node is not None and node.source_node.node_id != node.node_id:
        parts.append(f"of document {node.source_node.node_id!r}")
    origin = next((key for key in _ORIGINS if isinstance(node.metadata.get(key), str)), None)
    if origin is not None:
        parts.append(f"{origin} {node.metadata[origin]!r}")
    return f"node number {n} ({', '.join(parts)})"
