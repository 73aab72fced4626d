"""An index whose device is not there: every way to search gives what the processor gives."""

from __future__ import annotations

import pickle

import pytest

from colbert_rag import Document, Index, InvalidQueryError, SearchConfig
from colbert_rag.errors import DeviceError
from colbert_rag.search import ProcessorRanker

N = 12
QUERY = "cedar river stone"


def documents():
    words = ("cedar", "river", "stone", "amber", "lake", "north", "bridge")
    return [
        Document(f"d{n}", f"{words[n % 7]} {words[n * 3 % 7]} {words[n * 5 % 7]} number{n}", {"n": n}) for n in range(N)
    ]


@pytest.fixture
def pair(tmp_path, encoder, ranker, monkeypatch):
    """``pair(exact_tokens)``: one index, opened on a device and on the processor."""
    opened = []

    def pair(exact_tokens):
        with Index.create(tmp_path / "index", encoder, exact_tokens=exact_tokens) as index:
            index.add(documents())
        for device in (ranker(), ProcessorRanker()):
            monkeypatch.setattr("colbert_rag.index.ranker_for", lambda name, device=device: device)
            opened.append(Index.open(tmp_path / "index", encoder))
        return opened

    yield pair
    for index in opened:
        index.close()


def assert_same(ours, theirs):
    assert [hit.id for hit in ours] == [hit.id for hit in theirs]
    assert [hit.passages for hit in ours] == [hit.passages for hit in theirs]
    assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=2e-3)


@pytest.mark.parametrize("exact_tokens", [0, 50_000], ids=["compressed", "plain"])
def test_every_way_to_search_gives_what_the_processor_gives(pair, exact_tokens):
    on_device, on_processor = pair(exact_tokens)
    for options in (
        {},
        {"filter": {"n": {"$gte": 6}}},
        {"filter": lambda document: document.metadata["n"] == 3},
        {"mode": "bm25"},
        {"mode": "hybrid"},
        {"mode": "hybrid", "config": SearchConfig(fusion="rrf")},
        {"config": SearchConfig(diversity=0.5)},
        {"config": SearchConfig(locality=0.5)},
        {"config": SearchConfig(exact=True)},
    ):
        found, expected = (index.search_many([QUERY, "north"], 5, **options) for index in (on_device, on_processor))
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs)


def test_what_is_written_is_found_at_once_and_what_is_deleted_is_not(pair):
    on_device, on_processor = pair(50_000)
    assert on_device.search("number4")[0].id == "d4"
    on_processor.delete(["d4"])
    on_processor.upsert([Document("d5", "wholly new words"), Document("new", "number4 again")])
    assert on_device.search("number4")[0].id == "new"
    assert "d4" not in [hit.id for hit in on_device.search("number4", 100)]
    assert_same(on_device.search("wholly", 100), on_processor.search("wholly", 100))


def test_an_index_that_becomes_compressed_goes_on(pair):
    on_device, on_processor = pair(60)
    assert_same(on_device.search(QUERY), on_processor.search(QUERY))
    assert not on_device.info().is_compressed
    on_processor.add([Document(f"more{n}", f"cedar more{n} words than before") for n in range(6)])
    assert on_device.info().is_compressed
    assert_same(on_device.search(QUERY), on_processor.search(QUERY))


def test_a_device_that_trains_and_packs_writes_an_index_like_any_other(tmp_path, encoder, ranker, monkeypatch):
    device = ranker()
    device.packer.fewest_rows = 0
    used = []
    original = device.packer.attempt
    monkeypatch.setattr(device.packer, "attempt", lambda *args: (used.append(args), original(*args))[1])
    monkeypatch.setattr("colbert_rag.index.ranker_for", lambda name: device)
    with Index.create(tmp_path / "index", encoder, exact_tokens=40) as index:
        index.add(documents())
        index.upsert([Document("d3", "wholly new words")])
        index.compact()
        assert index.info().is_compressed
        assert index.verify().problems == ()
    # of the training, the packing, and the document after it
    assert len(used) >= 3
    monkeypatch.undo()
    with Index.open(tmp_path / "index", encoder) as again:
        assert again.search("wholly new")[0].id == "d3"


def test_a_device_that_is_not_there_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for call in (Index.create, Index.open_or_create):
        with pytest.raises(DeviceError):
            call(tmp_path / "index", dim=8, device="cuda") if call == Index.create else call(
                tmp_path / "index", device="cuda"
            )
        with pytest.raises(InvalidQueryError):
            call(tmp_path / "index", device="gpu")
    assert not (tmp_path / "index").exists()


def test_an_index_that_was_pickled_asks_for_its_device_again(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder, device="cpu") as index:
        again = pickle.loads(pickle.dumps(index))
    assert (again.device, again._ranker.wanted) == ("cpu", "cpu")
    again.close()
