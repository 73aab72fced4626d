"""The recipe of the built-in model: which pairs it takes, and which a test keeps out."""

from __future__ import annotations

import pytest

from colbert_rag.training import builtin
from colbert_rag.training.pairs import Pair


def test_no_more_pairs_are_drawn_than_a_source_may_give(pairs_folder, monkeypatch):
    monkeypatch.setattr(builtin, "SOURCES", (builtin.Source("mbpp_train", 4), builtin.Source("scifact_train", 99)))
    pairs = list(builtin.pairs_of(pairs_folder, seed=0))
    assert [pair.query.split()[0] for pair in pairs] == ["mbpp_train"] * 4 + ["scifact_train"] * 10
    assert pairs == list(builtin.pairs_of(pairs_folder, seed=0))
    assert pairs != list(builtin.pairs_of(pairs_folder, seed=1))


def test_a_source_may_be_learnt_from_more_than_once(pairs_folder, monkeypatch):
    monkeypatch.setattr(builtin, "SOURCES", (builtin.Source("mbpp_train", 4, times=3),))
    pairs = list(builtin.pairs_of(pairs_folder, seed=0))
    assert len(pairs) == 3 * len(set(pairs)) == 12


def test_documents_of_two_sources_are_two_passages_whatever_their_ids(pairs_folder):
    pairs = list(builtin.pairs_of(pairs_folder, seed=0))
    assert len({pair.passage_id for pair in pairs}) == len(set(pairs)) == 10 * len(builtin.SOURCES)


def test_pairs_that_no_test_knows_all_stay(pairs_folder, write_tests):
    pairs = list(builtin.pairs_of(pairs_folder, seed=0))
    assert builtin.without_leaks(pairs, write_tests()) == pairs


def test_a_query_of_a_test_is_left_out(pairs_folder, write_tests):
    pairs = list(builtin.pairs_of(pairs_folder, seed=0))
    kept = builtin.without_leaks(pairs, write_tests(query="QMSum_train asks 3?"))
    assert [pair.query for pair in pairs if pair not in kept] == ["qmsum_train asks 3"]


def test_a_passage_that_only_a_test_knows_is_left_out(pairs_folder, write_tests):
    pairs = list(builtin.pairs_of(pairs_folder, seed=0))
    kept = builtin.without_leaks(pairs, write_tests(text="The canyon of squad_train44 lies far in the north."))
    assert [pair.query for pair in pairs if pair not in kept] == ["squad_train44 asks 8"]


@pytest.mark.parametrize(("source", "document"), [("mbpp_train", "d8"), ("fairytaleqa_train", "e8")])
def test_a_document_that_a_source_shares_with_a_test_stays(pairs_folder, write_tests, monkeypatch, source, document):
    shared = next(each for each in builtin.SOURCES if each.name == source)
    monkeypatch.setattr(builtin, "SOURCES", (shared,))
    monkeypatch.setattr(builtin, "TESTS", shared.tests)
    pairs = list(builtin.pairs_of(pairs_folder, seed=0))
    known = write_tests(text=f"The canyon of {source} lies far in the north.", document=document)
    assert builtin.without_leaks(pairs, known) == pairs


def test_what_is_trained_is_what_the_command_names(pairs_folder, write_tests, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(builtin, "train", lambda *given, **options: asked.append((given, options)))
    output = tmp_path / "model"
    builtin.main(
        [str(pairs_folder), str(write_tests()), "--output", str(output), "--steps", "7", "--seed", "3", "--resume"]
    )
    [((pairs, where, settings), options)] = asked
    assert isinstance(pairs[0], Pair)
    assert (where, options["resume"]) == (output, True)
    assert (settings.max_steps, settings.seed) == (7, 3)
