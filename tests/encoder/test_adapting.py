"""Plain encoders made late-interaction models, against principal components computed from the backbone itself."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from sentence_transformers import MultiVectorEncoder
from torch.nn.functional import normalize

from colbert_rag import Document, Index
from colbert_rag.encoder import Encoder
from colbert_rag.encoder.adapting import adapt, as_late_interaction, draw_sample, load_whole
from colbert_rag.encoder.loading import Checkpoint
from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.errors import (
    IndexExistsError,
    InvalidDocumentError,
    ModelUnsupportedError,
    StorageError,
)

TEXTS = [f"the cat number {n}, and {n * 7 % 50} of {'abcdefgh'[n % 8]}ing!" for n in range(60)]
HIDDEN, DIM = 32, 8
COMMON = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "initializer_range": 0.5}
BERT_LIKE = {**COMMON, "hidden_size": HIDDEN, "max_position_embeddings": 64}
ROBERTA_LIKE = {**BERT_LIKE, "max_position_embeddings": 65}  # position 0 is of the padding
BACKBONES = {
    "Bert": BERT_LIKE,
    "Roberta": ROBERTA_LIKE,
    "XLMRoberta": ROBERTA_LIKE,
    "MPNet": {**BERT_LIKE, "max_position_embeddings": 66},  # padding is always 1
    "DistilBert": {"dim": HIDDEN, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64},
    "ModernBert": {**BERT_LIKE, "global_attn_every_n_layers": 2, "local_attention": 8},
    "T5": {"d_model": HIDDEN, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
}


def make_backbone(kind, folder, tokenizer, **settings):
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), pad_token_id=0, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        suffix = "EncoderModel" if kind == "T5" else "Model"
        model = getattr(transformers, f"{kind}{suffix}")(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def write_json(path: Path, content) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def hidden_states(model, tokenizer, text):
    """What the backbone gives for a text alone, and which of its tokens are no punctuation."""
    ids = tokenizer(text, truncation=False)["input_ids"]
    row = torch.tensor([ids])
    with torch.inference_mode():
        states = model(input_ids=row, attention_mask=torch.ones_like(row)).last_hidden_state[0]
    signs = set(tokenizer.convert_tokens_to_ids(list(string.punctuation)))
    return states, torch.tensor([token not in signs for token in ids])


def kept_states(model, tokenizer, text):
    states, is_kept = hidden_states(model, tokenizer, text)
    return states[is_kept]


@pytest.fixture
def folder(bert_folder, tmp_path) -> Path:
    return Path(shutil.copytree(bert_folder, tmp_path / "plain"))


@pytest.fixture
def sentence_folder(folder) -> Path:
    """A sentence-embedding model: pooling, a head and its own short length, with the prompts of E5."""
    prefix = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{prefix}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{prefix}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": f"{prefix}.Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": f"{prefix}.Normalize"},
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": False})
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    )
    settings = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": None}
    write_json(folder / "config_sentence_transformers.json", settings)
    return folder


@pytest.mark.parametrize("kind", BACKBONES)
def test_vectors_are_the_backbones_on_the_principal_axes_of_the_texts(kind, tmp_path, tiny_tokenizer):
    model = make_backbone(kind, tmp_path / "plain", tiny_tokenizer, **BACKBONES[kind])
    adapt(tmp_path / "plain", TEXTS, tmp_path / "adapted", dim=DIM, device="cpu")
    encoder = Encoder(tmp_path / "adapted", device="cpu", precision="float32")
    unit = normalize(torch.cat([kept_states(model, tiny_tokenizer, text) for text in TEXTS]), dim=-1)
    axes = torch.linalg.svd(unit.double())[2][:DIM].float()
    [document] = encoder.encode_documents(TEXTS[:1])
    expected = normalize(kept_states(model, tiny_tokenizer, TEXTS[0]) @ axes.T, dim=-1).numpy()
    vectors = document.vectors.astype(np.float32)
    assert vectors.shape == (len(expected), DIM)
    # an axis has no sign of its own, so dot products are compared
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=5e-3)
    assert encoder.fingerprint["document_length"] == 64


def test_projection_rows_are_orthonormal_and_ordered_by_the_weight_they_carry(
    folder, tmp_path, tiny_bert, tiny_tokenizer
):
    adapt(folder, TEXTS, tmp_path / "adapted", dim=DIM, device="cpu")
    axes = load_file(tmp_path / "adapted" / "1_Dense" / "model.safetensors")["linear.weight"]
    unit = normalize(torch.cat([kept_states(tiny_bert, tiny_tokenizer, text) for text in TEXTS]), dim=-1)
    np.testing.assert_allclose(axes @ axes.T, np.eye(DIM), atol=1e-5)
    weights = (unit @ axes.T).square().sum(dim=0)
    assert (weights.diff() <= 0).all()
    # truncation keeps the heaviest
    assert Encoder(tmp_path / "adapted", dim=4, device="cpu").encode_queries(["the cat"])[0].shape[1] == 4


def test_plain_sentence_transformers_loads_the_folder_and_gives_the_same_vectors(sentence_folder, tmp_path):
    adapt(sentence_folder, TEXTS, tmp_path / "adapted", dim=DIM, device="cpu")
    ours = Encoder(tmp_path / "adapted", device="cpu", precision="float32")
    theirs = MultiVectorEncoder(str(tmp_path / "adapted"), device="cpu")
    long = "the cat " * 25
    for text in (*TEXTS[:3], long):
        [document] = ours.encode_documents([text])
        expected = theirs.encode_document(text, convert_to_numpy=True)
        np.testing.assert_allclose(document.vectors.astype(np.float32), expected, atol=1e-3)
        np.testing.assert_allclose(
            ours.encode_queries([text])[0], theirs.encode_query(text, convert_to_numpy=True), atol=1e-5
        )
    assert not list((tmp_path / "adapted").rglob("*.bin"))


def test_sentence_model_keeps_its_prompts_and_loses_its_short_length_and_its_head(
    sentence_folder, tmp_path, tiny_bert, tiny_tokenizer
):
    adapt(sentence_folder, [], tmp_path / "adapted", dim=None, device="cpu")
    encoder = Encoder(tmp_path / "adapted", device="cpu", precision="float32")
    assert encoder.fingerprint["prompts"] == {"document": "passage: ", "query": "query: "}
    assert encoder.fingerprint["document_length"] == 64
    text = "the cat " * 22  # with the prompt, more than the 40 that the model cuts at
    states, is_kept = hidden_states(tiny_bert, tiny_tokenizer, f"passage: {text}")
    [document] = encoder.encode_documents([text])
    expected = normalize(states, dim=-1)[is_kept].numpy()
    np.testing.assert_allclose(document.vectors.astype(np.float32), expected, atol=1e-3)
    states, _ = hidden_states(tiny_bert, tiny_tokenizer, f"query: {text}")
    np.testing.assert_allclose(encoder.encode_queries([text])[0], normalize(states, dim=-1).numpy(), atol=1e-5)


@pytest.mark.parametrize("dim", [None, HIDDEN, 128])
def test_all_dimensions_are_kept_without_a_projection(dim, folder, tmp_path, tiny_bert, tiny_tokenizer):
    adapt(folder, TEXTS[:1], tmp_path / "adapted", dim=dim, device="cpu")
    [document] = Encoder(tmp_path / "adapted", device="cpu", precision="float32").encode_documents(TEXTS[:1])
    expected = normalize(kept_states(tiny_bert, tiny_tokenizer, TEXTS[0]), dim=-1).numpy()
    np.testing.assert_allclose(document.vectors.astype(np.float32), expected, atol=1e-3)


def test_index_finds_the_adapted_model_again(folder, tmp_path):
    adapt(folder, TEXTS, tmp_path / "adapted", dim=DIM, device="cpu")
    encoder = Encoder(tmp_path / "adapted", device="cpu", precision="float32")
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Document(str(n), text) for n, text in enumerate(TEXTS)])
    with Index.open(tmp_path / "index") as index:
        assert index.search(TEXTS[17], k=1)[0].id == "17"


def test_without_a_model_the_builtin_backbone_is_fitted_at_its_full_context(tmp_path, builtin):
    encoder = Encoder.adapt(None, TEXTS, tmp_path / "adapted", dim=24, device="cpu")
    assert encoder.dim == 24
    assert encoder.name == str((tmp_path / "adapted").resolve())
    assert encoder.fingerprint["document_length"] == 512
    assert encoder.fingerprint["skiplist_sha256"] == builtin.fingerprint["skiplist_sha256"]


def test_rerun_writes_the_same_weights(folder, tmp_path):
    for name in ("one", "two"):
        adapt(folder, TEXTS, tmp_path / name, dim=DIM, device="cpu", max_tokens=300)
    files = [tmp_path / name / "1_Dense" / "model.safetensors" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_sample_is_of_whole_documents_each_once_and_ends_at_the_bound(tiny_model):
    model = TokenModel(tiny_model)
    texts = [f"the cat {n}" for n in range(200)] * 2
    sample = draw_sample(model, texts, 100)
    lengths = [len(tokens.ids) for tokens in model.tokenise(sample, "document")]
    assert sum(lengths[:-1]) < 100 <= sum(lengths)
    assert len(set(sample)) == len(sample)
    assert set(sample) <= set(texts)
    assert sample != texts[: len(sample)]
    assert draw_sample(model, texts, 100) == sample
    assert sorted(draw_sample(model, texts, 10**9)) == sorted(set(texts))


def test_only_the_sample_is_encoded_and_reported(folder, tmp_path):
    calls = []
    adapt(
        folder, TEXTS * 5, tmp_path / "adapted", dim=4, device="cpu", max_tokens=40, progress=lambda *c: calls.append(c)
    )
    assert len(calls) == 1
    stage, done, total = calls[0]
    assert (stage, done) == ("fit", total)
    assert total <= 5


def test_path_that_holds_something_is_refused_and_left_alone(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", folder):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(IndexExistsError, match="exists and is not an empty folder"):
            adapt(folder, TEXTS, target, dim=DIM)
        assert sorted(tmp_path.rglob("*")) == before


def test_empty_folder_is_filled_and_missing_parents_are_made(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "new" / "model"):
        adapt(folder, TEXTS, target, dim=DIM, device="cpu")
        assert Encoder(target, device="cpu").dim == DIM
        assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []


def test_failed_write_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    def fail(self, path, **options):
        (Path(path) / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MultiVectorEncoder, "save", fail)
    with pytest.raises(StorageError, match=r"adapted: the model cannot be written .*No space left"):
        adapt(folder, TEXTS, tmp_path / "adapted", dim=DIM, device="cpu")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("texts", "dim", "message"),
    [
        ([], 8, "no texts to fit"),
        ("the cat", 8, "A sequence of texts was expected"),
        ((text for text in TEXTS), 8, "A sequence of texts was expected, found a generator"),
        (None, 8, "A sequence of texts was expected, found a NoneType"),
        (["the cat", 3], 8, "document 1: a string was expected, found int"),
        (["the cat"], 8, r"have 4 token vectors; 8 dimensions need at least as many"),
    ],
)
def test_texts_that_cannot_be_fitted_to_are_refused(texts, dim, message, folder, tmp_path):
    with pytest.raises(InvalidDocumentError, match=message):
        adapt(folder, texts, tmp_path / "adapted", dim=dim, device="cpu")
    assert not (tmp_path / "adapted").exists()


def test_dimension_below_one_is_refused(folder, tmp_path):
    with pytest.raises(ModelUnsupportedError, match="dim=0 is not possible"):
        adapt(folder, TEXTS, tmp_path / "adapted", dim=0)


@pytest.mark.parametrize(
    "option", [{"dim": True}, {"dim": 8.0}, {"dim": "8"}, {"max_tokens": 0}, {"max_tokens": None}, {"max_tokens": 1e5}]
)
def test_option_that_is_no_whole_number_above_zero_is_refused_before_anything_is_loaded(option, tmp_path):
    [name] = option
    with pytest.raises(ModelUnsupportedError, match=f"{name}=.* is not possible: at least 1 expected, a whole number"):
        adapt("no/such-model", TEXTS, tmp_path / "adapted", **option)


def test_object_that_is_no_name_is_refused(tiny_bert, tmp_path):
    with pytest.raises(ModelUnsupportedError, match="model is a BertModel; expected a hub name or a folder"):
        adapt(tiny_bert, TEXTS, tmp_path / "adapted", dim=DIM)


def test_the_model_is_no_view_of_the_projection_that_it_was_given(bert_folder, projection):
    given = projection.numpy().copy()
    transformer, prompts = load_whole(Checkpoint(str(bert_folder)))
    model = as_late_interaction(transformer, prompts, "cpu", given)
    with torch.no_grad():
        model[1].linear.weight *= 0.5
    np.testing.assert_array_equal(given, projection.numpy())
