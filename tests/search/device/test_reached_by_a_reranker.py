"""Reranking on a device that is not there, whose kernels run in Triton's interpreter, against plain MaxSim."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import torch

from colbert_rag import Document, InvalidQueryError, Reranker
from colbert_rag.errors import DeviceError
from colbert_rag.rerank import EncodedTexts
from colbert_rag.search import ProcessorRanker
from colbert_rag.search.device import ranker as ranking
from colbert_rag.search.device import stages
from colbert_rag.search.device.resident import Part
from colbert_rag.types import TokenVectors

LENGTHS = (63, 1, 32, 31, 33, 2, 64)
TEXTS = ["cats sleep", "the notice period is long", "dogs run. notice the cat", "period"]
QUERY = "notice period"


def unit(rng, n, dim):
    rows = rng.standard_normal((n, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def encoded(dtype, dim, lengths=LENGTHS):
    rng = np.random.default_rng(dim)
    vectors = [unit(rng, n, dim).astype(dtype) for n in lengths]
    return EncodedTexts(
        tuple(f"text {n}" for n in range(len(lengths))),
        tuple(TokenVectors(rows, np.zeros((len(rows), 2), np.int32)) for rows in vectors),
    )


@pytest.fixture
def poisoned(monkeypatch):
    """What a kernel does not write is no number."""
    original = torch.Tensor.new_empty

    def new_empty(*args, **options):
        made = original(*args, **options)
        return made.fill_(torch.nan) if made.is_floating_point() else made

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)


@pytest.fixture
def reranker_on(encoder, monkeypatch):
    """``reranker_on(ranker)``: a reranker that compares there."""

    def reranker_on(ranker):
        monkeypatch.setattr("colbert_rag.rerank.ranker_for", lambda name: ranker)
        return Reranker(encoder)

    return reranker_on


@pytest.fixture
def loads(monkeypatch):
    """The segments that were copied to a device, by name: whoever held them would keep them there."""
    loaded = []
    original = Part.load
    monkeypatch.setattr(Part, "load", lambda *args: (loaded.append(args[1].record.name), original(*args))[1])
    return loaded


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("dim", "n_query", "k"), [(48, 1, 7), (7, 33, 3), (128, 32, 7), (96, 70, 1)])
def test_texts_are_ordered_by_plain_maxsim(poisoned, ranker, dtype, dim, n_query, k):
    texts = encoded(dtype, dim)
    query = unit(np.random.default_rng(n_query), n_query, dim).astype(np.float32)
    exact = [
        (query.astype(np.float64) @ tokens.vectors.T.astype(np.float64)).max(axis=1).sum() for tokens in texts.tokens
    ]
    for device in (ranker(), ranker((1 << 40,) * 3), ranker((2_000,))):
        found = texts.ranked(query, k, device)
        assert [position for position, _ in found] == np.argsort(exact)[::-1][:k].tolist()
        assert [score for _, score in found] == pytest.approx(sorted(exact, reverse=True)[:k], abs=1e-5 * n_query)


def test_a_device_finds_what_the_processor_finds(reranker_on, ranker):
    texts = [*TEXTS, Document("x", "Three months. Nothing else.", heading="Notice period")]
    there, here = (reranker_on(each).rerank(QUERY, texts) for each in (ranker(), ProcessorRanker()))
    assert [(found.position, found.text, found.passages) for found in there] == [
        (found.position, found.text, found.passages) for found in here
    ]
    assert [found.score for found in there] == pytest.approx([found.score for found in here], abs=1e-5)


@pytest.mark.parametrize("k", [1, 40, None])
def test_equal_scores_keep_the_order_of_the_input_however_many(reranker_on, ranker, k):
    texts = [TEXTS[3]] * 40 + [TEXTS[1]] * 40
    found = reranker_on(ranker()).rerank(QUERY, texts, k, passages=0)
    assert [each.position for each in found] == [*range(40, 80), *range(40)][:k]


def test_vectors_are_moved_once_and_stay_as_long_as_their_texts_are_held(reranker_on, ranker, loads):
    device = ranker()
    reranker = reranker_on(device)
    first, second = reranker.encode(TEXTS), reranker.encode(TEXTS[::-1])
    for _ in range(3):
        for texts in (first, second):
            reranker.rerank(QUERY, texts)
    assert len(loads) == 2
    del first, texts
    reranker.rerank(QUERY, second)
    assert len(loads) == 2
    assert len(device._residents._parts) == 1


def test_what_was_compared_on_a_device_goes_to_another_process_without_its_copies(reranker_on, ranker):
    reranker = reranker_on(ranker(wanted="cpu"))
    texts = reranker.encode(TEXTS)
    before = len(pickle.dumps(texts))
    expected = reranker.rerank(QUERY, texts)
    assert len(pickle.dumps(texts)) == before
    again, texts = pickle.loads(pickle.dumps((reranker, texts)))
    assert again._ranker.wanted == "cpu"
    assert again.rerank(QUERY, texts) == expected


def test_few_texts_are_compared_on_the_processor_unless_a_device_was_named(reranker_on, ranker, loads):
    expected = reranker_on(ProcessorRanker()).rerank(QUERY, TEXTS)
    assert reranker_on(ranker(wanted="auto")).rerank(QUERY, TEXTS) == expected
    assert not loads
    reranker_on(ranker(wanted="cuda")).rerank(QUERY, TEXTS)
    assert loads


def test_each_type_of_vectors_is_proved_by_itself(ranker, monkeypatch):
    proved = []
    monkeypatch.setattr(ranking, "prove", lambda part, *_: proved.append(part.columns["vectors"].dtype))
    device, query = ranker(), unit(np.random.default_rng(0), 3, 16).astype(np.float32)
    for dtype in (np.float16, np.float32, np.float16):
        encoded(dtype, 16).ranked(query, 1, device)
    assert proved == [torch.float16, torch.float32]


def test_a_device_that_fails_is_an_error_where_it_was_named_and_a_warning_where_not(
    reranker_on, ranker, monkeypatch, caplog
):
    def fails(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    expected = reranker_on(ProcessorRanker()).rerank(QUERY, TEXTS)
    monkeypatch.setattr(stages, "dense_scores", fails)
    with pytest.raises(DeviceError, match=r'out of memory.*device="cpu"'):
        reranker_on(ranker()).rerank(QUERY, TEXTS)
    monkeypatch.setattr(ranking, "FEWEST_TOKENS_ESTIMATE", 0)
    automatic = reranker_on(ranker(wanted="auto"))
    assert automatic.rerank(QUERY, TEXTS) == expected
    assert automatic.device == "cpu"
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "out of memory" in said


def test_a_device_that_is_not_there_or_is_none_is_refused(encoder, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match=r'device="cpu"'):
        Reranker(encoder, device="cuda:1")
    with pytest.raises(InvalidQueryError, match='device must be "auto"'):
        Reranker(encoder, device="gpu")
    assert Reranker(encoder, device="cpu").device == "cpu"
