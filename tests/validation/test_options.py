from __future__ import annotations

import re

import numpy as np
import pytest

from colbert_rag import validation
from colbert_rag.errors import InvalidQueryError
from colbert_rag.types import SearchConfig


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "words"),
        [
            (None, "query number 1: it must be a str, found NoneType"),
            (b"a", "found bytes"),
            ("", "query number 1: it is blank"),
            (" \n", "it is blank"),
            ("a\ud800", "it has a lone surrogate at character 1"),
            ("é" * (1 << 19) + "x", "it has 1,048,577 bytes of UTF-8, at most 1,048,576 are allowed"),
        ],
    )
    def test_unusable_queries_are_refused_with_their_number(self, query, words):
        with pytest.raises(InvalidQueryError, match=re.escape(words)) as caught:
            validation.check_queries(["good", query])
        assert str(caught.value).endswith("Nothing was searched.")

    def test_usable_queries_are_taken(self):
        validation.check_queries(["a", "?", "NUL \0", "x" * (1 << 20)])
        validation.check_queries([])

    @pytest.mark.parametrize("k", [1, 100_000, np.int64(5)])
    def test_usable_k_is_an_int(self, k):
        assert type(validation.check_k(k)) is int
        assert validation.check_k(k) == k

    @pytest.mark.parametrize("k", [0, -1, 100_001, 1.0, "5", None, True, np.float32(3)])
    def test_unusable_k_is_refused(self, k):
        with pytest.raises(InvalidQueryError, match=re.escape(f"k must be an int from 1 to 100,000, found {k!r}.")):
            validation.check_k(k)


class TestOptions:
    def test_a_usable_config_comes_back(self):
        for config in (SearchConfig(), SearchConfig(1, 1, True, 0), SearchConfig(1_000_000, 65_536, False, 100)):
            assert validation.check_search_config(config) is config

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("n_candidates", 0, "must be an int from 1 to 1,000,000, found 0"),
            ("n_candidates", 1_000_001, "found 1000001"),
            ("n_candidates", 2.0, "found 2.0"),
            ("n_candidates", True, "found True"),
            ("n_probe", 0, "must be an int from 1 to 65,536, found 0"),
            ("n_probe", None, "found None"),
            ("passages", -1, "must be an int from 0 to 100, found -1"),
            ("passages", 101, "found 101"),
        ],
    )
    def test_a_number_out_of_range_is_refused_with_its_name(self, name, value, words):
        with pytest.raises(
            InvalidQueryError, match=f"^SearchConfig.{name} {'must be' if 'must' in words else ''}"
        ) as e:
            validation.check_search_config(SearchConfig(**{name: value}))
        assert words in str(e.value)

    @pytest.mark.parametrize("config", [None, {"n_probe": 2}, SearchConfig])
    def test_another_object_than_a_config_is_refused(self, config):
        with pytest.raises(InvalidQueryError, match=r"config must be a colbert_rag\.SearchConfig, found"):
            validation.check_search_config(config)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((object(), 4, 4), "takes an encoder or dim, not both"),
            ((None, 4, 3), "bits must be 1, 2, 4 or 8, found 3"),
            ((None, 4, 4.0), "bits must be 1, 2, 4 or 8, found 4.0"),
            ((None, 4, True), "bits must be 1, 2, 4 or 8, found True"),
            ((None, 4, "4"), "found '4'"),
            ((None, 0, 4), "dim must be an int from 1 to 1,024, found 0"),
            ((None, 1_025, 4), "found 1025"),
            ((None, 4.0, 4), "found 4.0"),
            ((None, True, 4), "found True"),
            ((None, 4, 4, -1, 0), "exact_tokens and probe_tokens must be ints of at least 0, found (-1, 0)"),
            ((None, 4, 4, 0, 1.5), "found (0, 1.5)"),
        ],
    )
    def test_unusable_options_of_a_new_index_are_refused(self, arguments, words):
        with pytest.raises(InvalidQueryError, match=re.escape(words)):
            validation.check_create_options(*arguments)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_usable_options_of_a_new_index_are_taken(self, bits):
        validation.check_create_options(None, 1_024, bits, 0, 2**48)
        validation.check_create_options(object(), None, bits, 0, 0)

    @pytest.mark.parametrize("factor", [0, 5, -1, 1.5, 2.0, True, "2", None])
    def test_a_pool_factor_that_is_no_whole_number_of_1_to_4_is_refused(self, factor):
        words = f"pool_factor must be an int from 1 (no pooling) to 4, found {factor!r}."
        with pytest.raises(InvalidQueryError, match=re.escape(words)):
            validation.check_pool_factor(factor)

    @pytest.mark.parametrize("factor", [1, 2, 3, 4])
    def test_a_pool_factor_of_1_to_4_is_taken(self, factor):
        validation.check_pool_factor(factor)
