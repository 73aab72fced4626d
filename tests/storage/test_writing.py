from __future__ import annotations

import pytest
import resigning
from noticed_texts import TEXTS, found

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage import SegmentRecord


def test_keys_rise_and_are_never_used_twice(catalog):
    with catalog.writing() as writing:
        assert list(writing.take_keys(3)) == [1, 2, 3]
        assert list(writing.take_keys(1)) == [4]
    with catalog.writing() as writing:
        assert list(writing.take_keys(2)) == [5, 6]


def test_removed_documents_leave_a_tombstone_and_nothing_else(catalog, store):
    store(TEXTS)
    with catalog.writing() as writing:
        writing.remove_documents(writing.find(["holiday", "unknown"]))
    with catalog.reading() as reading:
        assert reading.tombstones() == [2]
        assert list(reading.ids()) == ["code", "notice"]
        assert reading.totals()[0] == 2
        assert sorted(row[2] for row in reading.content_rows()) == ["code", "notice"]


def test_replacing_segments_drops_their_records_and_tombstones(catalog, store):
    store(TEXTS)
    old, other, new = (
        SegmentRecord(name=n, codec=None, n_documents=1, n_tokens=1, n_escapes=0, posting_bytes=None, files={})
        for n in ("segment-1", "segment-2", "segment-3")
    )
    with catalog.writing() as writing:
        writing.add_segment(old)
        writing.add_segment(other)
        writing.remove_documents(writing.find(["notice", "holiday"]))
        writing.replace_segments(["segment-1"], new, [1])
    with catalog.reading() as reading:
        assert catalog.state(reading).segments == (other, new)
        assert reading.tombstones() == [2]


class TestSealing:
    """Damage is found before a write, and never signed by one."""

    def remove(self, catalog, name):
        with catalog.writing() as writing:
            writing.remove_documents(writing.find([name]))

    def test_each_commit_renews_the_checksums(self, catalog, store):
        store(TEXTS)
        self.remove(catalog, "code")
        with catalog.reading() as reading:
            assert catalog.state(reading).commits == 2
            assert reading.tombstones() == [3]

    def test_tombstones_that_were_changed_are_not_signed_by_the_next_deletion(self, catalog, store, folder):
        store(TEXTS)
        self.remove(catalog, "code")
        resigning.tamper(folder, "UPDATE tombstones SET key = 2", is_resigned=False)
        with pytest.raises(CorruptIndexError, match="the tombstones differ"):
            self.remove(catalog, "notice")
        assert found(catalog, "notice")[0] == "notice"

    def test_tombstones_that_were_changed_stay_found_after_writes_that_do_not_touch_them(self, catalog, store, folder):
        store(TEXTS)
        self.remove(catalog, "code")
        resigning.tamper(folder, "DELETE FROM tombstones", is_resigned=False)
        store({"more": "text"})
        with catalog.reading() as reading, pytest.raises(CorruptIndexError, match="the tombstones differ"):
            reading.tombstones()

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE state SET next_key = 1",
            "UPDATE state SET segments = 1",
            "UPDATE state SET tombstones = 1",
            "INSERT INTO segments VALUES ('segment-1', '{}')",
        ],
    )
    def test_a_state_that_was_changed_is_refused(self, catalog, store, folder, sql):
        store(TEXTS)
        resigning.tamper(folder, sql, is_resigned=False)
        with catalog.reading() as reading, pytest.raises(CorruptIndexError, match="the state and the segment records"):
            catalog.state(reading)
