"""Random input for every parser of ours: an answer or an error of ours comes out, soon and in little memory."""

from __future__ import annotations

import pytest
from hostile_fuzz import PARSERS

EVERYDAY, TORTURE = 5_000, 100_000
BATCH = 200
MOST_MEMORY = 256 << 20


@pytest.mark.parametrize("parser", PARSERS)
def test_a_parser_gives_an_answer_or_an_error_of_ours(server, figures, fast_folder, parser):
    total = figures.size(EVERYDAY, TORTURE)
    for first in range(0, total, BATCH):
        count = min(BATCH, total - first)
        answer = server.run("fuzz", parser, figures.seed, first, count, str(fast_folder), limit_s=300)
        assert answer["signal"] == 0, f"--seed {figures.seed}, among {parser} {first} to {first + count}"
        assert answer["result"] == {}, f"--seed {figures.seed}"
        assert answer["grown"] < MOST_MEMORY
        figures.add("fuzzed inputs", count)


def test_what_a_parser_takes_badly_is_reported(server, fast_folder):
    """An unknown parser stands for one that fails: the child says so instead of nothing."""
    answer = server.run("fuzz", "no such parser", 0, 0, 1, str(fast_folder))
    assert "KeyError" in answer["result"]["the job itself"]
