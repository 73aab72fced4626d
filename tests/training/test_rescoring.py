from __future__ import annotations

import itertools
import string
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from colbert_rag.errors import InvalidTrainingError, ModelNotFoundError, ModelUnsupportedError
from colbert_rag.testing import HashEncoder
from colbert_rag.training import rescoring
from colbert_rag.training.examples import Example
from colbert_rag.training.rescoring import CrossEncoderTeacher, MaxSimTeacher, load_teacher, rescore

CONTEXT = 48
QUERY = "where is the cat"
LONG = " ".join(f"{string.ascii_lowercase[n % 26]}{n}" for n in range(60))
EXAMPLES = [Example("a", ("a b", "c"), (9.0, 9.0)), Example("b", ("b",)), Example("c d", ("c", "d", "c d"))]


def save(kind: str, folder: Path, **options: object) -> Path:
    """A tiny BERT with random weights and a vocabulary of letters, and of an ending that is one token."""
    import torch
    import transformers

    letters = string.ascii_lowercase + string.digits
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{each}" for each in letters), "##ing"]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=CONTEXT).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = tiny_models.tiny_config(len(tokens), CONTEXT, initializer_range=0.5, **options)
        getattr(transformers, kind)(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def cross_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("BertForSequenceClassification", tmp_path_factory.mktemp("cross"), num_labels=1)


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("BertModel", tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def cross(cross_folder: Path) -> CrossEncoderTeacher:
    teacher = load_teacher(str(cross_folder), device="cpu")
    assert isinstance(teacher, CrossEncoderTeacher)
    return teacher


@pytest.fixture(scope="session")
def logit(cross_folder: Path):
    """The logit of a pair of texts by transformers alone; refuses what is too long for the model."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(cross_folder)
    model = AutoModelForSequenceClassification.from_pretrained(cross_folder).eval()

    def compute(query: str, document: str) -> float:
        inputs = tokenizer(query, document, return_tensors="pt")
        assert inputs["input_ids"].shape[1] <= CONTEXT
        with torch.inference_mode():
            return model(**inputs).logits.item()

    return compute


def test_a_cross_encoder_scores_by_its_logit(cross: CrossEncoderTeacher, logit):
    documents = ["on the mat", "under the table", "cat"]
    scores = cross.score(QUERY, documents)
    assert scores.dtype == np.float32
    assert scores == pytest.approx([logit(QUERY, document) for document in documents], abs=1e-4)


def test_a_long_document_has_the_score_of_its_best_window_and_all_of_it_is_read(cross, logit):
    [best] = cross.score(QUERY, [LONG])
    windows = cross._windows(QUERY, LONG)
    assert len(windows) > 2
    assert best == pytest.approx(max(logit(QUERY, window) for window in windows), abs=1e-4)
    places = [(LONG.index(window), LONG.index(window) + len(window)) for window in windows]
    assert (places[0][0], places[-1][1]) == (0, len(LONG))
    assert all(start < end for (_, end), (start, _) in itertools.pairwise(places))


def test_no_window_is_cut_off_where_its_first_word_is_cut_in_two(cross: CrossEncoderTeacher, logit):
    words = " ".join(f"{letter}bcding" for letter in string.ascii_lowercase)
    windows = cross._windows(QUERY, words)
    # by itself this ending is three tokens
    assert any(window.startswith("ing") for window in windows)
    assert cross.score(QUERY, [words]) == pytest.approx([max(logit(QUERY, window) for window in windows)], abs=1e-4)


def test_a_document_that_fits_is_not_cut(cross: CrossEncoderTeacher):
    assert cross._windows(QUERY, "on the mat") == ["on the mat"]


def test_a_query_that_leaves_no_room_for_a_document_is_refused(cross: CrossEncoderTeacher):
    with pytest.raises(InvalidTrainingError, match="leaves a cross-encoder room for 0 tokens of a document of 170"):
        cross.score(LONG[:120], [LONG])


def test_no_documents_have_no_scores(cross: CrossEncoderTeacher):
    assert cross.score(QUERY, []).shape == MaxSimTeacher(HashEncoder()).score(QUERY, []).shape == (0,)


def test_the_wide_teacher_is_maxsim_over_the_backbones_vectors_without_a_projection(plain_folder: Path):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(plain_folder), AutoModel.from_pretrained(plain_folder).eval()

    def vectors(text: str) -> np.ndarray:
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert hidden.shape[1] == tiny_models.HIDDEN
        return torch.nn.functional.normalize(hidden, dim=-1).numpy()

    documents = ["on the mat", "under the table"]
    expected = [(vectors(QUERY) @ vectors(document).T).max(axis=1).sum() for document in documents]
    # documents are kept as float16
    teacher = load_teacher("wide", base=str(plain_folder), device="cpu")
    assert teacher.score(QUERY, documents) == pytest.approx(expected, abs=2e-2)


def test_documents_are_encoded_once_as_long_as_they_are_kept(monkeypatch: pytest.MonkeyPatch):
    encoded: list[str] = []

    class Watched(HashEncoder):
        def encode_documents(self, texts, *, progress=None):
            encoded.extend(texts)
            return super().encode_documents(texts, progress=progress)

    monkeypatch.setattr(rescoring, "CACHED_DOCUMENTS", 2)
    teacher, fresh = MaxSimTeacher(Watched()), MaxSimTeacher(HashEncoder())
    for documents in (["a", "b", "a"], ["b", "c"], ["b", "a"], ["a", "b", "c"]):
        assert teacher.score("a b c", documents).tolist() == fresh.score("a b c", documents).tolist()
    # "a" was unused for longest when "c" came, and "c" when "a" came back
    assert encoded == ["a", "b", "c", "a", "c"]


def test_rescoring_gives_every_document_its_score_and_replaces_old_ones():
    teacher = MaxSimTeacher(HashEncoder())
    told: list[tuple[str, int, int | None]] = []
    rescored = rescore(EXAMPLES, teacher, lambda *each: told.append(each))
    assert [(each.query, each.documents) for each in rescored] == [(each.query, each.documents) for each in EXAMPLES]
    for example in rescored:
        assert example.scores == tuple(map(float, teacher.score(example.query, example.documents)))
    assert rescored[0].scores[0] > 0.99 > rescored[0].scores[1]
    assert told == [("rescore", 2, 6), ("rescore", 3, 6), ("rescore", 6, 6)]


@pytest.mark.parametrize("scores", [[1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_scores_that_are_not_one_finite_number_for_each_document_are_refused(scores):
    class Wrong:
        def score(self, query, documents):
            return np.array(scores, np.float32)

    with pytest.raises(InvalidTrainingError, match="Example 0: expected 2 finite scores"):
        rescore(EXAMPLES, Wrong())


def test_a_model_without_a_trained_score_is_refused(plain_folder: Path):
    with pytest.raises(ModelUnsupportedError, match=r"no cross-encoder: .*found \['BertModel'\]"):
        load_teacher(str(plain_folder))


def test_a_model_with_several_scores_is_refused(tmp_path: Path):
    folder = save("BertForSequenceClassification", tmp_path, num_labels=3)
    with pytest.raises(ModelUnsupportedError, match="found 3 scores"):
        load_teacher(str(folder), device="cpu")


def test_a_teacher_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match=r"No model could be read .*config\.json is not there"):
        load_teacher(str(tmp_path))


def test_a_base_goes_with_the_wide_teacher_alone(cross_folder: Path):
    with pytest.raises(InvalidTrainingError, match="base is of the teacher 'wide' alone"):
        load_teacher(str(cross_folder), base="builtin")
