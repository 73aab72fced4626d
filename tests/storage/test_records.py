from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from colbert_rag.storage import CodecRecord, FileRecord, IndexSettings, SegmentRecord

FILE = {"name": "a.npy", "size": 3, "sha256": "0" * 64}
SEGMENT = {
    "name": "segment-1",
    "codec": None,
    "n_documents": 1,
    "n_tokens": 2,
    "n_escapes": 0,
    "posting_bytes": None,
    "files": {"vectors": FILE},
}
CODEC = {"name": "codec-1", "n_centroids": 2, "trained_on": 9, "files": {"centroids": FILE}}
SETTINGS = {"dim": 4, "bits": 4, "exact_tokens": 0, "probe_tokens": 0, "seed": 0, "model": {"model": None}}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(FileRecord, FILE), (SegmentRecord, SEGMENT), (CodecRecord, CODEC), (IndexSettings, SETTINGS)],
)
def test_records_survive_json(kind, fields):
    record = kind.model_validate_json(json.dumps(fields))
    assert kind.model_validate_json(record.model_dump_json()) == record
    assert json.loads(record.model_dump_json(exclude_defaults=True)) == fields


def test_settings_without_a_pool_factor_are_of_an_index_that_is_not_pooled():
    """As they were stored before there was pooling."""
    assert IndexSettings.model_validate_json(json.dumps(SETTINGS)).pool_factor == 1
    assert IndexSettings.model_validate_json(json.dumps(SETTINGS | {"pool_factor": 3})).pool_factor == 3


@pytest.mark.parametrize(
    ("kind", "fields", "change"),
    [
        (FileRecord, FILE, {"name": "../a"}),
        (FileRecord, FILE, {"name": "a\n"}),
        (FileRecord, FILE, {"name": "A"}),
        (FileRecord, FILE, {"name": "a/b"}),
        (FileRecord, FILE, {"size": -1}),
        (FileRecord, FILE, {"size": "3"}),
        (FileRecord, FILE, {"size": 2**48 + 1}),
        (FileRecord, FILE, {"size": 1.5}),
        (FileRecord, FILE, {"sha256": "0" * 63}),
        (FileRecord, FILE, {"sha256": "G" * 64}),
        (FileRecord, FILE, {"mode": 7}),
        (SegmentRecord, SEGMENT, {"name": "/etc"}),
        (SegmentRecord, SEGMENT, {"codec": "../codec"}),
        (SegmentRecord, SEGMENT, {"n_tokens": None}),
        (SegmentRecord, SEGMENT, {"n_documents": True}),
        (SegmentRecord, SEGMENT, {"files": {"../x": FILE}}),
        (SegmentRecord, SEGMENT, {"files": []}),
        (CodecRecord, CODEC, {"n_centroids": 0}),
        (CodecRecord, CODEC, {"trained_on": 0}),
        (CodecRecord, CODEC, {"trained_on": 2**48 + 1}),
        (CodecRecord, CODEC, {"n_centroids": 2**24 + 1}),
        (IndexSettings, SETTINGS, {"dim": 0}),
        (IndexSettings, SETTINGS, {"dim": 1025}),
        (IndexSettings, SETTINGS, {"bits": 3}),
        (IndexSettings, SETTINGS, {"bits": "4"}),
        (IndexSettings, SETTINGS, {"model": "name"}),
        (IndexSettings, SETTINGS, {"pool_factor": 0}),
        (IndexSettings, SETTINGS, {"pool_factor": 5}),
        (IndexSettings, SETTINGS, {"pool_factor": 1.5}),
        (IndexSettings, SETTINGS, {"pool_factor": True}),
    ],
)
def test_records_that_we_never_write_are_refused(kind, fields, change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        kind.model_validate_json(json.dumps(fields | change))


@pytest.mark.parametrize("field", sorted(SEGMENT))
def test_a_record_without_a_field_is_refused(field):
    with pytest.raises(ValidationError, match=field):
        SegmentRecord.model_validate_json(json.dumps({k: v for k, v in SEGMENT.items() if k != field}))
