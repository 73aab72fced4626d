"""Both checkpoints end to end, against the arithmetic of their papers written out in NumPy."""

from __future__ import annotations

import json
import math
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.loading import Checkpoint, load_checkpoint
from colbert_rag.errors import ModelUnsupportedError

LONG = ", ".join(["the moon", *string.ascii_lowercase] * 13)  # 715 tokens
TEXTS = ["a b, c", LONG, "moon! moon?", "z"]
FAMILIES = ["alibi", "rotary"]
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.fixture
def make_folder(request):
    return lambda family, **options: request.getfixturevalue(f"{family}_folder")(**options)


def layer_norm(x, weights, name, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    normalised = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return normalised * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def attend(query, key, value, bias, is_seen):
    scores = query @ key.T / math.sqrt(query.shape[-1]) + bias
    return softmax(np.where(is_seen, scores, -np.inf)) @ value


def alibi_vectors(weights, ids, is_seen):
    """One sequence through two layers of six heads: slopes of four heads and every second of eight."""
    slopes = [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]
    x = weights["bert.embeddings.word_embeddings.weight"][ids]
    x = x + weights["bert.embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x, weights, "bert.embeddings.LayerNorm", 1e-12)
    distance = np.abs(np.arange(len(ids))[:, None] - np.arange(len(ids)))
    for layer in ("bert.encoder.layer.0", "bert.encoder.layer.1"):
        parts = [linear(x, weights, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")]
        heads = [np.split(part, 6, axis=-1) for part in parts]
        mixed = [attend(*qkv, -slope * distance, is_seen) for slope, *qkv in zip(slopes, *heads, strict=True)]
        mixed = linear(np.concatenate(mixed, -1), weights, f"{layer}.attention.output.dense")
        x = layer_norm(mixed + x, weights, f"{layer}.attention.output.LayerNorm", 1e-12)
        gates, values = np.split(x @ weights[f"{layer}.mlp.gated_layers.weight"].T, 2, axis=-1)
        x = layer_norm(
            linear(gelu(gates) * values, weights, f"{layer}.mlp.wo") + x, weights, f"{layer}.mlp.layernorm", 1e-12
        )
    return projected(weights, x)


def rotated(x):
    """Turn the pairs (x_i, x_(i + d/2)) by position times 10000^(-2i/d), as complex numbers."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(half) / half)
    turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], -1)


def rotary_vectors(weights, ids, is_seen):
    """One sequence through two layers of four heads."""
    x = weights["roberta.embeddings.word_embeddings.weight"][ids]
    x = x + weights["roberta.embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x, weights, "roberta.emb_ln", 1e-5)
    for layer in ("roberta.encoder.layers.0", "roberta.encoder.layers.1"):
        query, key, value = (
            np.split(part, 4, -1) for part in np.split(linear(x, weights, f"{layer}.mixer.Wqkv"), 3, -1)
        )
        mixed = [attend(rotated(q), rotated(k), v, 0.0, is_seen) for q, k, v in zip(query, key, value, strict=True)]
        mixed = linear(np.concatenate(mixed, -1), weights, f"{layer}.mixer.out_proj")
        x = layer_norm(mixed + x, weights, f"{layer}.norm1", 1e-5)
        hidden = gelu(linear(x, weights, f"{layer}.mlp.fc1"))
        x = layer_norm(linear(hidden, weights, f"{layer}.mlp.fc2") + x, weights, f"{layer}.norm2", 1e-5)
    return projected(weights, x)


def projected(weights, x, dim=128):
    vectors = x @ weights["linear.weight"].T
    return vectors[:, :dim] / np.linalg.norm(vectors[:, :dim], axis=-1, keepdims=True)


VECTORS = {"alibi": alibi_vectors, "rotary": rotary_vectors}
SPECIAL = {  # first token, marker of documents, marker of queries, last token, mask token
    "alibi": ("[CLS]", "[unused1]", "[unused0]", "[SEP]", "[MASK]"),
    "rotary": ("<s>", "[DocumentMarker]", "[QueryMarker]", "</s>", "<mask>"),
}


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float64) for name, array in load_file(folder / "model.safetensors").items()}


def token_ids(folder: Path, tokens: list[str]) -> list[int]:
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [vocabulary.token_to_id(token) for token in tokens]
    assert None not in ids
    return ids


def pieces(family: str, text: str) -> list[str]:
    """Words and signs, as both of the tiny vocabularies cut them."""
    words = text.replace(",", " ,").replace("!", " !").replace("?", " ?").split()
    return [word if family == "alibi" or not word.isalpha() else f"▁{word}" for word in words]


def expected_document(folder: Path, family: str, text: str) -> np.ndarray:
    first, marker, _, last, _ = SPECIAL[family]
    tokens = [first, marker, *pieces(family, text), last]
    vectors = VECTORS[family](weights_of(folder), token_ids(folder, tokens), np.ones(len(tokens), bool))
    return vectors[[token not in string.punctuation for token in tokens]]


def expected_query(folder: Path, family: str, text: str, attends: bool) -> np.ndarray:
    first, _, marker, last, mask = SPECIAL[family]
    tokens = [first, marker, *pieces(family, text), last]
    n_masks = 32 - len(tokens)
    is_seen = np.array([True] * len(tokens) + [attends] * n_masks)
    return VECTORS[family](weights_of(folder), token_ids(folder, tokens + [mask] * n_masks), is_seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_of_unequal_length_in_one_batch_have_the_vectors_of_the_paper(make_folder, family):
    folder = make_folder(family)
    documents = Encoder(folder, device="cpu", batch_tokens=8_192).encode_documents(TEXTS)
    for text, document in zip(TEXTS, documents, strict=True):
        expected = expected_document(folder, family, text)
        words = [piece for piece in pieces("alibi", text) if piece.isalpha()]
        assert [text[start:end].strip() for start, end in document.spans[2:-1]] == words
        np.testing.assert_allclose(document.vectors.astype(np.float64), expected, atol=1e-3)


@pytest.mark.parametrize(("family", "attends"), [("alibi", False), ("rotary", True)])
def test_queries_are_widened_to_32_tokens_with_masks_that_are_seen_as_in_training(make_folder, family, attends):
    folder = make_folder(family)
    texts = ["the moon?", "a"]
    for text, query in zip(texts, Encoder(folder, device="cpu").encode_queries(texts), strict=True):
        np.testing.assert_allclose(query, expected_query(folder, family, text, attends), atol=1e-5)


@pytest.mark.parametrize("dim", [64, 96])
def test_matryoshka_dimensions_are_the_leading_ones_normalised_again(rotary_folder, dim):
    folder = rotary_folder()
    [document] = Encoder(folder, dim=dim, device="cpu").encode_documents(["a b c"])
    full = expected_document(folder, "rotary", "a b c")[:, :dim]
    np.testing.assert_allclose(document.vectors, full / np.linalg.norm(full, axis=-1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_context_is_8192_tokens_whatever_the_tokenizer_says(make_folder, family):
    assert Encoder(make_folder(family), device="cpu").fingerprint["document_length"] == 8_192


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trust_remote_code", [False, True])
@pytest.mark.parametrize("prefix", ["", "jinaai/code-that-does-not-exist--"])
def test_code_of_the_checkpoint_never_runs(make_folder, family, trust_remote_code, prefix):
    code = "configuration_bert.JinaBertConfig", "modeling_bert.JinaBertModel"
    auto_map = dict(zip(("AutoConfig", "AutoModel"), (prefix + name for name in code), strict=True))
    folder = make_folder(family, auto_map=auto_map)
    for name in ("configuration_bert.py", "modeling_bert.py"):
        (folder / name).write_text("raise SystemExit('remote code ran')")
    encoder = Encoder(folder, device="cpu", trust_remote_code=trust_remote_code)
    [document] = encoder.encode_documents(["a b"])
    np.testing.assert_allclose(document.vectors, expected_document(folder, family, "a b"), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_leaves_the_registries_of_transformers_as_they_were(make_folder, family):
    from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig

    folder = make_folder(family)
    before = sorted(CONFIG_MAPPING), len(MODEL_MAPPING), type(AutoConfig.from_pretrained(folder))
    load_checkpoint(Checkpoint(str(folder)), "cpu")
    assert before == (sorted(CONFIG_MAPPING), len(MODEL_MAPPING), type(AutoConfig.from_pretrained(folder)))


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_stay_when_their_file_is_overwritten(make_folder, family):
    folder = make_folder(family)
    model, stored = load_checkpoint(Checkpoint(str(folder)), "cpu"), weights_of(folder)
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    [words] = [array for name, array in stored.items() if name.endswith("word_embeddings.weight")]
    np.testing.assert_allclose(model[0].auto_model.embeddings.word_embeddings.weight.detach().numpy(), words)
    np.testing.assert_allclose(model[1].linear.weight.detach().numpy(), stored["linear.weight"])


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_model_comes_back_with_the_same_fingerprint_and_vectors(make_folder, tmp_path, family):
    folder, saved = make_folder(family), tmp_path / "saved"
    load_checkpoint(Checkpoint(str(folder)), "cpu").save(str(saved), create_model_card=False)
    assert "auto_map" not in json.loads((saved / "config.json").read_text())
    before, after = Encoder(folder, device="cpu"), Encoder(saved, device="cpu")
    assert {**before.fingerprint, "model": None} == {**after.fingerprint, "model": None}
    np.testing.assert_array_equal(before.encode_queries(["the moon"])[0], after.encode_queries(["the moon"])[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_model_that_pylate_saved_is_loaded_with_our_backbone_too(make_folder, family):
    folder = make_folder(family)
    expected_vectors = expected_document(folder, family, "a, b")
    as_pylate_saves(folder, family)
    [document] = Encoder(folder, device="cpu").encode_documents(["a, b"])
    np.testing.assert_allclose(document.vectors, expected_vectors, atol=1e-3)


def as_pylate_saves(folder: Path, family: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "1_Dense").mkdir()
    save_file({"linear.weight": tensors.pop("linear.weight")}, folder / "1_Dense" / "model.safetensors")
    backbone = {name.partition(".")[2]: array for name, array in tensors.items()}
    save_file(backbone, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    hidden = config["hidden_size"]
    dense = {"in_features": hidden, "out_features": 128, "bias": False, "activation_function": IDENTITY}
    _, document_marker, query_marker, *_ = SPECIAL[family]
    settings = {"model_type": "ColBERT", "query_prefix": query_marker + " ", "document_prefix": document_marker + " "}
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    contents = {
        "config.json": {**config, "architectures": ["TheirModel"]},
        "1_Dense/config.json": dense,
        "config_sentence_transformers.json": settings,
        "modules.json": [{"idx": i, "name": str(i), "path": at, "type": kind} for i, (at, kind) in enumerate(modules)],
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize("family", FAMILIES)
def test_model_loads_alike_from_shards(make_folder, family):
    folder = make_folder(family)
    expected = expected_document(folder, family, "a b")
    tensors = load_file(folder / "model.safetensors")
    shard_of = {name: f"model-{i % 2 + 1:05}-of-00002.safetensors" for i, name in enumerate(sorted(tensors))}
    for shard in set(shard_of.values()):
        save_file({name: tensors[name] for name in tensors if shard_of[name] == shard}, folder / shard)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shard_of}))
    [document] = Encoder(folder, device="cpu").encode_documents(["a b"])
    np.testing.assert_allclose(document.vectors, expected, atol=1e-3)


def test_half_precision_weights_are_computed_with_in_full(rotary_folder):
    folder = rotary_folder(dtype=torch.bfloat16)
    model = load_checkpoint(Checkpoint(str(folder)), "cpu")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("metadata", "attends"),
    [
        ({}, True),
        ({"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "attend_to_mask_tokens": False}, True),
        ({"query_token_id": "[QueryMarker]", "doc_token_id": "[DocumentMarker]"}, True),
        (
            {
                "query_token_id": "[QueryMarker]",
                "doc_token_id": "[DocumentMarker]",
                "attend_to_mask_tokens": False,
            },
            False,
        ),
    ],
)
def test_family_settings_hold_where_metadata_has_defaults_or_nothing(rotary_folder, metadata, attends):
    folder = rotary_folder(metadata=metadata)
    [query] = Encoder(folder, device="cpu").encode_queries(["the moon?"])
    np.testing.assert_allclose(query, expected_query(folder, "rotary", "the moon?", attends), atol=1e-5)


def test_markers_outside_the_vocabulary_are_refused(alibi_folder):
    folder = alibi_folder()
    (folder / "artifact.metadata").write_text(json.dumps({"query_token_id": "[Q]", "doc_token_id": "[D]"}))
    with pytest.raises(ModelUnsupportedError, match=r"\[Q\] and \[D\] are no tokens of the vocabulary"):
        Encoder(folder).dim  # noqa: B018


@pytest.mark.parametrize("family", FAMILIES)
def test_projection_of_another_width_is_refused(make_folder, family):
    folder = make_folder(family)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "linear.weight": np.zeros((128, 5), np.float32)}, folder / "model.safetensors")
    with pytest.raises(ModelUnsupportedError, match=r"linear\.weight has the shape \(128, 5\)"):
        Encoder(folder).dim  # noqa: B018


@pytest.mark.parametrize("family", ["alibi", "rotary"])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pad_token_id": None}, "pad_token_id=None; expected a whole number of at least 0"),
        ({"num_attention_heads": 0}, "num_attention_heads=0; expected a whole number of at least 1"),
        ({"hidden_size": "x"}, "hidden_size='x'; expected a whole number of at least 1"),
        ({"num_attention_heads": 7}, "which num_attention_heads=7 does not divide"),
    ],
)
def test_sizes_that_make_no_backbone_are_refused(make_folder, family, setting, message):
    folder = make_folder(family)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | setting))
    with pytest.raises(ModelUnsupportedError, match=message):
        Encoder(folder, device="cpu").dim  # noqa: B018


@pytest.mark.parametrize(
    ("filename", "message"),
    [("artifact.metadata", r"artifact\.metadata holds a list"), ("tokenizer_config.json", "cannot be loaded")],
)
def test_list_where_an_object_belongs_is_refused(alibi_folder, filename, message):
    folder = alibi_folder()
    (folder / filename).write_text("[1]")
    with pytest.raises(ModelUnsupportedError, match=message):
        Encoder(folder, device="cpu").dim  # noqa: B018


@pytest.mark.parametrize("family", ["alibi", "rotary"])
def test_missing_tokenizer_is_named(make_folder, family):
    folder = make_folder(family)
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ModelUnsupportedError, match=r"is tokenizer\.json missing"):
        Encoder(folder, device="cpu").dim  # noqa: B018
