"""The standard suites of langchain-tests, whole, on the test encoder and on the built-in model."""

from __future__ import annotations

import pytest
from langchain_colbert_rag import ColBERTRetriever
from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

TEXTS = ["a cat sleeps", "a dog barks", "cats and dogs play", "the cat eats fish"]


class TestVectorStoreOnTheTestEncoder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, new_store):
        return new_store()


class TestVectorStoreOnTheBuiltInModel(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, new_store, builtin):
        return new_store(given=builtin)


class RetrieverSuite(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return ColBERTRetriever

    @property
    def retriever_constructor_params(self):
        return {"store": self.store}

    @property
    def retriever_query_example(self):
        return "cat"


class TestRetrieverOnTheTestEncoder(RetrieverSuite):
    @pytest.fixture(autouse=True)
    def filled(self, new_store):
        self.store = new_store()
        self.store.add_documents([Document(page_content=text) for text in TEXTS])


class TestRetrieverOnTheBuiltInModel(RetrieverSuite):
    @pytest.fixture(autouse=True)
    def filled(self, new_store, builtin):
        self.store = new_store(given=builtin)
        self.store.add_documents([Document(page_content=text) for text in TEXTS])
