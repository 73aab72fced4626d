"""The published checkpoint families, scaled down, file by file and tensor by tensor, against plain arithmetic.

No test here calls the code of a model: weights are drawn as raw tensors under the published names, token ids are
looked up by hand, and the backbones are written out in ``bert`` and ``modern_bert``.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import gelu, layer_norm, normalize

from colbert_rag.encoder import Encoder

HIDDEN, HEADS, LAYERS, VOCABULARY = 48, 4, 4, 160
SIGNS = list(string.punctuation)
IDEOGRAPHS = "天地玄黄宇宙洪荒日月"  # each a token by itself to BERT, without a blank before it
Weights = dict[str, torch.Tensor]


@dataclass
class Family:
    """What a checkpoint is expected to compute.

    Attributes:
        states: Backbone: token ids and how many of them, from the left, are attended to; gives ``(T, HIDDEN)``.
        project: ``(T, HIDDEN)`` to ``(T, dim)``.
        lookup: The token id of a character or of a token by name.
        context: Tokens that the backbone takes at once.
        markers: Names of the tokens after the first, by task.
        ends: Names of the first and the last token.
        width: Tokens that queries are expanded to; None where they are not.
        attends: Whether expansion tokens are attended to.
        alphabet: Characters that are one token each, whatever stands beside them.
        skipped: Characters that documents have no vector for.
    """

    states: Callable[[list[int], int], torch.Tensor]
    project: Callable[[torch.Tensor], torch.Tensor]
    lookup: Callable[[str], int]
    dim: int
    context: int
    markers: dict[str, str]
    ends: tuple[str, str] = ("[CLS]", "[SEP]")
    width: int | None = 32
    attends: bool = False
    alphabet: str = IDEOGRAPHS + ",.;!?#"
    skipped: list[str] = field(default_factory=lambda: SIGNS)

    def ids(self, text: str, task: str) -> list[int]:
        first, last = self.ends
        return [self.lookup(token) for token in (first, self.markers[task], *text, last)]

    def document(self, text: str) -> np.ndarray:
        ids = self.ids(text, "document")
        skipped = {self.lookup(sign) for sign in self.skipped}
        is_kept = torch.tensor([token not in skipped for token in ids])
        return normalize(self.project(self.states(ids, len(ids))), dim=-1)[is_kept].numpy()

    def query(self, text: str) -> np.ndarray:
        ids = self.ids(text, "query")
        n_masks = max(0, (self.width or 0) - len(ids))
        expanded = ids + [self.lookup("[MASK]")] * n_masks
        n_attended = len(expanded) if self.attends else len(ids)
        return normalize(self.project(self.states(expanded, n_attended)), dim=-1).numpy()


def draw(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Weights:
    """Random weights; those of norms are near one."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        weights[name] = 1 + 0.2 * noise if "norm" in name.lower() and name.endswith("weight") else 0.25 * noise
    return weights


