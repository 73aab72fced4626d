"""T1: a process that dies at any of its calls leaves the commit before or the one that was in flight."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from faults_cases import check_each, crash_case, crash_twice
from faults_plan import COUNT, KILL, KILL_HALFWAY, Plan
from faults_work import steps_of

# steps of an index that stays exact, and those that differ in one with a codec and inverted lists
STEPS = [
    *(("plain", number) for number in range(6)),
    *(("packed", steps_of("packed").index(name)) for name in ("add", "upsert", "compact")),
]

# folders that one process checks
BATCH = 10


def name_of(step):
    return f"{step[0]}-{steps_of(step[0])[step[1]]}"


def killed_at_every_call(servers, bases, new_folder, figures, step, action):
    """What each kill left, as the number of steps done."""
    kind, number = step
    n_calls = servers.run(crash_case, bases[kind], new_folder(), kind, number, Plan(COUNT)).result()

    def kill(point):
        folder = new_folder()
        outcome = servers.run(crash_case, bases[kind], folder, kind, number, Plan(action, at=point))
        # a call that has returned must be there; one that has not may be
        allowed = [number + 1] if "returned" in outcome.told else [number, number + 1]
        if outcome.was_killed:
            figures.add("kills at a call")
        else:
            assert outcome.result() < point, "the work ended before its planned death"
        return outcome.was_killed, (f"killed at call {point}", folder, kind, allowed)

    def run(points):
        killed, cases = zip(*map(kill, points), strict=True)
        return zip(killed, servers.run(check_each, cases).result(), strict=True)

    # names are drawn at random, and with them the length of what is written: a few more for the end of the work
    points = range(1, n_calls + 4)
    pieces = [points[start : start + BATCH] for start in range(0, len(points), BATCH)]
    outcomes = list(chain.from_iterable(servers.map(run, pieces)))
    assert all(was_killed for was_killed, _ in outcomes[:-10])
    assert not outcomes[-1][0]
    return [found for _, found in outcomes]


@pytest.mark.parametrize("step", STEPS, ids=name_of)
def test_a_kill_at_any_call_leaves_one_commit_whole_and_the_next_add_works(servers, bases, new_folder, figures, step):
    found = killed_at_every_call(servers, bases, new_folder, figures, step, KILL)
    assert found[0] == step[1], "killed before its first call, nothing is done"
    assert found[-1] == step[1] + 1
    assert sorted(found) == found, "once it is committed it stays so"


def test_a_kill_in_the_middle_of_any_write_leaves_one_commit_whole(servers, bases, new_folder, figures):
    add = ("plain", steps_of("plain").index("add"))
    steps = [add, *(step for step in STEPS if step != add)]
    for step in steps[: figures.size(1, len(steps))]:
        killed_at_every_call(servers, bases, new_folder, figures, step, KILL_HALFWAY)


def test_a_second_crash_never_brings_back_a_commit_whose_files_are_gone(servers, bases, new_folder, figures):
    kind, number = "plain", 2
    n_calls = servers.run(crash_case, bases[kind], new_folder(), kind, number, Plan(COUNT)).result()
    rng = random.Random(figures.seed)
    # a commit is complete in the log a few calls before anybody can see it
    pairs = [(first, rng.randrange(1, n_calls)) for first in range(1, n_calls) for _ in range(figures.size(1, 50))]

    def kill(pair):
        folder = new_folder()
        killed = servers.run(crash_twice, bases[kind], folder, kind, number, *pair).result()
        figures.add("kills at a call", sum(killed))
        return all(killed), (f"killed at calls {pair}", folder, kind, [number, number + 1])

    def run(some):
        killed, cases = zip(*map(kill, some), strict=True)
        servers.run(check_each, cases).result()
        return killed

    pieces = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    outcomes = list(chain.from_iterable(servers.map(run, pieces)))
    # a second writer that finds the commit of the first has little left to die in
    assert sum(outcomes) > len(pairs) // 4
