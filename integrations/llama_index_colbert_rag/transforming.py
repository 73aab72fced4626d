"""Transformations that leave the event loop free."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, TransformComponent

__all__ = ["atransformed"]


async def atransformed(
    transformation: TransformComponent, nodes: Sequence[BaseNode], **options: Any
) -> Sequence[BaseNode]:
    """What a transformation makes of nodes: by its own async method, or in a thread where it has none."""
    if _is_async(transformation):
        return await transformation.acall(nodes, **options)
    return await asyncio.to_thread(transformation, nodes, **options)


def _is_async(transformation: TransformComponent) -> bool:
    if isinstance(transformation, NodeParser):
        # a parser's acall cuts on the event loop unless one of these does better
        return _overrides(transformation, NodeParser, "acall", "aget_nodes_from_documents", "_aparse_nodes")
    return _overrides(transformation, TransformComponent, "acall")


def _overrides(found: object, base: type, *methods: str) -> bool:
    return any(getattr(type(found), name) is not getattr(base, name) for name in methods)