def attend(q, k, v, bias):
    """Multi-head attention of ``(T, HIDDEN)`` rows; ``bias`` is added to the scores of all heads."""
    split = lambda x: x.view(len(x), HEADS, -1).transpose(0, 1)  # noqa: E731
    scores = split(q) @ split(k).transpose(1, 2) / (HIDDEN // HEADS) ** 0.5 + bias
    return (scores.softmax(dim=-1) @ split(v)).transpose(0, 1).reshape(len(q), HIDDEN)


def padding_bias(n_tokens: int, n_attended: int) -> torch.Tensor:
    bias = torch.zeros(n_tokens, n_tokens)
    bias[:, n_attended:] = -torch.inf
    return bias


def bert_shapes(prefix: str, n_positions: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, HIDDEN),
        "embeddings.position_embeddings.weight": (n_positions, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm": (HIDDEN,),
        "pooler.dense": (HIDDEN, HIDDEN),
    }
    for n in range(LAYERS):
        shapes |= {
            f"encoder.layer.{n}.attention.self.query": (HIDDEN, HIDDEN),
            f"encoder.layer.{n}.attention.self.key": (HIDDEN, HIDDEN),
            f"encoder.layer.{n}.attention.self.value": (HIDDEN, HIDDEN),
            f"encoder.layer.{n}.attention.output.dense": (HIDDEN, HIDDEN),
            f"encoder.layer.{n}.attention.output.LayerNorm": (HIDDEN,),
            f"encoder.layer.{n}.intermediate.dense": (4 * HIDDEN, HIDDEN),
            f"encoder.layer.{n}.output.dense": (HIDDEN, 4 * HIDDEN),
            f"encoder.layer.{n}.output.LayerNorm": (HIDDEN,),
        }
    full = {}
    for name, shape in shapes.items():
        if name.endswith(".weight"):
            full[prefix + name] = shape
        else:
            full |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
    return full


def bert(weights: Weights, prefix: str, ids: list[int], n_attended: int) -> torch.Tensor:
    """BERT (arXiv 1810.04805): learned positions, post-norm layers, GELU."""
    w = {name.removeprefix(prefix): weight.float() for name, weight in weights.items()}
    linear = lambda x, name: x @ w[f"{name}.weight"].T + w[f"{name}.bias"]  # noqa: E731
    norm = lambda x, name: layer_norm(x, (HIDDEN,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)  # noqa: E731
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    bias = padding_bias(len(ids), n_attended)
    for n in range(LAYERS):
        layer = f"encoder.layer.{n}"
        q, k, v = (linear(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = linear(attend(q, k, v, bias), f"{layer}.attention.output.dense")
        x = norm(x + mixed, f"{layer}.attention.output.LayerNorm")
        wide = gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x


def modern_bert_shapes() -> dict[str, tuple[int, ...]]:
    inner = 72
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.tok_embeddings.weight": (VOCABULARY, HIDDEN),
        "embeddings.norm.weight": (HIDDEN,),
        "final_norm.weight": (HIDDEN,),
    }
    for n in range(LAYERS):
        shapes |= {} if n == 0 else {f"layers.{n}.attn_norm.weight": (HIDDEN,)}
        shapes |= {
            f"layers.{n}.attn.Wqkv.weight": (3 * HIDDEN, HIDDEN),
            f"layers.{n}.attn.Wo.weight": (HIDDEN, HIDDEN),
            f"layers.{n}.mlp_norm.weight": (HIDDEN,),
            f"layers.{n}.mlp.Wi.weight": (2 * inner, HIDDEN),
            f"layers.{n}.mlp.Wo.weight": (HIDDEN, inner),
        }
    return shapes


def rotate(x: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary positions (arXiv 2104.09864), the two halves of a head paired."""
    size = HIDDEN // HEADS
    angles = torch.arange(len(x)).float()[:, None] * theta ** (-torch.arange(0, size, 2) / size)
    one, two = x.view(len(x), HEADS, size).chunk(2, dim=-1)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1).reshape(len(x), HIDDEN)


def modern_bert(w: Weights, ids: list[int], n_attended: int) -> torch.Tensor:
    """ModernBERT (arXiv 2412.13663): rotary positions, local attention but in every third layer, GeGLU, no biases."""
    norm = lambda x, name: layer_norm(x, (HIDDEN,), w[f"{name}.weight"], None, 1e-5)  # noqa: E731
    everywhere = padding_bias(len(ids), n_attended)
    positions = torch.arange(len(ids))
    is_far = (positions[:, None] - positions).abs() > 64  # of a window of 128
    x = norm(w["embeddings.tok_embeddings.weight"][ids], "embeddings.norm")
    for n in range(LAYERS):
        theta, bias = (160_000.0, everywhere) if n % 3 == 0 else (10_000.0, everywhere.masked_fill(is_far, -torch.inf))
        inside = x if n == 0 else norm(x, f"layers.{n}.attn_norm")
        q, k, v = (inside @ w[f"layers.{n}.attn.Wqkv.weight"].T).chunk(3, dim=-1)
        x = x + attend(rotate(q, theta), rotate(k, theta), v, bias) @ w[f"layers.{n}.attn.Wo.weight"].T
        value, gate = (norm(x, f"layers.{n}.mlp_norm") @ w[f"layers.{n}.mlp.Wi.weight"].T).chunk(2, dim=-1)
        x = x + (gelu(value) * gate) @ w[f"layers.{n}.mlp.Wo.weight"].T
    return norm(x, "final_norm")


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def ends_with(first: int, last: int) -> processors.PostProcessor:
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", first), ("[SEP]", last)],
    )


def write_word_pieces(folder: Path) -> Callable[[str], int]:
    """BERT's tokenizer, with few words; the markers are unused words of its vocabulary."""
    words = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [*string.ascii_lowercase, *IDEOGRAPHS, *SIGNS, *(f"##{letter}" for letter in string.ascii_lowercase)]
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = ends_with(ids["[CLS]"], ids["[SEP]"])
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(words))
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "mask", "pad", "sep", "unk")}
    settings = {"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer", **named}
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", named)
    return ids.__getitem__


def write_byte_pairs(folder: Path, *, is_lowercasing: bool = False) -> Callable[[str], int]:
    """ModernBERT's tokenizer with PyLate's two markers, each one token with its blank. A byte is one token here."""
    letters = [*string.ascii_letters, *string.digits, *SIGNS, "Ġ"]
    ids = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(ids, []))
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if is_lowercasing else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.post_processor = ends_with(tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]"))
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "mask", "pad", "sep", "unk")}
    names = {"input_ids", "attention_mask"}
    settings = {"model_max_length": 8192, "model_input_names": sorted(names), **named}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **settings})
    write_json(folder / "special_tokens_map.json", named)
    cased = str.lower if is_lowercasing else str
    return lambda token: tokenizer.token_to_id("Ġ" if token == " " else token if len(token) > 1 else cased(token))


