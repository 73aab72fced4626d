"""The examples run without a network and print what they promise."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

STORIES = {
    "Why did the First Knight take a stone bowl from Kyoto?": "he had not the courage to go all the way to India",
    "Where did the man leave his axe?": "I have dropped my axe in the forest",
    "Why was the jelly fish troubled by the mission?": "he had never had any experience in catching monkeys",
}
EXAMPLES = sorted(path.name for path in (Path(__file__).parents[3] / "examples").glob("langchain_*.py"))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]):
    def run(name: str) -> str:
        runpy.run_path(str(Path(__file__).parents[3] / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_at_most_sixty_lines(name: str):
    assert len((Path(__file__).parents[3] / "examples" / name).read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_which_packages_it_needs_beside_the_extra(name: str):
    tree = ast.parse((Path(__file__).parents[3] / "examples" / name).read_text())
    imported = {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    needed = {package.replace("_", "-") for package in imported & {"langchain", "langchain_classic"}}
    assert needed == set(re.findall(r"pip install (\S+)", ast.get_docstring(tree)))


@pytest.mark.slow
def test_the_chain_streams_an_answer_and_shows_where_it_is_from(printed):
    answer, sources = printed("langchain_chain.py").split("\n\nSources:\n")
    assert answer == "The notice period is three months."
    score, best, *words = sources.splitlines()[0].split()
    assert 0 < float(score) < 1
    assert best == "notice"
    assert " ".join(words) == "Whoever leaves gives three months' notice."


@pytest.mark.slow
def test_the_agent_calls_the_tool_and_keeps_its_documents(printed):
    lines = printed("langchain_agent.py").splitlines()
    assert [line.split()[0] for line in lines] == ["human", "ai", "tool", "leave:", "ai"]
    assert lines[3].endswith("Days that are left expire in March.")


@pytest.mark.slow
def test_the_ensemble_and_the_hybrid_find_by_words_and_by_meaning(printed):
    leak, number = (block.splitlines() for block in printed("langchain_ensemble.py").split("\nKX-7790\n", 1))
    assert leak[0] == "leaking coffee maker"
    found = {line.split()[0]: line.split()[1].strip(",") for line in leak[1:] if len(line.split()) > 1}
    assert found["meaning"] == found["ensemble"] == found["hybrid"] == "drip"
    found = {line.split()[0]: line.split()[1].strip(",") for line in number}
    assert found["words"] == found["ensemble"] == found["hybrid"] == "KX-7790"


@pytest.mark.slow
def test_both_ways_of_reranking_put_the_answer_first(printed):
    found, by_compression, by_wrap = printed("langchain_compression.py").split("reranked")
    assert len(found.splitlines()) == 5
    assert by_compression.splitlines()[1].split()[0] == "garden"
    assert by_compression.splitlines()[2].strip().endswith("Light, water and minerals let them thrive.")
    assert by_wrap.splitlines()[1:] == by_compression.splitlines()[1:]


@pytest.mark.slow
def test_long_stories_are_answered_from_a_few_of_their_sentences(printed):
    found = re.split(r"^(\w.*\?)$", printed("langchain_long_documents.py"), flags=re.MULTILINE)
    answers = dict(zip(found[1::2], found[2::2], strict=True))
    assert list(answers) == list(STORIES)
    for question, answer in answers.items():
        assert STORIES[question] in answer
        sizes = re.findall(r"(\d+) of (\d+) characters", answer)
        assert sum(int(shown) for shown, _ in sizes) < 1_300
        assert all(int(whole) > 14_000 for _, whole in sizes)


@pytest.mark.slow
def test_the_indexing_api_adds_then_skips_then_changes(printed):
    first, second, third, found = printed("langchain_indexing.py").splitlines()
    assert first == "{'num_added': 3}"
    assert second == "{'num_skipped': 3}"
    assert third == "{'num_added': 1, 'num_skipped': 1, 'num_deleted': 2}"
    assert found.startswith("['Remote work is possible three days a week.'")
