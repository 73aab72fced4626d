"""Documents cut down to their evidence, within a budget of tokens."""

from __future__ import annotations

import pickle
from itertools import cycle

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_colbert_rag import ColBERTReranker, ColBERTRetriever, ColBERTVectorStore, InvalidArgumentError
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

from colbert_rag import InvalidQueryError, estimate_tokens

QUESTION = "who may end the contract"
EVIDENCE = "Either side may end the contract with ninety days of warning."
FILLER = [f"Clause {n} says nothing of interest." for n in range(700)]


def words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def contract() -> Document:
    text = " ".join([*FILLER[:400], EVIDENCE, *FILLER[400:]])
    assert estimate_tokens(text) > words(text) > 4_000
    return Document(id="contract", page_content=text, metadata={"year": 2024})


@pytest.fixture
def archive(handbook: ColBERTVectorStore, contract: Document) -> ColBERTVectorStore:
    handbook.add_documents([contract])
    return handbook


class Prompts(BaseCallbackHandler):
    """Keeps what a chat model was sent."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_chat_model_start(self, serialized, messages, **kwargs) -> None:
        self.seen += [message.content for batch in messages for message in batch]


@pytest.mark.parametrize("budget", [40, 150])
def test_the_prompt_holds_the_evidence_and_not_the_rest_of_the_document(archive, budget):
    retriever = ColBERTRetriever(store=archive, k=3, context_tokens=budget)
    prompts = Prompts()
    llm = GenericFakeChatModel(messages=cycle([AIMessage("Either side.")]), callbacks=[prompts])
    template = "Context:\n{context}\n\nQuestion: {question}"

    def joined(documents):
        return "\n\n".join(document.page_content for document in documents)

    chain = {"context": retriever | joined, "question": RunnablePassthrough()}
    chain = chain | ChatPromptTemplate.from_template(template) | llm | StrOutputParser()
    assert chain.invoke(QUESTION) == "Either side."
    [prompt] = prompts.seen
    assert EVIDENCE in prompt
    assert sum(clause in prompt for clause in FILLER) < 20
    assert estimate_tokens(prompt) <= budget + estimate_tokens(template) + estimate_tokens(QUESTION)


def test_passages_have_offsets_in_the_whole_text_that_the_store_gives(archive, contract):
    found = ColBERTRetriever(store=archive, k=3, passages=30, context_tokens=120).invoke(QUESTION)
    [shown] = [document for document in found if document.id == "contract"]
    [whole] = archive.get_by_ids([shown.id])
    assert whole == contract
    assert shown.metadata["year"] == 2024
    assert 0 < shown.metadata["relevance_score"] <= 1
    passages = shown.metadata["passages"]
    for passage in [*passages, *shown.metadata["passages_left_out"]]:
        assert whole.page_content[passage["start"] : passage["end"]] == passage["text"]
    assert [p["start"] for p in passages] == sorted(p["start"] for p in passages)
    assert shown.page_content == " … ".join(passage["text"] for passage in passages)
    assert shown.metadata["passages_left_out"]


def test_the_budget_holds_over_all_documents_together(archive):
    for budget in (20, 60, 300):
        found = ColBERTRetriever(store=archive, k=5, context_tokens=budget).invoke(QUESTION)
        assert 0 < sum(estimate_tokens(document.page_content) for document in found) <= budget


def test_tokens_are_counted_as_the_caller_says(archive):
    retriever = ColBERTRetriever(store=archive, k=1, context_tokens=12, count_tokens=words)
    [found] = retriever.invoke(QUESTION)
    assert found.page_content == EVIDENCE
    assert words(found.page_content) == 11
    broken = ColBERTRetriever(store=archive, context_tokens=12, count_tokens=str.split)
    with pytest.raises(InvalidArgumentError, match="found list"):
        broken.invoke(QUESTION)


async def test_async_and_batches_give_the_same(archive):
    retriever = ColBERTRetriever(store=archive, k=2, context_tokens=80)
    found = retriever.invoke(QUESTION)
    assert await retriever.ainvoke(QUESTION) == found
    assert retriever.batch([QUESTION, "notice"])[0] == found


def test_the_budget_can_be_given_in_a_call_and_in_the_configuration(archive):
    retriever = ColBERTRetriever(store=archive, k=1)
    assert len(retriever.invoke(QUESTION)[0].page_content) > 20_000
    assert EVIDENCE in retriever.invoke(QUESTION, context_tokens=30)[0].page_content
    field = ConfigurableField(id="budget")
    tunable = retriever.configurable_fields(context_tokens=field)
    [found] = tunable.invoke(QUESTION, {"configurable": {"budget": 30}})
    assert found == retriever.invoke(QUESTION, context_tokens=30)[0]


def test_passages_are_as_many_as_asked_for_and_of_as_many_sentences(archive):
    [one] = ColBERTRetriever(store=archive, k=1, passages=1, context_tokens=500).invoke(QUESTION)
    assert one.page_content == EVIDENCE
    wide = ColBERTRetriever(store=archive, k=1, passages=1, passage_sentences=3, context_tokens=500)
    [three] = wide.invoke(QUESTION)
    assert EVIDENCE in three.page_content
    assert three.page_content.count(".") == 3
    assert wide.invoke(QUESTION, passage_sentences=1) == [one]


def test_the_words_of_a_query_are_evidence_too(archive):
    [found] = ColBERTRetriever(store=archive, k=1, mode="bm25", context_tokens=30).invoke("ninety")
    assert found.page_content == EVIDENCE
    assert "relevance_score" not in found.metadata


def test_a_budget_without_room_for_any_passage_is_an_error(archive):
    with pytest.raises(InvalidQueryError, match="Allow at least"):
        ColBERTRetriever(store=archive, k=1, context_tokens=2).invoke(QUESTION)


@pytest.mark.parametrize("budget", [0, -5, "9", 1.5])
def test_a_budget_that_is_none_is_refused(archive, encoder, budget):
    with pytest.raises(ValidationError, match="context_tokens"):
        ColBERTRetriever(store=archive, context_tokens=budget)
    with pytest.raises(ValidationError, match="context_tokens"):
        ColBERTReranker(encoder=encoder, context_tokens=budget)
    with pytest.raises(InvalidQueryError, match="budget"):
        ColBERTRetriever(store=archive).invoke(QUESTION, context_tokens=budget)


def test_a_retriever_with_a_budget_survives_a_pickle(archive):
    retriever = ColBERTRetriever(store=archive, k=1, context_tokens=12, count_tokens=words)
    again = pickle.loads(pickle.dumps(retriever))
    assert again.invoke(QUESTION) == retriever.invoke(QUESTION)
    again.store.close()


def test_documents_of_another_retriever_are_cut_down_and_stay_as_they_are(encoder, contract, pages):
    before = contract.model_copy(deep=True)
    anything = RunnableLambda(lambda query: [*pages, contract])
    reranker = ColBERTReranker(encoder=encoder, top_n=2, context_tokens=40)
    found = reranker.wrap(anything).invoke(QUESTION)
    assert contract == before
    [shown] = [document for document in found if document.id == "contract"]
    assert EVIDENCE in shown.page_content
    assert sum(estimate_tokens(document.page_content) for document in found) <= 40
    for passage in shown.metadata["passages"]:
        assert contract.page_content[passage["start"] : passage["end"]] == passage["text"]


async def test_a_compression_retriever_gives_evidence_within_the_budget(archive, encoder):
    compressed = ContextualCompressionRetriever(
        base_retriever=archive.as_retriever(search_kwargs={"k": 5}),
        base_compressor=ColBERTReranker(encoder=encoder, top_n=3, context_tokens=40, passage_sentences=2),
    )
    found = compressed.invoke(QUESTION)
    assert any(EVIDENCE in document.page_content for document in found)
    assert sum(estimate_tokens(document.page_content) for document in found) <= 40
    assert await compressed.ainvoke(QUESTION) == found


def test_a_wrap_of_fewer_documents_keeps_the_budget(encoder, contract, pages):
    reranker = ColBERTReranker(encoder=encoder, context_tokens=12, count_tokens=words)
    assert reranker.wrap(RunnableLambda(lambda query: [*pages, contract]), top_n=1).invoke(QUESTION)[
        0
    ].page_content == (EVIDENCE)


def test_a_document_without_an_id_and_one_without_words_pass_through(encoder):
    documents = [Document(page_content="!!!"), Document(page_content="Nobody may end it. So it says.")]
    found = ColBERTReranker(encoder=encoder, context_tokens=50).compress_documents(documents, QUESTION)
    assert sorted(document.page_content for document in found) == ["!!!", "Nobody may end it. So it says."]
    assert [document.id for document in found] == [None, None]


async def test_the_budget_of_a_call_is_that_of_what_a_wrapped_retriever_gives(archive, encoder):
    wrapped = ColBERTReranker(encoder=encoder, top_n=2).wrap(ColBERTRetriever(store=archive, k=4))
    found = wrapped.invoke(QUESTION, context_tokens=60, passage_sentences=2)
    assert 0 < sum(estimate_tokens(document.page_content) for document in found) <= 60
    assert await wrapped.ainvoke(QUESTION, context_tokens=60, passage_sentences=2) == found
    [shown] = [document for document in found if document.id == "contract"]
    [whole] = archive.get_by_ids(["contract"])
    assert EVIDENCE in shown.page_content
    for passage in [*shown.metadata["passages"], *shown.metadata["passages_left_out"]]:
        assert whole.page_content[passage["start"] : passage["end"]] == passage["text"]
    assert len(wrapped.invoke(QUESTION, k=1)[0].page_content) > 20_000
    with pytest.raises(InvalidQueryError, match="budget"):
        wrapped.invoke(QUESTION, context_tokens=0)


def test_a_reranker_refuses_documents_that_have_been_cut(archive, encoder):
    inside = ColBERTRetriever(store=archive, k=2, context_tokens=60)
    for reranker in (ColBERTReranker(encoder=encoder), ColBERTReranker(encoder=encoder, context_tokens=60)):
        with pytest.raises(
            InvalidArgumentError, match=r"'contract' has been cut .* Give context_tokens to the reranker"
        ):
            reranker.wrap(inside).invoke(QUESTION)


def test_what_an_earlier_stage_left_out_is_gone(archive, encoder):
    stale = Document(id="a", page_content="It ends.", metadata={"passages": "mine", "passages_left_out": "mine"})
    [found] = ColBERTReranker(encoder=encoder).compress_documents([stale], QUESTION)
    assert "passages_left_out" not in found.metadata
    archive.add_documents([stale])
    [found] = ColBERTRetriever(store=archive, k=1).invoke("it ends")
    assert (found.id, "passages_left_out" in found.metadata) == ("a", False)


def test_a_budget_without_passages_and_wrong_sentences_are_refused_with_words(archive, encoder):
    for options, words_of_error in (({"passages": 0}, "passages=0"), ({"passage_sentences": "3"}, "found '3'")):
        with pytest.raises(InvalidQueryError, match=words_of_error):
            ColBERTRetriever(store=archive).invoke(QUESTION, context_tokens=60, **options)
    with pytest.raises(InvalidQueryError, match="passages=0"):
        ColBERTReranker(encoder=encoder, passages=0, context_tokens=60).compress_documents(
            [Document(page_content="It ends.")], QUESTION
        )
