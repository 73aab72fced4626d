from __future__ import annotations

import threading
import time

import pytest
from llama_index.core import Document
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TransformComponent
from llama_index_colbert_rag.transforming import atransformed


class Blocking(TransformComponent):
    """Takes its time."""

    def __call__(self, nodes, **kwargs):
        time.sleep(0.2)
        return [Document(id_=threading.current_thread().name, text=str(kwargs))]


class Async(Blocking):
    """Has a way of its own."""

    async def acall(self, nodes, **kwargs):
        return [Document(id_=threading.current_thread().name, text="async")]


class Slow(SentenceSplitter):
    """A parser that takes its time."""

    def _parse_nodes(self, nodes, show_progress=False, **kwargs):
        time.sleep(0.2)
        return super()._parse_nodes(nodes, show_progress, **kwargs)


class AsyncParser(Slow):
    """A parser that has a way of its own."""

    async def _aparse_nodes(self, nodes, show_progress=False, **kwargs):
        return list(nodes)


@pytest.mark.parametrize("made", [Blocking, Slow])
async def test_a_transformation_without_an_async_method_runs_in_a_thread(loop_free, made: type[TransformComponent]):
    async with loop_free():
        [node] = await atransformed(made(), [Document(text="amber")], a=1)
    assert node.text == ("amber" if made is Slow else "{'a': 1}")
    assert made is Slow or node.id_ != threading.current_thread().name


async def test_a_transformation_s_own_async_method_runs_on_the_loop():
    [node] = await atransformed(Async(), [])
    assert (node.id_, node.text) == (threading.current_thread().name, "async")
    given = Document(text="amber")
    assert await atransformed(AsyncParser(), [given]) == [given]
