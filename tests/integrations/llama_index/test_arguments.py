from __future__ import annotations

import pytest
from llama_index_colbert_rag.arguments import check_names

from colbert_rag import ColbertRagError, InvalidArgumentError


def test_a_known_name_passes():
    check_names("call", ["b"], ("a", "b"))


def test_an_unknown_name_is_refused_with_the_names_that_are_known():
    with pytest.raises(InvalidArgumentError) as caught:
        check_names("call", ["c"], ("a", "b"))
    assert str(caught.value) == "call takes no argument 'c'; it takes a, b."


def test_a_habit_from_other_indexes_gets_a_hint():
    with pytest.raises(InvalidArgumentError, match=r"takes no argument 'embed_model'\. Late interaction .* encoder="):
        check_names("call", ["embed_model"])


def test_the_error_is_ours_and_a_type_error():
    assert issubclass(InvalidArgumentError, ColbertRagError)
    assert issubclass(InvalidArgumentError, TypeError)
