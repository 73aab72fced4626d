"""Searches on devices, whose kernels run in Triton's interpreter, against the processor's."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from colbert_rag.codec import train_codec
from colbert_rag.errors import DeviceError
from colbert_rag.search import ProcessorRanker, narrowed
from colbert_rag.search.candidates import reach_of
from colbert_rag.search.device import ranker as module
from colbert_rag.search.device import shares, stages
from colbert_rag.types import SearchConfig

N = 14
DEFAULT, EXACT = SearchConfig(), SearchConfig(exact=True)


@pytest.fixture
def few(corpus):
    """A part of the corpus that the interpreter is done with in a moment, to be changed."""
    part = corpus.part(0, N)
    return replace(part, vectors=part.vectors.copy())


@pytest.fixture
def asked(queries):
    """Of one block, and of two."""
    return [queries[1], queries[4]]


def assert_same(found, expected, tolerance=1e-4):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys.tolist() == theirs.keys.tolist()
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=tolerance)


def test_each_query_of_a_batch_has_the_reach_that_it_has_on_the_processor(queries):
    weighted = [queries[1] * np.array([[4.2], [0.2], [0.2], [0.2], [0.2]], np.float32), queries[4], queries[0]]
    batch = stages.Batch(torch.from_numpy(stages.Batch.laid_out(weighted)), len(weighted))
    found = batch.reach.numpy().reshape(len(weighted), -1)
    np.testing.assert_allclose(found, np.repeat([[reach_of(query)] for query in weighted], found.shape[1], axis=1))
    assert found[0, 0] > found[1, 0]


@pytest.mark.parametrize("n_segments", [1, 3])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_plain_vectors_are_ranked_as_on_the_processor(snapshot_of, few, asked, workers, ranker, n_segments, k):
    snapshot = snapshot_of(few, n_segments=n_segments, deleted=[2, 10])
    expected = ProcessorRanker().rank(snapshot, asked, k, DEFAULT, workers)
    assert_same(ranker().rank(snapshot, asked, k, DEFAULT, workers), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_compressed_vectors_are_ranked_as_by_an_exact_search(snapshot_of, corpus, few, asked, workers, ranker, bits):
    codec = train_codec(corpus.vectors, n_centroids=64, bits=bits)
    snapshot = snapshot_of(few, codec=codec, n_segments=2, deleted=[2, 10])
    expected = ProcessorRanker().rank(snapshot, asked, 10, EXACT, workers)
    assert_same(ranker().rank(snapshot, asked, 10, DEFAULT, workers), expected, 2e-3)


@pytest.mark.parametrize("n_segments", [1, 3])
def test_a_large_index_is_pruned_by_its_centroids(snapshot_of, few, codec, asked, workers, ranker, n_segments):
    """The candidates are those of the processor, each with its exact score."""
    snapshot = snapshot_of(few, codec=codec, n_segments=n_segments, deleted=[5])
    config = SearchConfig(n_candidates=4)
    found = ranker(exhaustive_tokens=0).rank(snapshot, asked, 1, config, workers)
    exact = ProcessorRanker().rank(snapshot, asked, N, EXACT, workers)
    pruned = ProcessorRanker().rank(snapshot, asked, 1, config, workers)
    for ours, best, theirs in zip(found, exact, pruned, strict=True):
        scores = dict(zip(best.keys.tolist(), best.scores.tolist(), strict=True))
        np.testing.assert_allclose(ours.scores, [scores[key] for key in ours.keys.tolist()], atol=2e-3)
        assert len(ours.keys) < N
        assert set(ours.keys.tolist()) & set(theirs.keys.tolist())


def test_an_exact_search_prunes_nothing(snapshot_of, few, codec, asked, workers, ranker):
    snapshot = snapshot_of(few, codec=codec)
    expected = ProcessorRanker().rank(snapshot, asked, 5, EXACT, workers)
    assert_same(ranker(exhaustive_tokens=0).rank(snapshot, asked, 5, EXACT, workers), expected, 2e-3)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_a_filter_leaves_is_ranked_as_on_the_processor(
    snapshot_of, few, codec, asked, workers, ranker, compressed
):
    whole = snapshot_of(few, codec=codec if compressed else None, n_segments=3, deleted=[3])
    device = ranker()
    for keys in ([3, 4, 5, N], [8]):
        chosen = narrowed(whole, np.array(keys))
        assert_same(device.rank(chosen, asked, 10, EXACT, workers),
                    ProcessorRanker().rank(chosen, asked, 10, EXACT, workers), 2e-3)  # fmt: skip
    everything = ProcessorRanker().rank(whole, asked, 10, EXACT, workers)
    assert_same(device.rank(whole, asked, 10, EXACT, workers), everything, 2e-3)


def test_all_that_tie_with_the_last_are_found_however_many(snapshot_of, few, asked, workers, ranker, monkeypatch):
    monkeypatch.setattr(shares, "_SPARE", 1)
    few.vectors[:] = few.vectors[0]
    # a transfer of two documents
    snapshot = snapshot_of(few, n_segments=2)
    for device in (ranker(), ranker((1 << 40, 1 << 40))):
        [found] = device.rank(snapshot, asked[:1], 3, DEFAULT, workers)
        assert sorted(found.keys.tolist()) == list(range(1, N + 1))


def test_many_queries_take_several_passes_and_get_the_same(
    snapshot_of, few, codec, asked, workers, ranker, monkeypatch
):
    snapshot = snapshot_of(few, codec=codec)
    expected = ranker().rank(snapshot, asked, 5, DEFAULT, workers)
    monkeypatch.setattr(shares, "_PASS_BYTES", 1)
    assert_same(ranker().rank(snapshot, asked, 5, DEFAULT, workers), expected, 1e-6)


def test_the_processor_works_on_its_part_while_the_devices_work(snapshot_of, few, asked, workers, ranker, monkeypatch):
    order = []
    for owner, name in ((shares.Share, "start"), (shares.Share, "finish"), (ProcessorRanker, "rank")):
        original = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, name=name, original=original: (order.append(name), original(*args))[1]
        )
    ranker((7_000, 4_000)).rank(snapshot_of(few), asked, 3, DEFAULT, workers)
    assert order == ["start", "start", "rank", "finish", "finish"]


@pytest.mark.parametrize("rooms", [(7_000,), (3_500, 3_500), (0,), (1 << 40, 1_000)])
def test_what_does_not_fit_stays_on_the_host_and_is_found(snapshot_of, few, asked, workers, ranker, rooms, caplog):
    snapshot = snapshot_of(few, n_segments=2, deleted=[9])
    expected = ProcessorRanker().rank(snapshot, asked, 10, DEFAULT, workers)
    device = ranker(rooms)
    assert_same(device.rank(snapshot, asked, 10, DEFAULT, workers), expected)
    assert_same(device.rank(snapshot, asked, 10, DEFAULT, workers), expected)
    [said] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "stay on the host" in said.getMessage()


def test_several_devices_share_the_documents_and_their_findings_are_merged(
    snapshot_of, few, codec, asked, workers, ranker
):
    snapshot = snapshot_of(few, codec=codec, n_segments=2)
    device = ranker((1 << 40,) * 3)
    expected = ProcessorRanker().rank(snapshot, asked, 10, EXACT, workers)
    assert_same(device.rank(snapshot, asked, 10, DEFAULT, workers), expected, 2e-3)
    parts = device._residents.follow(snapshot)
    assert {str(part.card) for part in parts} == {"cpu:0", "cpu:1", "cpu:2"}
    assert sum(part.n_tokens for part in parts) == few.offsets[-1]
    assert device.device == "cpu:0,cpu:1,cpu:2"


class Waiting:
    """Counts what makes a host wait for a device: every way in which a number comes out of a tensor."""

    WAYS = ("cpu", "item", "tolist", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__")

    def __init__(self, monkeypatch):
        self.count = 0
        for way in self.WAYS:
            monkeypatch.setattr(torch.Tensor, way, self._counted(getattr(torch.Tensor, way)))

    def _counted(self, method):
        def counted(*args, **kwargs):
            self.count += 1
            return method(*args, **kwargs)

        return counted


@pytest.mark.parametrize("exhaustive_tokens", [0, 1 << 40])
@pytest.mark.parametrize("compressed", [False, True])
def test_no_stage_waits_and_a_batch_comes_back_in_one_transfer(
    snapshot_of, few, codec, asked, workers, ranker, monkeypatch, compressed, exhaustive_tokens
):
    """The kernels themselves are left out: their interpreter reads tensors as it likes."""
    snapshot = snapshot_of(few, codec=codec if compressed else None, n_segments=2, deleted=[7])
    device = ranker(exhaustive_tokens=exhaustive_tokens)
    device.rank(snapshot, asked, 1, SearchConfig(n_candidates=4), workers)
    for kernel in ("dense_scores", "residual_scores", "approximate_scores"):
        # scores that differ, so that nothing ties
        monkeypatch.setattr(stages, kernel, lambda *args: args[-1].copy_(torch.rand(args[-1].shape) * 1000))
    waiting = Waiting(monkeypatch)
    device.rank(snapshot, asked, 1, SearchConfig(n_candidates=4), workers)
    # numpy() is the second half of the same transfer
    assert waiting.count == 2


def test_the_count_of_waits_sees_a_wait(monkeypatch):
    waiting = Waiting(monkeypatch)
    if torch.ones(1) > 0:
        torch.zeros(3).nonzero()
    assert waiting.count >= 2


@pytest.mark.parametrize(
    ("compressed", "kernel"), [(False, "dense_scores"), (True, "residual_scores"), (True, "approximate_scores")]
)
def test_a_device_that_scores_differently_is_not_believed(
    snapshot_of, few, codec, asked, workers, ranker, monkeypatch, caplog, kernel, compressed
):
    snapshot = snapshot_of(few, codec=codec if compressed else None)
    original = getattr(stages, kernel)

    def wrong(*args):
        original(*args)
        args[-1].add_(1)

    monkeypatch.setattr(stages, kernel, wrong)
    with pytest.raises(DeviceError, match="cannot be trusted"):
        ranker().rank(snapshot, asked, 5, DEFAULT, workers)
    monkeypatch.setattr(module, "FEWEST_TOKENS_ESTIMATE", 0)
    automatic = ranker(wanted="auto")
    expected = ProcessorRanker().rank(snapshot, asked, 5, DEFAULT, workers)
    for _ in range(2):
        assert_same(automatic.rank(snapshot, asked, 5, DEFAULT, workers), expected, 0)
    assert automatic.device == "cpu"
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "processor from now on" in said


def test_each_kind_of_vectors_is_proved_once(snapshot_of, few, codec, asked, workers, ranker, monkeypatch):
    proved = []
    monkeypatch.setattr(module, "prove", lambda part, *_: proved.append(part.columns.keys()))
    device = ranker((1 << 40, 1 << 40))
    for _ in range(2):
        device.rank(snapshot_of(few, n_segments=2), asked[:1], 3, DEFAULT, workers)
        device.rank(snapshot_of(few, codec=codec), asked[:1], 3, DEFAULT, workers)
    assert [len(columns) for columns in proved] == [1, 1, 3, 3]


def test_a_device_that_fails_is_an_error_where_it_was_named_and_a_warning_where_not(
    snapshot_of, few, asked, workers, ranker, monkeypatch, caplog
):
    def fails(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stages, "dense_scores", fails)
    snapshot = snapshot_of(few)
    with pytest.raises(DeviceError, match=r'out of memory.*device="cpu"'):
        ranker().rank(snapshot, asked, 5, DEFAULT, workers)
    monkeypatch.setattr(module, "FEWEST_TOKENS_ESTIMATE", 0)
    assert len(ranker(wanted="auto").rank(snapshot, asked, 5, DEFAULT, workers)) == len(asked)
    assert "out of memory" in caplog.text


def test_few_tokens_are_searched_on_the_processor_unless_a_device_was_named(
    snapshot_of, few, asked, workers, ranker, monkeypatch
):
    snapshot = snapshot_of(few)
    on_devices = []
    monkeypatch.setattr(module.DeviceRanker, "_on_devices", lambda self, *_: on_devices.append(self.wanted))
    for wanted in ("auto", "cuda"):
        ranker(wanted=wanted).rank(snapshot, asked, 5, DEFAULT, workers)
    assert on_devices == ["cuda"]


def test_an_index_without_documents_has_no_hits(snapshot_of, few, asked, workers, ranker):
    empty = narrowed(snapshot_of(few), np.array([], np.int64))
    assert [len(found.keys) for found in ranker().rank(empty, asked, 5, DEFAULT, workers)] == [0] * len(asked)
    assert ranker().rank(empty, [], 5, DEFAULT, workers) == []
    deleted = snapshot_of(few, deleted=range(1, N + 1))
    assert [len(found.keys) for found in ranker().rank(deleted, asked, 5, DEFAULT, workers)] == [0] * len(asked)


def test_threads_may_search_at_the_same_time(snapshot_of, few, asked, workers, ranker):
    snapshot, device = snapshot_of(few, n_segments=2), ranker()
    expected = ProcessorRanker().rank(snapshot, asked[:1], 5, DEFAULT, workers)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: device.rank(snapshot, asked[:1], 5, DEFAULT, workers), range(3)):
            assert_same(found, expected)
