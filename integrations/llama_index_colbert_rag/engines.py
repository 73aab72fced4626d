"""Which options a retriever takes and which an engine takes, where LlamaIndex gives all of them to both."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.chat_engine.types import BaseChatEngine, ChatMode
from llama_index.core.llms import LLM
from llama_index.core.query_engine import RetrieverQueryEngine

from colbert_rag import InvalidArgumentError, passages_to_fill
from llama_index_colbert_rag.arguments import check_names
from llama_index_colbert_rag.context import EvidenceContext

__all__ = ["chat_engine", "names_of", "query_engine"]

Options = Mapping[str, Any]
NewLLM = Callable[[], LLM]
NewRetriever = Callable[..., BaseRetriever]

_CONTEXT_ENGINES: dict[ChatMode, Callable[..., BaseChatEngine]] = {
    ChatMode.BEST: CondensePlusContextChatEngine.from_defaults,
    ChatMode.CONDENSE_PLUS_CONTEXT: CondensePlusContextChatEngine.from_defaults,
    ChatMode.CONTEXT: ContextChatEngine.from_defaults,
}
# what the index itself hands to an engine
_OURS = {"llm", "retriever", "query_engine"}
# where None stands for the default
_EVIDENCE = ("passages", "passage_sentences")


def names_of(call: Callable[..., Any]) -> list[str]:
    """The arguments that a call takes by name."""
    parameters = inspect.signature(call).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in _OURS]


def query_engine(
    as_retriever: NewRetriever, new_llm: NewLLM, options: Options, context_tokens: int | None = None
) -> BaseQueryEngine:
    """A query engine on a new retriever, with a budget one that gives the LLM the evidence alone.

    Raises:
        InvalidArgumentError: an option that neither of them takes.
        InvalidQueryError: the budget is no whole number of 1 or more, or there are to be no passages.
    """
    build = RetrieverQueryEngine.from_args
    _check("as_query_engine", options, as_retriever, build)
    options = _with_evidence_alone(options, context_tokens)
    return build(as_retriever(**_chosen(options, as_retriever)), llm=new_llm(), **_chosen(options, build))


def chat_engine(
    as_retriever: NewRetriever,
    mode: ChatMode | str,
    new_llm: NewLLM,
    options: Options,
    context_tokens: int | None = None,
) -> BaseChatEngine:
    """A chat engine on a new retriever, with a budget one that gives the LLM the evidence alone.

    Raises:
        InvalidArgumentError: a mode that LlamaIndex has removed, or an option that nothing in this mode takes.
        InvalidQueryError: the budget is no whole number of 1 or more, or there are to be no passages.
    """
    mode = ChatMode(mode)
    call = f"as_chat_engine in mode {mode.value!r}"
    if mode is ChatMode.SIMPLE:
        build: Callable[..., BaseChatEngine] = SimpleChatEngine.from_defaults
        budget = {} if context_tokens is None else {"context_tokens": context_tokens}
        _check(call, {**options, **budget}, build)
        return build(llm=new_llm(), **options)
    if mode is ChatMode.CONDENSE_QUESTION:
        build, ask = CondenseQuestionChatEngine.from_defaults, RetrieverQueryEngine.from_args
        _check(call, options, as_retriever, ask, build)
        llm = new_llm()
        engine = query_engine(as_retriever, lambda: llm, _chosen(options, as_retriever, ask), context_tokens)
        return build(query_engine=engine, llm=llm, **_chosen(options, build))
    if mode not in _CONTEXT_ENGINES:
        msg = f"{call}: LlamaIndex has removed this mode; give an agent a QueryEngineTool of as_query_engine()."
        raise InvalidArgumentError(msg)
    build = _CONTEXT_ENGINES[mode]
    _check(call, options, as_retriever, build)
    options = _with_evidence_alone(options, context_tokens)
    return build(retriever=as_retriever(**_chosen(options, as_retriever)), llm=new_llm(), **_chosen(options, build))


def _with_evidence_alone(options: Options, context_tokens: int | None) -> Options:
    if context_tokens is None:
        return options
    options = {name: value for name, value in options.items() if name not in _EVIDENCE or value is not None}
    given, others = options.get("passages"), list(options.get("node_postprocessors") or [])
    # a postprocessor may find passages where the retriever is asked for none
    wanted = None if others and given == 0 else given
    passages = passages_to_fill(context_tokens, options.get("passage_sentences", 1), wanted)
    postprocessors = [*others, EvidenceContext(max_tokens=int(context_tokens))]
    return {"passages": passages, **options, "node_postprocessors": postprocessors}


def _check(call: str, options: Options, *takers: Callable[..., Any]) -> None:
    check_names(call, options, dict.fromkeys(name for taker in takers for name in names_of(taker)))


def _chosen(options: Options, *takers: Callable[..., Any]) -> dict[str, Any]:
    names: Iterable[str] = {name for taker in takers for name in names_of(taker)}
    return {name: value for name, value in options.items() if name in names}
