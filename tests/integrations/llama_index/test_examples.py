"""The examples run without a network and print what they promise."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("llama_index_*.py"))


STORIES = {
    "Why did the First Knight take a stone bowl from Kyoto?": "he had not the courage to go all the way to India",
    "Where did the man leave his axe?": "I have dropped my axe in the forest",
    "Why was the jelly fish troubled by the mission?": "he had never had any experience in catching monkeys",
}


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]):
    def run(name: str) -> str:
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_at_most_sixty_lines(name: str):
    assert len((FOLDER / name).read_text().splitlines()) <= 60


@pytest.mark.slow
def test_the_query_engine_answers_from_the_reranked_node_and_names_it(printed):
    prompt, sources = printed("llama_index_query_engine.py").split("\n\nSources:\n")
    assert "three months' notice" in prompt
    assert "paid leave" not in prompt
    score, name, *words = sources.split()
    assert 0 < float(score) < 1
    assert (name, " ".join(words)) == ("notice", "Whoever leaves gives three months' notice.")


@pytest.mark.slow
def test_the_filters_leave_out_what_does_not_match(printed):
    found = {line[:18].strip(): line[18:].strip() for line in printed("llama_index_filters.py").splitlines()}
    assert sorted(eval(found["everything"])) == ["neu", "new", "old", "rent"]
    assert eval(found["recent and English"]) == ["new", "rent"]
    assert eval(found["recent, not home"]) == ["new", "neu"]


@pytest.mark.slow
def test_the_pipeline_writes_what_changed(printed):
    first, second, third, best, other = printed("llama_index_pipeline.py").splitlines()
    assert [line.split()[-2] for line in (first, second, third)] == ["3", "0", "1"]
    assert best.endswith("remote.md  Remote work is possible three days a week.")
    assert "pets" not in other


@pytest.mark.slow
def test_the_chat_shows_the_source_of_each_answer(printed):
    lines = printed("llama_index_chat.py").splitlines()
    assert [line for line in lines if line.startswith("source: ")] == [
        "source: notice, Whoever leaves gives three months' notice.",
        "source: leave, Days that are left expire in March.",
    ]
    assert lines[1] == "answer: text text text text"
    assert lines[-1] == "messages in memory: 4"


@pytest.mark.slow
def test_long_stories_are_answered_from_a_few_of_their_sentences(printed):
    found = re.split(r"^(\w.*\?)$", printed("llama_index_long_documents.py"), flags=re.MULTILINE)
    answers = dict(zip(found[1::2], found[2::2], strict=True))
    assert list(answers) == list(STORIES)
    for question, answer in answers.items():
        assert STORIES[question] in answer
        assert int(re.search(r"the prompt has (\d+) characters", answer)[1]) < 2_000
        sizes = re.findall(r"(\d+) of (\d+) characters", answer)
        assert sum(int(shown) for shown, _ in sizes) < 1_300
        assert all(int(whole) > 14_000 for _, whole in sizes)
