"""Small checkpoints with random weights in the exact layout of jina-colbert-v1-en and jina-colbert-v2."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = [*string.ascii_lowercase, "the", "moon"]
ALIBI_SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 40}
ROTARY_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56}
METADATA = {"query_maxlen": 32, "doc_maxlen": 300, "mask_punctuation": True, "dim": 128, "similarity": "cosine"}

Folder = Callable[..., Path]


@pytest.fixture
def alibi_folder(tmp_path) -> Folder:
    """Makes a folder like jina-colbert-v1-en; options go into config.json."""

    def make(**config) -> Path:
        folder = new_folder(tmp_path / "v1")
        tokenizer = word_pieces(folder)
        write_json(folder / "config.json", alibi_config(tokenizer.get_vocab_size()) | config)
        write_json(folder / "artifact.metadata", METADATA)
        save(alibi_tensors(tokenizer.get_vocab_size()), folder / "model.safetensors")
        return folder

    return make


@pytest.fixture
def rotary_folder(tmp_path) -> Folder:
    """Makes a folder like jina-colbert-v2; ``metadata`` replaces what artifact.metadata says."""

    def make(metadata: dict | None = None, dtype: torch.dtype = torch.float32, **config) -> Path:
        folder = new_folder(tmp_path / "v2")
        tokenizer = sentence_pieces(folder)
        write_json(folder / "config.json", rotary_config(tokenizer.get_vocab_size()) | config)
        stated = {"query_token_id": "[QueryMarker]", "doc_token_id": "[DocumentMarker]"}
        own = {**METADATA, **stated, "attend_to_mask_tokens": True} if metadata is None else metadata
        write_json(folder / "artifact.metadata", own)
        tensors = {name: tensor.to(dtype) for name, tensor in rotary_tensors(tokenizer.get_vocab_size()).items()}
        save(tensors, folder / "model.safetensors")
        return folder

    return make


def new_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def write_json(path: Path, content) -> None:
    path.write_text(json.dumps(content))


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})


def alibi_config(vocab_size: int) -> dict:
    code = "jinaai/jina-bert-implementation--"
    return {
        **ALIBI_SIZES,
        "_name_or_path": "jinaai/jina-colbert-v1-en",
        "architectures": ["HF_ColBERT"],
        "attention_probs_dropout_prob": 0.0,
        "auto_map": {
            "AutoConfig": f"{code}configuration_bert.JinaBertConfig",
            "AutoModel": f"{code}modeling_bert.JinaBertModel",
            "AutoModelForMaskedLM": f"{code}modeling_bert.JinaBertForMaskedLM",
        },
        "classifier_dropout": None,
        "emb_pooler": "mean",
        "feed_forward_type": "geglu",
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 8192,
        "model_type": "bert",
        "pad_token_id": 0,
        "position_embedding_type": "alibi",
        "torch_dtype": "float32",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": vocab_size,
    }


def rotary_config(vocab_size: int) -> dict:
    code = "jinaai/xlm-roberta-flash-implementation--"
    return {
        **ROTARY_SIZES,
        "_name_or_path": "jinaai/jina-colbert-v2",
        "architectures": ["HF_ColBERT"],
        "attention_probs_dropout_prob": 0.1,
        "auto_map": {
            "AutoConfig": f"{code}configuration_xlm_roberta.XLMRobertaFlashConfig",
            "AutoModel": f"{code}modeling_xlm_roberta.XLMRobertaModel",
        },
        "bos_token_id": 0,
        "classifier_dropout": None,
        "emb_pooler": None,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 8194,
        "model_type": "xlm-roberta",
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "rotary_emb_base": 10000.0,
        "torch_dtype": "bfloat16",
        "type_vocab_size": 1,
        "use_cache": True,
        "use_flash_attn": True,
        "use_reentrant": False,
        "vocab_size": vocab_size,
    }


def alibi_tensors(vocab_size: int) -> dict[str, torch.Tensor]:
    hidden, intermediate = ALIBI_SIZES["hidden_size"], ALIBI_SIZES["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (vocab_size, hidden),
        "bert.embeddings.token_type_embeddings.weight": (2, hidden),
        **norm("bert.embeddings.LayerNorm", hidden),
        **linear("bert.pooler.dense", hidden, hidden),
        "linear.weight": (128, hidden),
    }
    for number in range(ALIBI_SIZES["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{number}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= linear(f"{layer}.attention.{name}", hidden, hidden)
        shapes |= norm(f"{layer}.attention.output.LayerNorm", hidden)
        shapes[f"{layer}.mlp.gated_layers.weight"] = (2 * intermediate, hidden)
        shapes |= linear(f"{layer}.mlp.wo", hidden, intermediate)
        shapes |= norm(f"{layer}.mlp.layernorm", hidden)
    return random_tensors(shapes)


def rotary_tensors(vocab_size: int) -> dict[str, torch.Tensor]:
    hidden, intermediate = ROTARY_SIZES["hidden_size"], ROTARY_SIZES["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "roberta.embeddings.word_embeddings.weight": (vocab_size, hidden),
        "roberta.embeddings.token_type_embeddings.weight": (1, hidden),
        **norm("roberta.emb_ln", hidden),
        "linear.weight": (128, hidden),
    }
    for number in range(ROTARY_SIZES["num_hidden_layers"]):
        layer = f"roberta.encoder.layers.{number}"
        shapes |= linear(f"{layer}.mixer.Wqkv", 3 * hidden, hidden)
        shapes |= linear(f"{layer}.mixer.out_proj", hidden, hidden)
        shapes |= norm(f"{layer}.norm1", hidden) | norm(f"{layer}.norm2", hidden)
        shapes |= linear(f"{layer}.mlp.fc1", intermediate, hidden)
        shapes |= linear(f"{layer}.mlp.fc2", hidden, intermediate)
    return random_tensors(shapes)


def linear(name: str, n_out: int, n_in: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def random_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def word_pieces(folder: Path) -> Tokenizer:
    tokens = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *WORDS]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 4), ("[SEP]", 5)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    names = ("pad", "unk", "cls", "sep", "mask")
    special = {f"{name}_token": f"[{name.upper()}]" for name in names}
    write_json(folder / "special_tokens_map.json", special)
    settings = {"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}
    write_json(folder / "tokenizer_config.json", special | settings)
    return tokenizer


def sentence_pieces(folder: Path) -> Tokenizer:
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(token, -4.0) for token in (*string.punctuation, *(f"▁{word}" for word in WORDS))]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("<mask>", 0.0)], unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    mask = AddedToken("<mask>", lstrip=True, normalized=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", mask, "[QueryMarker]", "[DocumentMarker]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    special |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    write_json(folder / "special_tokens_map.json", special)
    settings = {"model_max_length": 8192, "tokenizer_class": "XLMRobertaTokenizer"}
    write_json(folder / "tokenizer_config.json", special | settings)
    return tokenizer
