from __future__ import annotations

import pytest
from langchain_colbert_rag.arguments import check_encoder, check_names, diversity_of, search_arguments

from colbert_rag import InvalidArgumentError, SearchConfig
from colbert_rag.testing import HashEncoder


def test_known_names_and_langchains_own_pass():
    check_names("call", ["k", "verbose"], ("k",))


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(InvalidArgumentError) as error:
        check_names("Store.search", ["k", "where"], ("k", "filter"))
    assert str(error.value) == "Store.search takes no argument 'where'; it takes k, filter."


@pytest.mark.parametrize("encoder", [None, "a/model", HashEncoder(), 3])
def test_what_is_no_embeddings_is_left_to_the_core(encoder):
    check_encoder(encoder)


def test_what_is_not_given_has_the_default():
    expected = {"mode": "maxsim", "filter": None, "config": SearchConfig()}
    assert search_arguments("call", {}) == expected
    assert search_arguments("call", {"mode": None, "filter": None, "config": None}) == expected


def test_an_empty_filter_is_a_filter():
    assert search_arguments("call", {"filter": {}})["filter"] == {}


def test_what_the_call_decides_changes_a_copy_of_the_config():
    config = SearchConfig(n_candidates=7, passages=3)
    given = search_arguments("call", {"config": config}, passages=0)
    assert given["config"] == SearchConfig(n_candidates=7, passages=0)
    assert config.passages == 3


def test_the_names_of_a_call_stand_in_its_error():
    with pytest.raises(InvalidArgumentError, match="it takes query, k, fetch_k, filter, mode, config"):
        search_arguments("call", {"fetchk": 3}, ("fetch_k",))


@pytest.mark.parametrize(("lambda_mult", "diversity"), [(1, 0), (0, 1), (0.25, 0.75)])
def test_diversity_is_what_relevance_leaves(lambda_mult, diversity):
    assert diversity_of("call", lambda_mult) == diversity


@pytest.mark.parametrize("wrong", [2, -0.1, float("nan"), "0.5", None, True])
def test_a_weight_that_is_no_number_from_0_to_1_is_refused(wrong):
    with pytest.raises(InvalidArgumentError, match="call: lambda_mult must be a number from 0"):
        diversity_of("call", wrong)
