from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.encoder.tokenise import Tokeniser
from colbert_rag.errors import ModelUnsupportedError


@pytest.fixture(scope="module")
def tokeniser(tiny_tokenizer):
    return Tokeniser.of(tiny_tokenizer)


def byte_level_tokeniser():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return Tokeniser.of(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_prefix_text_and_suffix_are_told_apart(tokeniser):
    [tokens] = tokeniser.tokenise(["the cat"], "d: ")
    assert tokens.n_prefix == 3  # [CLS] d :
    assert tokens.n_suffix == 1
    assert tokens.spans.tolist() == [[0, 0], [0, 0], [0, 0], [0, 3], [4, 7], [7, 7]]


def test_text_that_looks_like_a_special_token_belongs_to_the_text(tokeniser):
    [tokens] = tokeniser.tokenise(["[SEP] the"], "")
    assert (tokens.n_prefix, tokens.n_suffix) == (1, 1)
    assert tokens.spans.tolist() == [[0, 0], [0, 5], [6, 9], [9, 9]]


@pytest.mark.parametrize("n_words", [1, 70, 5_000])
def test_nothing_is_truncated_whatever_others_did_to_the_shared_tokenizer(tiny_tokenizer, n_words):
    tiny_tokenizer(["a b c d e"], truncation=True, max_length=3, padding="max_length")
    [tokens] = Tokeniser.of(tiny_tokenizer).tokenise(["the " * n_words], "")
    assert len(tokens.ids) == n_words + 2
    assert tiny_tokenizer.backend_tokenizer.truncation["max_length"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("🙂 cat 👩‍👩‍👧", ["🙂", "cat", "👩‍👩‍👧"]),
        ("日本語", ["日", "本", "語"]),
        ("xe\u0301 the", ["x", "e", "the"]),  # the tokenizer strips accents: the mark is no token's
        ("שלום cat", ["שלום", "cat"]),
    ],
)
def test_spans_count_characters_of_the_given_text(tokeniser, text, words):
    [tokens] = tokeniser.tokenise([text], "d: ")
    body = tokens.spans[tokens.n_prefix : len(tokens.spans) - tokens.n_suffix]
    assert [text[start:end] for start, end in body] == words


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=40), prompt=st.sampled_from(["", "d: ", "[Q] ", "search "]))
def test_spans_lie_in_the_text_and_do_not_fall(tokeniser, text, prompt):
    for each in (tokeniser, BYTE_LEVEL):
        [tokens] = each.tokenise([text], prompt)
        starts, ends = tokens.spans.T.tolist()
        assert all(0 <= start <= end <= len(text) for start, end in zip(starts, ends, strict=True))
        assert starts == sorted(starts)
        assert tokens.n_prefix + tokens.n_suffix <= len(tokens.ids)


@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_byte_level_tokens_cover_every_character(text):
    [tokens] = BYTE_LEVEL.tokenise([text], "search: ")
    covered = {i for start, end in tokens.spans for i in range(start, end)}
    assert covered == set(range(len(text)))


def test_slow_tokenizer_is_refused():
    class SlowTokenizer:
        pass

    with pytest.raises(ModelUnsupportedError, match="SlowTokenizer, which gives no character offsets"):
        Tokeniser.of(SlowTokenizer())


BYTE_LEVEL = byte_level_tokeniser()


@pytest.mark.parametrize(("prompt", "prefix"), [("", 1), ("d: ", 3)])
def test_text_without_a_token_stands_between_the_first_and_the_last_special_token(tokeniser, prompt, prefix):
    [tokens] = tokeniser.tokenise(["\x00\x00"], prompt)
    assert (tokens.n_prefix, tokens.n_suffix) == (prefix, 1)
    assert tokens.spans.tolist() == [[0, 0]] * prefix + [[2, 2]]
