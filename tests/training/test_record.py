from __future__ import annotations

from dataclasses import asdict

import pytest

from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.pairs import Pair
from colbert_rag.training.record import FinishedRound, Record, digest_of, read_record, write_record
from colbert_rag.training.settings import TrainingSettings

SETTINGS = TrainingSettings(matryoshka_dims=(64,))


def record():
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}, {"step": 2, "nDCG@10": 0.5}]
    return Record(asdict(SETTINGS), "digest", 90, 10, {"nDCG@10": 0.25}, {}, [FinishedRound(90, 1, log)] * 2, 3.5)


def test_a_record_comes_back_as_it_was(tmp_path):
    write_record(tmp_path / "training.json", record())
    found = read_record(tmp_path / "training.json", SETTINGS, "digest")
    assert asdict(found) == {**asdict(record()), "settings": {**asdict(SETTINGS), "matryoshka_dims": [64]}}


def test_steps_of_later_rounds_are_counted_on(tmp_path):
    log = record().log()
    assert log[0] == {"step": 0, "nDCG@10": 0.25}
    assert [entry["step"] for entry in log] == [0, 1, 2, 2, 3, 4, 4]


def test_other_settings_or_data_are_refused_by_name(tmp_path):
    path = tmp_path / "training.json"
    write_record(path, record())
    with pytest.raises(InvalidTrainingError, match=r"was begun with seed=0; found 1\. Go on with the settings"):
        read_record(path, TrainingSettings(matryoshka_dims=(64,), seed=1), "digest")
    with pytest.raises(InvalidTrainingError, match="was begun with other pairs or another corpus"):
        read_record(path, SETTINGS, "another")


@pytest.mark.parametrize("content", ["{", "[]", '{"rounds": [], "surprise": 1}', '{"settings": {}}'])
def test_a_file_that_is_no_record_is_refused(tmp_path, content):
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(InvalidTrainingError, match="is no record of a training"):
        read_record(tmp_path / "training.json", SETTINGS, "digest")


def test_without_a_record_there_is_nothing_to_go_on_with(tmp_path):
    with pytest.raises(InvalidTrainingError, match="holds no training that could go on"):
        read_record(tmp_path / "training.json", SETTINGS, "digest")


def test_the_base_that_was_loaded_first_is_the_only_one_from_then_on(tmp_path):
    begun = record()
    begun.check_base("a" * 64)
    write_record(tmp_path / "training.json", begun)
    found = read_record(tmp_path / "training.json", SETTINGS, "digest")
    found.check_base("a" * 64)
    with pytest.raises(InvalidTrainingError, match=r"base 'builtin' as it had the sha256 aaa.*; found bbb.*changed"):
        found.check_base("b" * 64)


def test_the_digest_tells_pairs_and_corpora_apart():
    one, other = [Pair("a", "A")], [Pair("a", "A", "1")]
    digests = [digest_of(one, None), digest_of(other, None), digest_of(one, {"x": "X"}), digest_of(one, {"X": "x"})]
    assert len(set(digests)) == 4
    assert digest_of(one, None) == digest_of([Pair("a", "A")], {})
