from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from colbert_rag.search import narrowed
from colbert_rag.search.device.cards import Card
from colbert_rag.search.device.resident import Residents


def card(room=1 << 40, n=0):
    return Card(torch.device("cpu", n), room)


def held(parts):
    return [(part.name, part.first, part.last) for part in parts]


def test_documents_lie_on_a_device_as_they_lie_in_their_segment(snapshot_of, corpus, codec):
    snapshot = snapshot_of(corpus, codec=codec)
    [part] = Residents([card()]).follow(snapshot)
    segment = snapshot.views[0].segment
    for name, column in segment.columns.items():
        np.testing.assert_array_equal(part.columns[name].numpy(), column)
    live = part.live(None)
    np.testing.assert_array_equal(live.keys.numpy(), segment.doc_keys)
    np.testing.assert_array_equal(live.documents.ends.numpy(), segment.doc_offsets[1:])
    assert part.size_bytes == sum(column.nbytes for column in segment.columns.values()) + 24 * corpus.n_documents


def test_deleted_documents_are_not_live(snapshot_of, corpus):
    snapshot = snapshot_of(corpus, deleted=[1, 300])
    [part] = Residents([card()]).follow(snapshot)
    live = part.live(snapshot.views[0].alive)
    assert live.keys.tolist() == list(range(2, 300))
    assert live.documents.starts.tolist() == corpus.offsets[1:299].tolist()
    assert part.live(snapshot.views[0].alive) is live


def test_segments_stay_from_commit_to_commit_and_go_with_their_map(snapshot_of, corpus):
    first = snapshot_of(corpus, n_segments=2)
    residents = Residents([card()])
    before = residents.follow(first)
    second = snapshot_of(corpus.part(0, 9), deleted=[3])
    # a commit with the second segment of the one before
    views = (first.views[1], *second.views)
    commit = type(first)(2, None, None, views)
    parts = residents.follow(commit)
    assert parts[0] is before[1]
    assert len(residents._parts) == 3
    del first, before
    assert residents.follow(commit) == parts
    assert set(residents._parts) == {part.name for part in parts}


def test_a_filter_lets_nothing_go(snapshot_of, corpus):
    snapshot = snapshot_of(corpus, n_segments=2)
    residents = Residents([card()])
    everything = residents.follow(snapshot)
    [part] = residents.follow(narrowed(snapshot, np.array([1])))
    assert part is everything[0]
    assert residents.follow(snapshot) == everything


@pytest.mark.parametrize("n_cards", [1, 2, 3, 7])
def test_devices_get_about_equally_many_tokens_of_each_segment(snapshot_of, corpus, n_cards):
    cards = [card(n=n) for n in range(n_cards)]
    snapshot = snapshot_of(corpus, n_segments=2)
    parts = Residents(cards).follow(snapshot)
    assert sum(part.last - part.first for part in parts) == corpus.n_documents
    shares = [sum(part.n_tokens for part in parts if part.card is each) for each in cards]
    # documents have at most 40 tokens
    assert max(shares) - min(shares) <= 2 * 2 * 40


def test_more_devices_than_documents_leave_some_idle(snapshot_of, corpus):
    parts = Residents([card(n=n) for n in range(4)]).follow(snapshot_of(corpus.part(0, 2)))
    assert sorted(n for part in parts for n in range(part.first, part.last)) == [0, 1]


@pytest.mark.parametrize("room", [0, 1, 88, 1_000, 50_000, 10**6])
def test_a_device_takes_no_more_than_its_room_and_the_host_has_the_rest(snapshot_of, corpus, room):
    residents = Residents([card(room)])
    snapshot = snapshot_of(corpus, n_segments=2, deleted=[4])
    parts = residents.follow(snapshot)
    assert sum(part.size_bytes for part in parts) <= room
    left = residents.left_on_host(snapshot)
    on_host = [] if left is None else [key for view in left.views for key in view.segment.doc_keys[view.live].tolist()]
    views = {view.segment.record.name: view for view in snapshot.views}
    on_card = [key for part in parts for key in part.live(views[part.name].alive).keys.tolist()]
    assert sorted(on_host + on_card) == [key for key in range(1, 301) if key != 4]


def test_what_had_no_room_is_tried_again_when_there_is_some(snapshot_of, corpus):
    first, second = snapshot_of(corpus.part(0, 20)), snapshot_of(corpus.part(20, 40))
    residents = Residents([card(1_600 * 20)])
    both = type(first)(1, None, None, first.views + second.views)
    parts = held(residents.follow(both))
    assert residents.left_on_host(both) is not None
    del both, first
    [again] = residents.follow(second)
    assert (again.first, again.last) == (0, 20)
    assert len(parts) == 2
    assert residents.left_on_host(second) is None


def test_what_is_held_is_said_once(snapshot_of, corpus, caplog):
    residents, snapshot = Residents([card(20_000)]), snapshot_of(corpus)
    with caplog.at_level(logging.INFO, "colbert_rag"):
        for _ in range(3):
            residents.follow(snapshot)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "cpu:0 holds" in caplog.text


def test_large_arrays_are_copied_in_pieces(monkeypatch):
    monkeypatch.setattr("colbert_rag.search.device.cards._PIECE_BYTES", 64)
    for kind in (np.uint16, np.float16, np.int64):
        array = np.arange(1_000).reshape(-1, 4).astype(kind)
        array.flags.writeable = False
        np.testing.assert_array_equal(card().put(array).numpy(), array)
    assert card().put(np.zeros((0, 3), np.uint8)).shape == (0, 3)
