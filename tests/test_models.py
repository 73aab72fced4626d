"""Finding and comparing the models of indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_rag import Document, Encoder, Index, ModelMismatchError, ModelNotFoundError, Reranker, restore_index
from colbert_rag.models import NO_MODEL, check_model_is_there, check_same_model, encoder_for, model_record
from colbert_rag.testing import HashEncoder


def test_an_encoder_may_keep_its_dim_and_fingerprint_as_plain_attributes():
    class Plain:
        def __init__(self):
            self.dim, self.fingerprint = 8, {"model": "mine"}

        def encode_queries(self, texts): ...

        def encode_documents(self, texts, *, progress=None): ...

    plain = Plain()
    assert encoder_for(plain) is plain
    del plain.dim
    with pytest.raises(ModelMismatchError, match="found Plain, which lacks dim"):
        encoder_for(plain)


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


FINGERPRINT = {
    "model": "some/model",
    "revision": "main",
    "weights_sha256": "aa",
    "skiplist_sha256": "bb",
    "dim": 8,
    "truncated": False,
    "prompts": {"query": "[Q]", "document": "[D]"},
    "query_length": 32,
    "query_expansion": True,
    "document_length": None,
}


class Fingerprinted(HashEncoder):
    def __init__(self, fingerprint):
        super().__init__(dim=8)
        self._given = fingerprint

    @property
    def fingerprint(self):
        return self._given


@pytest.mark.parametrize("field", sorted(FINGERPRINT.keys() - {"model", "revision"}))
@pytest.mark.parametrize("change", ["other", "missing"])
def test_an_encoder_that_differs_in_any_field_is_refused_and_both_values_are_named(tmp_path, field, change):
    Index.create(tmp_path / "index", Fingerprinted(FINGERPRINT)).close()
    other = FINGERPRINT | {field: "other"}
    if change == "missing":
        del other[field]
    if other.get(field) == FINGERPRINT[field]:
        other[field] = 1
    with pytest.raises(ModelMismatchError) as caught:
        Index.open(tmp_path / "index", Fingerprinted(other))
    assert f"{field}: index {FINGERPRINT[field]!r}, encoder {other.get(field)!r}. " in str(caught.value)
    Index.open(tmp_path / "index", Fingerprinted(FINGERPRINT | {"model": "moved", "revision": "other"})).close()


def test_a_model_may_be_named_by_a_path(tmp_path):
    assert encoder_for(tmp_path).name == str(tmp_path)  # type: ignore[attr-defined]


def test_a_model_folder_that_was_moved_is_told_with_what_helps(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"which is not there.*Index.open\(path, 'folder'\)"):
        check_model_is_there(Path("x"), {"model": str(tmp_path / "gone")})
    for present in ({"model": str(tmp_path)}, {"model": "some/model"}, {"model": "builtin"}, {}):
        check_model_is_there(Path("x"), present)


@pytest.mark.parametrize(
    "record",
    [
        {"model": "/" + "a" * 300},
        {"model": "/" + "a" * 5_000},
        {"model": "a" * 300},
        {"model": "a/" * 2_049},
        {"model": 5},
        {"model": "some/model", "revision": "a" * 4_097},
        {"model": "some/model", "revision": 5},
    ],
    ids=["a long folder", "a longer folder", "a long name", "many parts", "a number", "a long revision", "revision 5"],
)
def test_a_name_that_no_model_has_is_not_looked_for(record):
    with pytest.raises(ModelNotFoundError, match=r"^x: .*Index.open\(path, 'model'\)") as caught:
        check_model_is_there(Path("x"), record)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("name", ["/" + "a" * 300, "a" * 300, "~\0"], ids=["a folder", "a name", "a NUL"])
def test_a_remembered_name_that_the_system_refuses_is_a_model_that_was_not_found(name):
    with pytest.raises(ModelNotFoundError, match=r"cannot be looked for: .*Index.open\(path, 'model'\)") as caught:
        encoder_for(None, {"model": name})
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    "named",
    [{"model": "/" + "a" * 5_000}, {"model": "a" * 300}, {"model": "some/model", "revision": "a" * 100_000}],
    ids=["a folder", "a name", "a revision"],
)
def test_an_index_that_remembers_a_name_that_no_model_has_says_what_to_do(tmp_path, named):
    with Index.create(tmp_path / "index", Fingerprinted(FINGERPRINT | named)) as index:
        index.add([Document("a", "alpha")])
    with Index.open(tmp_path / "index") as index:
        for ask in (lambda: index.encoder, lambda: index.search("alpha")):
            with pytest.raises(ModelNotFoundError, match=r"index: the index .*Index.open\(path, 'model'\)"):
                ask()
    for path in (tmp_path / "index").glob("segment-*/spans.npy"):
        path.unlink()
    with pytest.raises(ModelNotFoundError, match=r"index: the index"):
        restore_index(tmp_path / "index", tmp_path / "restored")
