"""A LangChain agent that looks things up: the retriever as a tool, its documents as the tool's artifact.

It needs the package langchain beside the extra: pip install langchain
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_colbert_rag import ColBERTRetriever, ColBERTVectorStore
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import create_retriever_tool

HANDBOOK = {
    "notice": "Whoever leaves gives three months' notice.",
    "leave": "Every year has thirty days of paid leave. Days that are left expire in March.",
    "remote": "Remote work is possible two days a week.",
}
QUESTION = "Can I keep holidays for next year?"


class ScriptedModel(GenericFakeChatModel):
    """Calls the tool, then answers, whatever it is asked."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


CALL = {"name": "search_handbook", "args": {"query": "unused holidays"}, "id": "call-1"}
SCRIPT = [AIMessage("", tool_calls=[CALL]), AIMessage("Unused days of leave expire in March.")]

# any chat model of LangChain that calls tools in its place: llm = init_chat_model("...")
llm = ScriptedModel(messages=iter(SCRIPT))

store = ColBERTVectorStore.from_texts(HANDBOOK.values(), ids=list(HANDBOOK))
tool = create_retriever_tool(
    ColBERTRetriever(store=store, k=1),
    "search_handbook",
    "Searches the handbook of the company.",
    response_format="content_and_artifact",
)
agent = create_agent(llm, tools=[tool])

for message in agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"]:
    print(f"{message.type:6}  {message.text or message.tool_calls[0]['args']}")
    if isinstance(message, ToolMessage):
        [document] = message.artifact
        print(f"        {document.id}: {document.metadata['passages'][0]['text']}")
