"""Each promised checkpoint family, in its own file layout, against arithmetic done by hand."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.loading import Checkpoint, explained
from colbert_rag.errors import ModelNotFoundError, ModelUnsupportedError

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}


def write_json(path: Path, content) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def write_dense(folder: Path, name: str, weight, **config) -> None:
    settings = {"in_features": 32, "out_features": 16, "bias": False, **config}
    write_json(folder / name / "config.json", settings)
    save_file({"linear.weight": weight}, folder / name / "model.safetensors")


@pytest.fixture
def folder(bert_folder, tmp_path) -> Path:
    return Path(shutil.copytree(bert_folder, tmp_path / "model"))


def stanford(folder, projection):
    weights = {f"bert.{name}": weight for name, weight in load_file(folder / "model.safetensors").items()}
    save_file({**weights, "linear.weight": projection}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    write_json(folder / "artifact.metadata", {"query_maxlen": 12, "doc_maxlen": 20, "mask_punctuation": True})
    return "[unused1]"


def pylate(folder, projection, **settings):
    dense = {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"}
    write_json(folder / "modules.json", [TRANSFORMER, dense])
    write_dense(folder, "1_Dense", projection, activation_function="torch.nn.modules.linear.Identity")
    settings = {
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 12,
        "document_length": 20,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        **settings,
    }
    write_json(folder / "config_sentence_transformers.json", settings)
    return "[D]"


def pylate_3(folder, projection):
    return pylate(folder, projection, model_type="ColBERT")


@pytest.mark.parametrize("family", [stanford, pylate, pylate_3])
def test_family_is_loaded_with_its_marker_skiplist_and_projection(
    folder, projection, tiny_bert, tiny_tokenizer, family
):
    marker = family(folder, projection)
    encoder = Encoder(folder, device="cpu")
    letters = "abcdefghij" * 3  # longer than the family's document_length of 20
    text = ", ".join(letters)
    [document] = encoder.encode_documents([text])
    [query] = encoder.encode_queries(["a b"])
    marker_id = tiny_tokenizer.convert_tokens_to_ids(marker)
    letter_ids = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [2, marker_id, *letter_ids, 3]
    with torch.inference_mode():
        hidden = tiny_bert(
            input_ids=torch.tensor([ids[:64]]), attention_mask=torch.ones(1, min(64, len(ids)), dtype=torch.int64)
        ).last_hidden_state[0]
    is_kept = torch.tensor([token != tiny_tokenizer.convert_tokens_to_ids(",") for token in ids])
    expected = torch.nn.functional.normalize(hidden @ projection.T, dim=-1)[is_kept].numpy()
    assert [text[start:end] for start, end in document.spans] == ["", "", *letters, ""]
    np.testing.assert_allclose(document.vectors.astype(np.float32), expected, atol=1e-3)
    assert query.shape == (12, 16)


def test_bare_backbone_is_refused_because_its_projection_would_be_random(folder):
    with pytest.raises(ModelUnsupportedError, match=r"no late-interaction model.*a random one would be put"):
        Encoder(folder).dim  # noqa: B018


@pytest.mark.parametrize("has_dense", [False, True])
def test_sentence_embedding_model_is_refused(folder, projection, has_dense):
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(folder / "modules.json", [TRANSFORMER, POOLING, *([dense] if has_dense else [])])
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    write_dense(folder, "2_Dense", projection, activation_function="torch.nn.modules.linear.Identity")
    with pytest.raises(ModelUnsupportedError, match="no late-interaction model"):
        Encoder(folder).dim  # noqa: B018


def test_image_retriever_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["ColPaliForRetrieval"]})
    with pytest.raises(ModelUnsupportedError, match="no late-interaction model"):
        Encoder(folder).dim  # noqa: B018


def test_model_that_pools_tokens_is_refused(tiny_model):
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    tiny_model.append(HierarchicalTokenPooling(pool_factor=2))
    with pytest.raises(ModelUnsupportedError, match="merges token vectors"):
        Encoder(tiny_model).dim  # noqa: B018


def test_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"neither config\.json nor modules\.json"):
        Encoder(tmp_path).dim  # noqa: B018


def test_name_that_cannot_be_fetched_is_reported_with_what_to_do():
    with pytest.raises(ModelNotFoundError, match="without internet access, name a local folder"):
        Encoder("nobody/no-such-model", local_files_only=True).dim  # noqa: B018


def test_damaged_weights_are_refused(folder, projection):
    pylate_3(folder, projection)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelUnsupportedError, match="cannot be loaded"):
        Encoder(folder).dim  # noqa: B018


def test_damaged_configuration_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelUnsupportedError, match=r"config\.json is no JSON"):
        Encoder(folder).dim  # noqa: B018


def test_remote_code_does_not_run_unless_asked_for(folder, projection):
    pylate_3(folder, projection)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    write_json(folder / "config.json", config)
    (folder / "own.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(ModelUnsupportedError, match="trust_remote_code"):
        Encoder(folder).dim  # noqa: B018


def native(folder, projection):
    """What sentence-transformers 6 saves."""
    pylate(folder, projection, model_type="MultiVectorEncoder", prompts={"query": "[Q] ", "document": "[D] "})
    return "[D]"


def drop(path, *names) -> None:
    weights = load_file(path)
    kept = {name: weight for name, weight in weights.items() if not name.endswith(names)}
    assert len(kept) == len(weights) - len(names)
    save_file(kept, path, metadata={"format": "pt"})


@pytest.mark.parametrize("family", [stanford, pylate, pylate_3, native])
def test_checkpoint_without_a_tensor_of_the_backbone_is_refused_because_it_would_be_random(folder, projection, family):
    family(folder, projection)
    drop(folder / "model.safetensors", "encoder.layer.1.output.dense.weight", "embeddings.LayerNorm.bias")
    with pytest.raises(ModelUnsupportedError, match=r"2 tensors of the backbone .*embeddings\.LayerNorm\.bias first"):
        Encoder(folder, device="cpu").dim  # noqa: B018


@pytest.mark.parametrize("family", [stanford, pylate, native])
def test_checkpoint_without_the_pooler_is_loaded_because_nothing_uses_it(folder, projection, family):
    family(folder, projection)
    drop(folder / "model.safetensors", "pooler.dense.weight", "pooler.dense.bias")
    assert Encoder(folder, device="cpu").dim == 16


@pytest.mark.parametrize("family", [stanford, native])
def test_loaded_model_names_no_class_of_ours_when_it_is_saved(folder, projection, family, tmp_path):
    family(folder, projection)
    Encoder(folder, device="cpu")._loaded().model.save(str(tmp_path / "again"), create_model_card=False)
    modules = json.loads((tmp_path / "again" / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)


@pytest.mark.parametrize("family", [stanford, native])
def test_checkpoint_without_a_tokenizer_is_refused_because_all_texts_would_be_alike(folder, projection, family):
    family(folder, projection)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "tokenizer_class": "BertTokenizer"})
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelUnsupportedError, match=r"is tokenizer\.json missing from the model"):
        Encoder(folder, device="cpu").dim  # noqa: B018


def reshape_backbone(folder):
    weights = load_file(folder / "model.safetensors") | {"embeddings.LayerNorm.bias": torch.zeros(7)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_dense_config(folder):
    (folder / "1_Dense" / "config.json").unlink()


def without_dense_weight(folder):
    save_file({"other": torch.zeros(1)}, folder / "1_Dense" / "model.safetensors")


def reshape_dense(folder):
    save_file({"linear.weight": torch.zeros(3, 5)}, folder / "1_Dense" / "model.safetensors")


@pytest.mark.parametrize("damage", [reshape_backbone, without_dense_config, without_dense_weight, reshape_dense])
def test_files_that_do_not_fit_together_are_refused(folder, projection, damage):
    pylate(folder, projection)
    damage(folder)
    with pytest.raises(ModelUnsupportedError, match="cannot be loaded: "):
        Encoder(folder, device="cpu").dim  # noqa: B018


def test_projection_of_another_width_than_the_backbone_is_refused(folder):
    pylate(folder, torch.zeros(16, 32))
    write_dense(folder, "1_Dense", torch.zeros(16, 24), in_features=24)
    with pytest.raises(ModelUnsupportedError, match=r"module 1 projects vectors of 24 dimensions, but gets .* 32"):
        Encoder(folder, device="cpu").dim  # noqa: B018


def test_stanford_checkpoint_without_a_projection_is_refused(folder, projection):
    stanford(folder, projection)
    drop(folder / "model.safetensors", "linear.weight")
    with pytest.raises(ModelUnsupportedError, match=r"cannot be loaded: KeyError: 'linear\.weight'"):
        Encoder(folder, device="cpu").dim  # noqa: B018


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_lack_of_memory_is_not_laid_on_the_checkpoint(error):
    with pytest.raises(type(error)), explained(Checkpoint("some/model")):
        raise error


@pytest.mark.parametrize(
    ("filename", "content", "message"),
    [
        ("config.json", b"\xff\xfe{", r"config\.json is no JSON"),
        ("config.json", b"[1]", r"config\.json holds a list; expected an object"),
        ("config_sentence_transformers.json", b"[]", r"config_sentence_transformers\.json holds a list"),
        ("modules.json", b'["a"]', r"modules\.json is no list of modules with a type and a path"),
        ("modules.json", b'{"a": 1}', r"modules\.json is no list of modules"),
        ("modules.json", b'[{"type": "x.Transformer"}]', r"modules\.json is no list of modules"),
    ],
)
def test_malformed_configuration_is_refused_by_the_name_of_its_file(folder, projection, filename, content, message):
    pylate(folder, projection)
    (folder / filename).write_bytes(content)
    with pytest.raises(ModelUnsupportedError, match=message):
        Encoder(folder, device="cpu").dim  # noqa: B018


def test_tilde_is_the_home_folder_where_the_model_is_there(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert Encoder(f"~/{folder.name}").name == str(folder.resolve())
    assert Encoder("~/no-such-model").name == "~/no-such-model"
