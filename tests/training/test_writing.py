from __future__ import annotations

import pytest
from safetensors import SafetensorError

from colbert_rag.errors import InvalidTrainingError, StorageError
from colbert_rag.training.writing import explained_writes, write_atomically


def test_a_text_that_is_written_again_is_the_new_one_and_alone(tmp_path):
    for text in ("old \u2028", "new"):
        write_atomically(tmp_path / "training.json", text)
        assert (tmp_path / "training.json").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_atomically(tmp_path / "training.json", "old")
    (tmp_path / "training.tmp").mkdir()
    with pytest.raises(StorageError, match="cannot write there"):
        write_atomically(tmp_path / "training.json", "new")
    assert (tmp_path / "training.json").read_text() == "old"


@pytest.mark.parametrize("error", [OSError(28, "no space"), SafetensorError("no space"), RuntimeError("no space")])
def test_what_goes_wrong_while_writing_names_the_folder(tmp_path, error):
    said = f"{tmp_path.name}: the training cannot write there .*no space"
    with pytest.raises(StorageError, match=said), explained_writes(tmp_path):
        raise error


def test_an_error_of_ours_stays_what_it_is(tmp_path):
    with pytest.raises(InvalidTrainingError), explained_writes(tmp_path):
        raise InvalidTrainingError("diverged")
