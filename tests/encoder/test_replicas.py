"""A model on several devices, for each of which torch's processor stands."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from colbert_rag import DeviceError, Encoder, ModelUnsupportedError
from colbert_rag.encoder.replicas import replicas, shared
from colbert_rag.encoder.settings import EncoderSettings
from colbert_rag.encoder.token_model import TokenModel

TEXTS = ["the cat sat on the mat", "a dog", "the quick brown fox", "mat", "the dog sat on the fox", "", "cat and dog"]


@pytest.fixture
def on_three(make_tiny):
    """An encoder on three devices, mini-batches of one text."""
    encoder = Encoder(make_tiny(strategy="fixed"), batch_tokens=1)
    encoder._replicas = replicas(encoder._loaded(), ("cpu", "cpu"), None, "float32")
    return encoder


@pytest.fixture
def together(monkeypatch):
    """Who encodes waits for two others: each of three devices so gets a mini-batch. Gives the models that worked."""
    used, barrier, original = [], threading.Barrier(3, timeout=60), TokenModel.encode_ids

    def encode_ids(self, batch, task):
        if self not in used:
            used.append(self)
            barrier.wait()
        return original(self, batch, task)

    monkeypatch.setattr(TokenModel, "encode_ids", encode_ids)
    return used


def test_results_are_in_the_order_of_the_texts_and_as_of_one_device(on_three, make_tiny, together):
    found = on_three.encode_documents(TEXTS)
    assert len(together) == 3
    assert len({id(model.model) for model in together}) == 3
    assert set(together) == set(on_three._replicas)
    expected = Encoder(make_tiny(strategy="fixed"), batch_tokens=1)
    together.append(expected._loaded())
    for ours, theirs in zip(found, expected.encode_documents(TEXTS), strict=True):
        np.testing.assert_array_equal(ours.vectors, theirs.vectors)
        np.testing.assert_array_equal(ours.spans, theirs.spans)


def test_progress_rises_to_its_total_and_comes_from_the_callers_thread(on_three):
    told = []
    on_three.encode_documents(TEXTS, progress=lambda *event: told.append((*event, threading.get_ident())))
    assert [done for _, done, _, _ in told] == sorted(done for _, done, _, _ in told)
    assert told[-1][1] == told[-1][2]
    assert len(told) == len(TEXTS)
    assert {thread for *_, thread in told} == {threading.get_ident()}


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["device", "progress"])
def test_an_error_ends_all_threads_and_reaches_the_caller_as_it_is(on_three, monkeypatch, error, where):
    begun, original = [], TokenModel.encode_ids

    def fails(*_):
        raise error

    def encode_ids(self, batch, task):
        begun.append(batch)
        return fails() if where == "device" else original(self, batch, task)

    monkeypatch.setattr(TokenModel, "encode_ids", encode_ids)
    with pytest.raises(type(error)) as caught:
        on_three.encode_documents(TEXTS * 50, progress=fails)
    assert caught.value is error
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("colbert_rag")]
    if where == "device":
        assert len(begun) <= 3


def test_memory_that_runs_out_on_one_device_halves_its_mini_batch(make_tiny, monkeypatch):
    original, full = TokenModel.encode_ids, []

    def encode_ids(self, batch, task):
        if len(batch) > 1:
            full.append(len(batch))
            raise MemoryError
        return original(self, batch, task)

    encoder = Encoder(make_tiny(strategy="fixed"))
    expected = encoder.encode_documents(TEXTS)
    monkeypatch.setattr(TokenModel, "encode_ids", encode_ids)
    for ours, theirs in zip(encoder.encode_documents(TEXTS), expected, strict=True):
        np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=2e-3)
    assert full


def test_queries_are_encoded_on_the_first(on_three, monkeypatch):
    used, original = [], TokenModel.encode_query_texts
    monkeypatch.setattr(
        TokenModel, "encode_query_texts", lambda self, texts: (used.append(self), original(self, texts))[1]
    )
    for text in TEXTS[:4]:
        on_three.encode_queries([text])
    assert used == on_three._replicas[:1] * 4


def test_each_device_of_the_settings_has_one_copy_and_is_named(make_tiny, monkeypatch):
    monkeypatch.setattr(EncoderSettings, "other_devices", ("cpu",))
    encoder = Encoder(make_tiny(strategy="fixed"))
    encoder.encode_documents(TEXTS)
    models = encoder._replicas
    encoder.encode_documents(TEXTS)
    assert encoder._replicas is models
    assert len(models) == 2
    assert encoder.device == "cpu,cpu"


def test_copies_share_no_weight_and_no_tokenizer(make_tiny):
    first = TokenModel(make_tiny(strategy="fixed"))
    [same, other] = replicas(first, ["cpu"], None, "float32")
    assert same is first
    assert other.model.tokenizer is not first.model.tokenizer
    pairs = zip(first.model.parameters(), other.model.parameters(), strict=True)
    assert all(ours.data_ptr() != theirs.data_ptr() and ours.equal(theirs) for ours, theirs in pairs)


def test_one_item_needs_no_thread(make_tiny):
    first = TokenModel(make_tiny(strategy="fixed"))
    with shared(lambda model, item: (item, threading.get_ident()), [first, first], ["a"]) as found:
        assert list(found) == [("a", ("a", threading.get_ident()))]


@pytest.mark.parametrize("device", ["cuda:0,cuda:0", "cuda:0,", "cpu,cuda:0", "cuda,cuda:1"])
def test_devices_that_are_not_several_gpus_are_refused(device):
    with pytest.raises(ModelUnsupportedError, match='several are named such as "cuda:0,cuda:1", each once'):
        Encoder(device=device)


def test_a_device_that_is_not_there_is_an_error_that_names_it(make_tiny):
    with pytest.raises(DeviceError, match="cuda:99: the model cannot be copied there"):
        replicas(TokenModel(make_tiny(strategy="fixed")), ["cuda:99"], None, "float32")
