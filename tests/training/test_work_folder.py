from __future__ import annotations

import json

import pytest

from colbert_rag.errors import IndexExistsError, StorageError
from colbert_rag.training.record import Record
from colbert_rag.training.work_folder import EXAMPLES, RECORD, make_work_folder, session, working_folder


def touch(path):
    path.parent.mkdir(parents=True)
    path.write_text("")


def test_the_folder_lies_beside_the_output_and_is_made_once(tmp_path):
    work = working_folder(tmp_path / "new" / "model.v1")
    assert work == tmp_path / "new" / "model.v1.training"
    make_work_folder(work)
    with pytest.raises(IndexExistsError, match="holds a training that was interrupted"):
        make_work_folder(work)


def test_a_session_adds_its_time_to_the_record_on_disk(tmp_path):
    record = Record({}, "digest", 2, 0, seconds=5.0)
    with session(record, tmp_path):
        assert json.loads((tmp_path / RECORD).read_text())["seconds"] == 5.0
    assert json.loads((tmp_path / RECORD).read_text())["seconds"] == record.seconds > 5.0


@pytest.mark.parametrize("error", [StorageError, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    ("left", "is_kept"),
    [
        ("round-1/checkpoint-3/trainer_state.json", True),
        (f"round-1/{EXAMPLES}", True),
        ("round-1/checkpoint-3/trained.safetensors", False),
        ("round-1/examples.tmp", False),
        ("model/config.json", False),
    ],
)
def test_the_folder_stays_only_with_something_to_go_on_with(tmp_path, error, left, is_kept):
    work = tmp_path / "model.training"
    touch(work / left)
    with pytest.raises(error), session(Record({}, "digest", 2, 0), work):
        raise error
    assert work.exists() == (work / RECORD).exists() == is_kept


def test_a_record_that_cannot_be_written_at_first_leaves_no_folder(tmp_path):
    work = tmp_path / "model.training"
    (work / RECORD).mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot write there"), session(Record({}, "digest", 2, 0), work):
        pytest.fail("the session has begun")
    assert not work.exists()
