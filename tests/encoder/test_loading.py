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
