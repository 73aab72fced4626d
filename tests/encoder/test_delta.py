"""Deltas: a base, low-rank matrices and a projection, against the sum computed here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from colbert_rag import Document, Index
from colbert_rag.encoder import Encoder
from colbert_rag.encoder.adapting import as_late_interaction, load_whole
from colbert_rag.encoder.builtin import BUILTIN, REVISIONS, load_builtin
from colbert_rag.encoder.delta import BaseModel, base_digest, load_delta, projections, save_delta
from colbert_rag.encoder.loading import Checkpoint, text_transformer
from colbert_rag.encoder.query_weighting import query_weighting
from colbert_rag.errors import ModelNotFoundError, ModelUnsupportedError, StorageError

NAME = "encoder.layer.1.attention.self.query.weight"


def low_rank():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 32, generator=generator), torch.randn(32, 3, generator=generator)


def saved(path, model, name, *, is_plain=False):
    """A delta of one layer and of a projection that was halved; returns the sum in float32."""
    a, b = low_rank()
    base = BaseModel(str(name), base_digest(model), is_plain)
    before = text_transformer(model).auto_model.get_parameter(NAME).detach().clone()
    with torch.no_grad():
        for _, linear in projections(model):
            linear.weight *= 0.5
    save_delta(path, base, {NAME: (a, b)}, 2.0, model)
    return before + 2.0 * (b.half().float() @ a.half().float())


def test_low_rank_product_and_projection_are_added_to_the_base(tmp_path, tiny_folder, projection):
    path = tmp_path / "delta.safetensors"
    expected = saved(path, Encoder(tiny_folder)._load_model(), tiny_folder)
    model = load_delta(path, "cpu")
    torch.testing.assert_close(text_transformer(model).auto_model.get_parameter(NAME).detach(), expected)
    [(_, linear)] = projections(model)
    torch.testing.assert_close(linear.weight.detach(), (projection * 0.5).half().float())


def test_a_delta_of_a_plain_encoder_brings_its_projection(tmp_path, bert_folder, projection):
    transformer, prompts = load_whole(Checkpoint(str(bert_folder)))
    model = as_late_interaction(transformer, prompts, "cpu", projection.numpy())
    path = tmp_path / "delta.safetensors"
    expected = saved(path, model, bert_folder, is_plain=True)
    loaded = load_delta(path, "cpu")
    torch.testing.assert_close(text_transformer(loaded).auto_model.get_parameter(NAME).detach(), expected)
    assert loaded.get_embedding_dimension() == 16
    assert text_transformer(loaded).max_seq_length == 64


def test_an_encoder_and_an_index_take_the_file_by_its_name(tmp_path, tiny_folder, monkeypatch):
    path = tmp_path / "delta.safetensors"
    saved(path, Encoder(tiny_folder)._load_model(), tiny_folder)
    monkeypatch.chdir(tmp_path)
    encoder = Encoder("delta.safetensors", device="cpu")
    with Index.create("index", encoder=encoder) as index:
        index.add([Document("a", "the cat")])
    monkeypatch.chdir("/")
    with Index.open(tmp_path / "index") as index:
        assert [hit.id for hit in index.search("cat")] == ["a"]
        assert index.info().model["model"] == str(path)
    one, other = (e.encode_queries(["the cat"])[0] for e in (encoder, Encoder(tiny_folder, device="cpu")))
    assert not np.allclose(one, other)


def test_a_base_that_has_moved_is_named_by_hand(tmp_path, tiny_folder):
    gone = Path(shutil.copytree(tiny_folder, tmp_path / "gone"))
    path = tmp_path / "delta.safetensors"
    expected = saved(path, Encoder(gone)._load_model(), gone)
    shutil.rmtree(gone)
    with pytest.raises(ModelNotFoundError):
        load_delta(path, local_files_only=True)
    model = load_delta(path, base=str(tiny_folder))
    torch.testing.assert_close(text_transformer(model).auto_model.get_parameter(NAME).detach().cpu(), expected)


def changed(path, change, *, is_listed=False):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors, metadata)
    if is_listed:
        metadata["tensors"] = json.dumps(sorted(tensors))
    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda tensors, metadata: metadata.update(format="another"),
            "format 'colbert-rag-delta-1' expected, 'another'",
        ),
        (lambda tensors, metadata: metadata.pop("scaling"), "is no delta that this version reads"),
        (lambda tensors, metadata: metadata.update(base_sha256="0"), "is a delta to weights and prompts with sha256 0"),
        (lambda tensors, metadata: metadata.update(base=""), "names no base"),
        (lambda tensors, metadata: metadata.update(base="/x/other.safetensors"), "which is a delta too"),
        (lambda tensors, metadata: tensors.pop(f"{NAME}.lora_b"), "holds 2 tensors, and not those that it lists"),
        (lambda tensors, metadata: tensors.pop("projection.1.weight"), "not those that it lists"),
        (lambda tensors, metadata: tensors.update(more=torch.ones(1)), "holds 4 tensors, and not those that it lists"),
        *(
            (lambda tensors, metadata, text=text: metadata.update(scaling=text), "no whole delta: .* a finite number")
            for text in ('"x"', "NaN", "1e999", "[1]", "true")
        ),
        (lambda tensors, metadata: metadata.update(scaling="x"), "is no whole delta"),
        (lambda tensors, metadata: metadata.update(scaling="9" * 5000), "no whole delta: .* a finite number"),
        (lambda tensors, metadata: metadata.update(is_plain="1"), "no whole delta: is_plain is 1 and scaling"),
        (lambda tensors, metadata: metadata.update(tensors="[" * 100_000), "is no whole delta"),
    ],
)
def test_what_is_no_delta_of_the_base_is_refused(tmp_path, tiny_folder, change, said):
    path = tmp_path / "delta.safetensors"
    saved(path, Encoder(tiny_folder)._load_model(), tiny_folder)
    changed(path, change)
    with pytest.raises(ModelUnsupportedError, match=said):
        load_delta(path)


A, B, PROJECTION = f"{NAME}.lora_a", f"{NAME}.lora_b", "projection.1.weight"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({B: None}, "has one low-rank matrix; expected two"),
        ({A: None}, "has one low-rank matrix; expected two"),
        ({A: torch.ones(3, 7).half()}, r"do not fit the model: .*query.weight has the shape \(32, 7\), \(32, 32\)"),
        ({B: torch.ones(1, 3).half()}, r"has the shape \(1, 32\), \(32, 32\) expected"),
        ({"query_weighting.direction": torch.ones(3).half()}, r"direction has the shape \(3,\), \(16,\) expected"),
        ({A: torch.ones(2, 32).half()}, r"have shapes \(2, 32\) and \(32, 3\); expected"),
        ({A: torch.ones(32).half()}, r"have shapes \(32,\) and"),
        ({A: torch.ones(0, 32).half(), B: torch.ones(32, 0).half()}, r"have shapes \(0, 32\)"),
        ({A: torch.ones(3, 32)}, "values of torch.float32; expected torch.float16"),
        ({A: torch.ones(3, 32, dtype=torch.int64)}, "values of torch.int64"),
        ({A: torch.full((3, 32), float("nan")).half()}, "all of them finite"),
        ({PROJECTION: torch.full((16, 32), float("inf")).half()}, "all of them finite"),
        ({PROJECTION: None}, r"projection.1.weight has the shape None, \(16, 32\) expected"),
        ({PROJECTION: torch.ones(1).half()}, r"has the shape \(1,\), \(16, 32\) expected"),
        ({"projection.9.weight": torch.ones(2).half()}, "projection.9.weight has the shape"),
        ({"x.weight.lora_a": torch.ones(3, 2).half(), "x.weight.lora_b": torch.ones(2, 3).half()}, "x.weight has the"),
        ({"strange": torch.ones(2).half()}, "'strange' is neither a low-rank matrix nor a projection"),
    ],
)
def test_tensors_that_are_not_the_very_ones_of_the_base_are_refused(tmp_path, tiny_folder, tensors, said):
    path = tmp_path / "delta.safetensors"
    saved(path, Encoder(tiny_folder)._load_model(), tiny_folder)

    def change(found, _):
        found.update(tensors)
        for name in [name for name, tensor in found.items() if tensor is None]:
            del found[name]

    changed(path, change, is_listed=True)
    with pytest.raises(ModelUnsupportedError, match=said):
        load_delta(path)


def test_a_projection_that_does_not_fit_a_plain_encoder_is_refused(tmp_path, bert_folder, projection):
    transformer, prompts = load_whole(Checkpoint(str(bert_folder)))
    path = tmp_path / "delta.safetensors"
    saved(path, as_late_interaction(transformer, prompts, "cpu", projection.numpy()), bert_folder, is_plain=True)
    changed(path, lambda tensors, _: tensors.update({PROJECTION: torch.ones(16, 7).half()}))
    with pytest.raises(ModelUnsupportedError, match=r"has the shape \(16, 7\), \(dim, 32\) expected"):
        load_delta(path)


def test_a_base_with_other_prompts_is_another_base(tmp_path, tiny_folder):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    path = tmp_path / "delta.safetensors"
    saved(path, Encoder(folder)._load_model(), folder)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "prompts": {"query": "Q: ", "document": "D: "}})
    )
    with pytest.raises(ModelUnsupportedError, match=r"Encoder\(load_delta\(.*delta.safetensors', base=...\)\)"):
        load_delta(path)


def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "delta.safetensors"
    path.write_bytes(b"no such thing")
    with pytest.raises(ModelUnsupportedError, match="is no safetensors file"):
        load_delta(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelNotFoundError, match="there is no such file"):
        load_delta(tmp_path / "delta.safetensors")


def test_a_delta_that_cannot_be_written_is_a_storage_error(tmp_path, tiny_folder):
    with pytest.raises(StorageError, match="cannot be written"):
        saved(tmp_path / "missing" / "delta.safetensors", Encoder(tiny_folder)._load_model(), tiny_folder)


@pytest.mark.parametrize("option", [{"revision": "main"}, {"trust_remote_code": True}, {"token": "secret"}])
def test_options_of_the_hub_are_refused_with_a_delta_and_not_passed_over(tmp_path, tiny_folder, option):
    path = tmp_path / "delta.safetensors"
    saved(path, Encoder(tiny_folder)._load_model(), tiny_folder)
    with pytest.raises(ModelUnsupportedError, match="have no meaning for it"):
        Encoder(path, device="cpu", **option).encode_queries(["the cat"])


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_delta_to_any_revision_of_the_built_in_model_finds_its_backbone(tmp_path, revision):
    model, path = load_builtin("cpu", revision=revision), tmp_path / "delta.safetensors"
    a, b = torch.ones(1, 384), torch.full((384, 1), 0.25)
    expected = text_transformer(model).auto_model.get_parameter(NAME).detach() + 0.25
    save_delta(path, BaseModel(BUILTIN, base_digest(model), False), {NAME: (a, b)}, 1.0, model)
    loaded = load_delta(path, "cpu")
    torch.testing.assert_close(text_transformer(loaded).auto_model.get_parameter(NAME).detach(), expected)
    for one, other in zip(query_weights(loaded), query_weights(model), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0)


def query_weights(model):
    """The direction that weighs queries, if there is one; a delta holds it as float16."""
    weighting = query_weighting(model)
    return [] if weighting is None else [weighting.direction.detach()]