def write_bert(folder: Path, weights: Weights, architecture: str) -> None:
    config = {
        "architectures": [architecture],
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": 4 * HIDDEN,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "transformers_version": "4.10.0",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }
    write_json(folder / "config.json", config)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_modern_bert(folder: Path, weights: Weights, lookup: Callable[[str], int], n_positions: int) -> None:
    config = {
        "architectures": ["ModernBertModel"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": lookup("[CLS]"),
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "classifier_pooling": "mean",
        "cls_token_id": lookup("[CLS]"),
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "eos_token_id": lookup("[SEP]"),
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "gradient_checkpointing": False,
        "hidden_activation": "gelu",
        "hidden_size": HIDDEN,
        "initializer_cutoff_factor": 2.0,
        "initializer_range": 0.02,
        "intermediate_size": 72,
        "layer_norm_eps": 1e-05,
        "local_attention": 128,
        "local_rope_theta": 10000.0,
        "max_position_embeddings": n_positions,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "model_type": "modernbert",
        "norm_bias": False,
        "norm_eps": 1e-05,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": lookup("[PAD]"),
        "position_embedding_type": "absolute",
        "reference_compile": False,
        "repad_logits_with_grad": False,
        "sep_token_id": lookup("[SEP]"),
        "sparse_pred_ignore_index": -100,
        "sparse_prediction": False,
        "torch_dtype": "float32",
        "transformers_version": "4.48.2",
        "vocab_size": VOCABULARY,
    }
    write_json(folder / "config.json", config)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def stanford(folder: Path, dim: int, projection_dtype: torch.dtype, **metadata) -> Family:
    """Stanford's layout: everything in one weights file, the markers and lengths in artifact.metadata."""
    lookup = write_word_pieces(folder)
    weights = draw(bert_shapes("bert.", 512) | {"linear.weight": (dim, HIDDEN)})
    weights["linear.weight"] = weights["linear.weight"].to(projection_dtype)
    write_bert(folder, weights | {"bert.embeddings.position_ids": torch.arange(512)[None]}, "HF_ColBERT")
    content = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "ncells": None,
        "centroid_score_threshold": None,
        "ndocs": None,
        "index_path": None,
        "nbits": 1,
        "kmeans_niters": 20,
        "similarity": "cosine",
        "amp": True,
        "interaction": "colbert",
        "dim": dim,
        "query_maxlen": 32,
        "attend_to_mask_tokens": False,
        "doc_maxlen": 180,
        "mask_punctuation": True,
        **metadata,
    }
    write_json(folder / "artifact.metadata", content)
    markers = {"query": "[unused0]", "document": "[unused1]"}
    project = lambda states: states @ weights["linear.weight"].float().T  # noqa: E731
    return Family(partial(bert, weights, "bert."), project, lookup, dim, 512, markers)


def colbert_v2(folder: Path) -> Family:
    return stanford(folder, 8, torch.float32)


def answerai_colbert_small(folder: Path) -> Family:
    # a projection in half the precision of its backbone, as jina-colbert-v2 has it too
    return stanford(folder, 12, torch.bfloat16, doc_maxlen=300, nbits=4)


def pylate(folder: Path, denses: list[Weights], dense_settings: list[dict], **settings) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for n, (weights, own) in enumerate(zip(denses, dense_settings, strict=True), 1):
        modules.append({"idx": n, "name": str(n), "path": f"{n}_Dense", "type": "pylate.models.Dense.Dense"})
        dim, width = weights["linear.weight"].shape
        activation = "torch.nn.modules.linear.Identity"
        config = {"in_features": width, "out_features": dim, "bias": False, "activation_function": activation, **own}
        write_json(folder / f"{n}_Dense" / "config.json", config)
        save_file(weights, folder / f"{n}_Dense" / "model.safetensors")
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 299, "do_lower_case": False})
    content = {
        "__version__": {"sentence_transformers": "4.0.2", "transformers": "4.48.2", "pytorch": "2.5.1"},
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 32,
        "document_length": 300,
        "attend_to_expansion_tokens": False,
        "skiplist_words": SIGNS,
        **settings,
    }
    write_json(folder / "config_sentence_transformers.json", content)


