"""What a late-interaction model can be made from, and what is refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from colbert_rag.encoder.loading import Checkpoint
from colbert_rag.encoder.plain import load_plain
from colbert_rag.errors import ModelNotFoundError, ModelUnsupportedError

PREFIX = "sentence_transformers.models"
HIDDEN = 32


def write_json(path: Path, content) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def load(folder: Path):
    return load_plain(Checkpoint(str(folder)))


@pytest.fixture
def folder(bert_folder, tmp_path) -> Path:
    return Path(shutil.copytree(bert_folder, tmp_path / "plain"))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, {"query": "", "document": ""}),
        ({"query": "query: ", "passage": "passage: "}, {"query": "query: ", "document": "passage: "}),
        ({"query": "q: ", "document": "d: ", "passage": "p: "}, {"query": "q: ", "document": "d: "}),
        ({"query": None, "document": "", "corpus": "c: "}, {"query": "", "document": "c: "}),
        ({"clustering": "cluster: "}, {"query": "", "document": ""}),
    ],
)
def test_prompts_of_queries_and_documents_are_kept_under_the_names_that_are_looked_up(named, expected, folder):
    if named is not None:
        write_json(folder / "config_sentence_transformers.json", {"prompts": named})
    assert load(folder)[1] == expected


def test_backbone_in_a_folder_of_its_own_is_found(folder, tmp_path, tiny_bert):
    shutil.move(folder, tmp_path / "model" / "0_Transformer")
    module = {"idx": 0, "name": "0", "path": "0_Transformer", "type": f"{PREFIX}.Transformer"}
    write_json(tmp_path / "model" / "modules.json", [module])
    transformer, _ = load(tmp_path / "model")
    expected = tiny_bert.state_dict()
    found = transformer.auto_model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_lowercasing_of_the_sentence_model_is_kept(folder):
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": f"{PREFIX}.Transformer"}])
    backend = json.loads((folder / "tokenizer.json").read_text())
    write_json(folder / "tokenizer.json", backend | {"normalizer": None})
    for is_lowered in (False, True):
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": is_lowered})
        tokenizer = load(folder)[0].tokenizer
        assert tokenizer.tokenize("THE") == (["the"] if is_lowered else ["[UNK]"])


GENERATIVE = {
    "GPT2": {"n_embd": HIDDEN, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "Llama": {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48},
    "Bart": {
        "d_model": HIDDEN,
        **{f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in (("layers", 1), ("ffn_dim", 48))},
        **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64},
    },
}


@pytest.mark.parametrize("kind", GENERATIVE)
def test_generative_model_is_refused(kind, tmp_path, tiny_tokenizer):
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tiny_tokenizer), pad_token_id=0, bos_token_id=2, eos_token_id=3, **GENERATIVE[kind]
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "plain")
    tiny_tokenizer.save_pretrained(tmp_path / "plain")
    with pytest.raises(ModelUnsupportedError, match="reads from left to right, as generative models do"):
        load(tmp_path / "plain")


def test_image_model_is_refused(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=32
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "plain")
    write_json(tmp_path / "plain" / "preprocessor_config.json", {"image_processor_type": "ViTImageProcessor"})
    with pytest.raises(ModelUnsupportedError, match="no vector per token of a text: it reads image"):
        load(tmp_path / "plain")


def test_late_interaction_model_is_sent_to_the_encoder(tiny_folder):
    with pytest.raises(ModelUnsupportedError, match=r"late-interaction model already.*Use Encoder\("):
        load(tiny_folder)


def test_model_without_a_transformer_is_refused(folder):
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{PREFIX}.StaticEmbedding"}]
    write_json(folder / "modules.json", modules)
    with pytest.raises(ModelUnsupportedError, match=r"starts with sentence_transformers\.models\.StaticEmbedding"):
        load(folder)


def test_pickled_weights_are_not_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match="weights are read from safetensors files alone"):
        load(folder)


@pytest.mark.parametrize("tensor", ["encoder.layer.1.output.dense.weight", "embeddings.LayerNorm.bias"])
def test_backbone_with_a_tensor_drawn_at_random_is_refused(tensor, folder):
    weights = load_file(folder / "model.safetensors")
    del weights[tensor]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelUnsupportedError, match=rf"1 tensors of the backbone .* {tensor} first, and would be random"
    ):
        load(folder)


def test_backbone_of_a_masked_language_model_needs_no_pooler(folder):
    weights = {f"bert.{name}": weight for name, weight in load_file(folder / "model.safetensors").items()}
    weights = {name: weight for name, weight in weights.items() if "pooler" not in name}
    weights["cls.predictions.bias"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = load(folder)[0].auto_model.state_dict()
    assert torch.equal(
        found["encoder.layer.1.output.dense.weight"], weights["bert.encoder.layer.1.output.dense.weight"]
    )


def test_tensor_of_another_shape_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"] = torch.zeros(7)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnsupportedError, match="cannot be loaded"):
        load(folder)


def test_damaged_weights_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelUnsupportedError, match="cannot be loaded"):
        load(folder)


def test_missing_model_is_reported_with_what_to_do():
    with pytest.raises(ModelNotFoundError, match="without internet access, name a local folder"):
        load_plain(Checkpoint("nobody/no-such-model", local_files_only=True))


def test_remote_code_does_not_run_unless_asked_for(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    write_json(folder / "config.json", config)
    (folder / "own.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(ModelUnsupportedError, match="trust_remote_code"):
        load(folder)


@pytest.mark.parametrize("prompts", [["a"], {"query": 3}, "query: "])
def test_prompts_of_another_kind_are_refused(prompts, folder):
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    with pytest.raises(ModelUnsupportedError, match=r"prompts in config_sentence_transformers\.json are .*by name"):
        load(folder)


def test_encoder_without_a_tokenizer_is_refused(folder):
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelUnsupportedError, match=r"is tokenizer\.json missing"):
        load(folder)


def test_tokenizer_of_a_larger_model_is_refused(folder):
    weights, config = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    name = "embeddings.word_embeddings.weight"
    save_file(weights | {name: weights[name][:20].clone()}, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {**config, "vocab_size": 20})
    with pytest.raises(ModelUnsupportedError, match="embeddings for ids below 20 alone"):
        load(folder)
