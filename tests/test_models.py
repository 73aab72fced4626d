"""Finding and comparing the models of indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_rag import Encoder, ModelMismatchError, ModelNotFoundError, Reranker
from colbert_rag.models import NO_MODEL, check_model_is_there, check_same_model, encoder_for, model_record
from colbert_rag.testing import HashEncoder


def test_accepting_an_encoder_does_not_load_its_model():
    encoder = Encoder()
    assert encoder_for(encoder) is encoder
    assert Reranker(encoder).encoder is encoder
    assert encoder._token_model is None


def test_none_is_the_built_in_model_and_a_name_is_that_model():
    assert encoder_for(None).name == "builtin"  # type: ignore[attr-defined]
    assert encoder_for("some/model").name == "some/model"  # type: ignore[attr-defined]
    assert encoder_for(None, {"model": "some/model", "dim": 64}).name == "some/model"  # type: ignore[attr-defined]


def test_what_is_no_encoder_is_refused():
    with pytest.raises(ModelMismatchError, match="found int"):
        encoder_for(5)


def test_a_model_without_a_name_cannot_be_found_again():
    with pytest.raises(ModelNotFoundError, match="Pass the same encoder again"):
        encoder_for(None, HashEncoder(dim=8).fingerprint)


def test_every_field_of_the_fingerprint_counts_but_the_place_it_was_found():
    encoder = HashEncoder(dim=8)
    stored = model_record(encoder)
    check_same_model(Path("x"), {**stored, "model": "elsewhere", "revision": "main"}, encoder)
    for key in set(stored) - {"model", "revision"}:
        with pytest.raises(ModelMismatchError, match=key):
            check_same_model(Path("x"), {**stored, key: "other"}, encoder)
    with pytest.raises(ModelMismatchError, match="extra: index 1, encoder None"):
        check_same_model(Path("x"), {**stored, "extra": 1}, encoder)
    assert model_record(None) == NO_MODEL


def test_a_model_may_be_named_by_a_path(tmp_path):
    assert encoder_for(tmp_path).name == str(tmp_path)  # type: ignore[attr-defined]


def test_a_model_folder_that_was_moved_is_told_with_what_helps(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"which is not there.*Index.open\(path, 'folder'\)"):
        check_model_is_there(Path("x"), {"model": str(tmp_path / "gone")})
    for present in ({"model": str(tmp_path)}, {"model": "some/model"}, {"model": "builtin"}, {}):
        check_model_is_there(Path("x"), present)