PYLATE = {
    "markers": {"query": "[Q] ", "document": "[D] "},
    "alphabet": string.ascii_letters + string.digits + ",.;" + " " * 9,
}


def gte_modern_colbert(folder: Path) -> Family:
    lookup = write_byte_pairs(folder)
    weights = draw(modern_bert_shapes())
    write_modern_bert(folder, weights, lookup, 8192)
    dense = draw({"linear.weight": (8, HIDDEN)}, seed=1)
    pylate(folder, [dense], [{}])
    project = lambda states: states @ dense["linear.weight"].T  # noqa: E731
    return Family(partial(modern_bert, weights), project, lookup, 8, 8192, **PYLATE)


def late_on(folder: Path) -> Family:
    """As GTE-ModernColBERT, but newer settings, and queries that are not expanded."""
    lookup = write_byte_pairs(folder)
    weights = draw(modern_bert_shapes(), seed=2)
    write_modern_bert(folder, weights, lookup, 8192)
    dense = draw({"linear.weight": (8, HIDDEN)}, seed=3)
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    pylate(folder, [dense], [{**names, "use_residual": False}], model_type="ColBERT", do_query_expansion=False)
    project = lambda states: states @ dense["linear.weight"].T  # noqa: E731
    return Family(partial(modern_bert, weights), project, lookup, 8, 8192, width=None, **PYLATE)


def mxbai_edge_colbert(folder: Path) -> Family:
    """A lowercasing tokenizer and a projection of three layers, two with a residual branch."""
    lookup = write_byte_pairs(folder, is_lowercasing=True)
    weights = draw(modern_bert_shapes(), seed=4)
    write_modern_bert(folder, weights, lookup, 7999)
    wide = (2 * HIDDEN, HIDDEN)
    up = draw({"linear.weight": wide, "residual.weight": wide}, seed=5)
    down = draw({"linear.weight": wide[::-1], "residual.weight": wide[::-1]}, seed=6)
    last = draw({"linear.weight": (6, HIDDEN)}, seed=7)
    pylate(folder, [up, down, last], [{"use_residual": True}, {"use_residual": True}, {"use_residual": False}])

    def project(states: torch.Tensor) -> torch.Tensor:
        for dense in (up, down):
            states = states @ dense["linear.weight"].T + states @ dense["residual.weight"].T
        return states @ last["linear.weight"].T

    return Family(partial(modern_bert, weights), project, lookup, 6, 7999, **PYLATE)


