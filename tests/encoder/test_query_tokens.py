"""Labels of query vectors against what the model itself puts into a batch."""

from __future__ import annotations

import string

import pytest

from colbert_rag.encoder import Encoder
from colbert_rag.errors import InvalidQueryError
from colbert_rag.types import TokenLabel


def texts_of(encoder: Encoder, query: str) -> list[str]:
    labels = encoder.query_tokens(query)
    assert len(labels) == len(encoder.encode_queries([query])[0])
    for label in labels:
        if label.start is not None:
            assert query[label.start : label.end] == label.text
    return [label.text for label in labels]


@pytest.mark.parametrize("strategy", ["fixed", "min"])
def test_expanded_queries_end_in_masks_and_the_prompt_has_its_own_names(make_tiny, strategy):
    found = texts_of(Encoder(make_tiny(strategy=strategy)), "The cat?")
    assert found == ["[CLS]", "q", ":", "The", "cat", "?", "[SEP]", *["[MASK]"] * 5]


def test_labels_say_where_they_stand_in_the_query(make_tiny):
    labels = Encoder(make_tiny(strategy=None)).query_tokens("  the\tcat catx")
    assert labels[3:7] == [
        TokenLabel("the", 2, 5),
        TokenLabel("cat", 6, 9),
        TokenLabel("cat", 10, 13),
        TokenLabel("x", 13, 14),
    ]
    assert (labels[0], labels[-1]) == (TokenLabel("[CLS]"), TokenLabel("[SEP]"))


@pytest.mark.parametrize("strategy", ["fixed", "min", None])
@pytest.mark.parametrize("n_words", [1, 6, 7, 8, 20, 59])
def test_a_query_of_any_length_has_a_label_for_each_vector(make_tiny, strategy, n_words):
    words = [string.ascii_lowercase[n % 26] for n in range(n_words)]
    masks = ["[MASK]"] * (0 if strategy is None else max(0, 12 - n_words - 4))
    found = texts_of(Encoder(make_tiny(strategy=strategy)), " ".join(words))
    assert found == ["[CLS]", "q", ":", *words, "[SEP]", *masks]


@pytest.mark.parametrize(("token", "side"), [("[unused1]", "right"), ("[unused1]", "left"), (None, "left")])
def test_expansion_tokens_are_those_of_the_model_where_the_model_puts_them(make_tiny, token, side):
    model = make_tiny(strategy="fixed")
    model[0].query_expansion = {**model[0].query_expansion, "token": token}
    model.tokenizer.padding_side = side
    row = model.preprocess(["the cat"], prompt="q: ", task="query")["input_ids"][0]
    assert texts_of(Encoder(model), "the cat") == model.tokenizer.convert_ids_to_tokens(row.tolist())


def test_tokens_that_the_model_drops_from_queries_have_no_label(make_tiny):
    model = make_tiny(strategy="fixed")
    model[2].skiplist_tasks = ["query", "document"]
    encoder = Encoder(model)
    assert texts_of(encoder, "the, cat!") == ["[CLS]", "q", "the", "cat", "[SEP]", *["[MASK]"] * 4]
    model[2].skiplist_words += ["[MASK]"]
    model[2].resolve_with_tokenizer(model.tokenizer)
    assert texts_of(Encoder(model), "the, cat!") == ["[CLS]", "q", "the", "cat", "[SEP]"]


def test_a_query_of_which_the_model_keeps_nothing_has_all_its_tokens(make_tiny):
    model = make_tiny(strategy="fixed")
    model[2].skiplist_words += ["[CLS]", "[SEP]", "[MASK]", "q"]
    model[2].skiplist_tasks = ["query"]
    model[2].resolve_with_tokenizer(model.tokenizer)
    assert texts_of(Encoder(model), "!") == ["[CLS]", "q", ":", "!", "[SEP]"]


def test_built_in_queries_are_labelled_with_their_words(builtin):
    assert texts_of(builtin, "How long is it?") == ["[CLS]", "How", "long", "is", "it", "?", "[SEP]"]
    assert texts_of(builtin, "Kündigungsfrist 漢字 👍")[0] == "[CLS]"


def test_a_marker_that_the_query_itself_spells_out_is_text(make_tiny):
    [label] = [label for label in Encoder(make_tiny(strategy=None)).query_tokens("the [MASK] cat") if "M" in label.text]
    assert (label.start, label.end) == (4, 10)


@pytest.mark.parametrize(("query", "message"), [("a " * 80, "takes 64 at once"), (3, "a string was expected")])
def test_what_cannot_be_encoded_cannot_be_labelled(tiny_model, query, message):
    with pytest.raises(InvalidQueryError, match=message):
        Encoder(tiny_model).query_tokens(query)
