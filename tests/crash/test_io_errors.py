"""T4: whichever call fails, the old commit is intact in the same process, and the error is ours."""

from __future__ import annotations

import errno
import shutil

import pytest
from faults_cases import fail_at_every_call
from faults_plan import ANY_CALL, OPENING_CALL
from faults_work import steps_of

STEPS = [
    *(("plain", number) for number in range(6)),
    *(("packed", steps_of("packed").index(name)) for name in ("add", "upsert", "compact")),
]


def in_turn(plans, first, n_rounds):
    """``n_rounds`` rounds over all calls, in which call ``n`` meets plan ``n + first``, ``n + first + 1`` and so on."""
    places = [(first + number) % len(plans) for number in range(n_rounds)]
    return [[*plans[place:], *plans[:place]] for place in places]


def test_each_round_meets_every_error_and_no_call_meets_one_plan_twice():
    for first in range(len(ANY_CALL)):
        rounds = in_turn(ANY_CALL, first, len(ANY_CALL))
        assert all({plan.error for plan in plans[:3]} == {errno.EIO, errno.ENOSPC, errno.EACCES} for plans in rounds)
        assert all(len(set(met)) == len(ANY_CALL) for met in zip(*rounds, strict=True))
        assert all(a.error != b.error for a, b in zip(*in_turn(ANY_CALL, first, 2), strict=True))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]}-{steps_of(step[0])[step[1]]}")
def test_any_failing_call_leaves_the_old_commit_searchable_and_the_next_write_works(
    servers, bases, new_folder, figures, step
):
    """Every call fails with two of the six plans, every opening one with one of two more; the long size tries all."""
    kind, number = step

    def run(plans):
        start, is_done = 1, False
        while not is_done:
            folder = new_folder()
            outcome = servers.run(fail_at_every_call, bases[kind], folder, kind, number, start, plans)
            last, is_done = outcome.result()
            figures.add("failing calls", last - start + 1 - is_done)
            shutil.rmtree(folder)
            start = last + 1
        return start

    rounds = in_turn(ANY_CALL, figures.seed, figures.size(2, len(ANY_CALL)))
    rounds += in_turn(OPENING_CALL, figures.seed, figures.size(1, len(OPENING_CALL)))
    assert min(servers.map(run, rounds)) > 5