def native(folder: Path) -> Family:
    """What sentence-transformers 6 saves: every step a module, expansion and prompts in their own settings."""
    lookup = write_word_pieces(folder)
    weights = draw(bert_shapes("", 512), seed=8)
    write_bert(folder, weights, "BertModel")
    dense = draw({"linear.weight": (8, HIDDEN)}, seed=9)
    kinds = {
        "": "base.modules.transformer.Transformer",
        "1_Dense": "base.modules.dense.Dense",
        "2_MultiVectorMask": "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
        "3_Normalize": "base.modules.normalize.Normalize",
    }
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.{kind}"}
        for n, (path, kind) in enumerate(kinds.items())
    ]
    write_json(folder / "modules.json", modules)
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    transformer = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": text},
        "module_output_name": "token_embeddings",
        "document_length": 256,
        "query_expansion": {"strategy": "fixed", "attend": True, "token": None, "length": 24},
    }
    write_json(folder / "sentence_bert_config.json", transformer)
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    shape = {"in_features": HIDDEN, "out_features": 8, "bias": False}
    activation = {"activation_function": "torch.nn.modules.linear.Identity"}
    write_json(folder / "1_Dense" / "config.json", shape | activation | names)
    save_file(dense, folder / "1_Dense" / "model.safetensors")
    mask = {"skiplist_words": [",", "."], "skiplist_tasks": ["document"], "keep_only_token_ids": None}
    write_json(folder / "2_MultiVectorMask" / "config.json", mask)
    write_json(folder / "3_Normalize" / "config.json", names)
    settings = {
        "__version__": {"pytorch": "2.8.0", "sentence_transformers": "6.0.0", "transformers": "5.0.0"},
        "default_prompt_name": None,
        "model_type": "MultiVectorEncoder",
        "prompts": {"document": "d ", "query": "q "},
        "similarity_fn_name": "maxsim",
    }
    write_json(folder / "config_sentence_transformers.json", settings)
    project = lambda states: states @ dense["linear.weight"].T  # noqa: E731
    markers = {"query": "q", "document": "d"}
    states = partial(bert, weights, "")
    return Family(states, project, lookup, 8, 512, markers, width=24, attends=True, skipped=[",", "."])


FAMILIES = [colbert_v2, answerai_colbert_small, gte_modern_colbert, late_on, mxbai_edge_colbert, native]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda build: build.__name__)
def loaded(request, tmp_path_factory) -> tuple[Family, Encoder]:
    folder = tmp_path_factory.mktemp(request.param.__name__)
    family = request.param(folder)
    return family, Encoder(folder, device="cpu", precision="float32")


def make_text(n_tokens: int, family: Family, seed: int) -> str:
    """Characters of which each is one token; no blank at the ends, which a prompt or a tokenizer might take."""
    letters = np.random.default_rng(seed).choice(list(family.alphabet), n_tokens - 2)
    return f"x{''.join(letters)}."


def test_documents_longer_than_the_checkpoints_own_length_are_what_the_whole_backbone_gives(loaded):
    family, encoder = loaded
    # padded together: a batch must not change any of them
    texts = [make_text(n, family, seed=n) for n in (430, 37, 301)]
    for text, document in zip(texts, encoder.encode_documents(texts), strict=True):
        expected = family.document(text)
        assert document.vectors.shape == expected.shape
        np.testing.assert_allclose(document.vectors.astype(np.float32), expected, atol=2e-3)


def test_spans_are_the_characters_that_the_skiplist_leaves(loaded):
    family, encoder = loaded
    text = make_text(333, family, seed=1)
    [document] = encoder.encode_documents([text])
    kept = [letter for letter in text if letter not in family.skipped]
    assert [text[start:end] for start, end in document.spans] == ["", "", *kept, ""]


def test_queries_are_expanded_and_attended_to_as_the_checkpoint_says(loaded):
    family, encoder = loaded
    texts = [make_text(n, family, seed=n) for n in (5, 13, 3)]
    for text, vectors in zip(texts, encoder.encode_queries(texts), strict=True):
        expected = family.query(text)
        assert len(expected) == (family.width or len(text) + 3)
        np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_query_longer_than_the_checkpoints_own_length_is_encoded_whole(loaded):
    family, encoder = loaded
    text = make_text(61, family, seed=4)
    expected = family.query(text)
    assert len(expected) == 64
    np.testing.assert_allclose(encoder.encode_queries([text])[0], expected, atol=1e-4)


def test_dimensions_and_context_are_the_backbones(loaded):
    family, encoder = loaded
    assert encoder.dim == family.dim
    assert encoder.fingerprint["document_length"] == family.context
