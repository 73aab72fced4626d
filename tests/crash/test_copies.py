"""T1, T3 and T4 for backups and restored indexes: whole under their name, or not there."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from faults_copies import COPIES, check_killed, check_lost_power, copy_under, fail_calls, logged_copy, make_source
from faults_disk import MARK, STYLES, read_log
from faults_plan import ANY_CALL, COUNT, KILL, KILL_HALFWAY, OPENING_CALL, Plan


def spread(n_calls, most, more):
    """Places of about so many calls, with the last ones; ``more`` after the end, where no call is met any more."""
    return [*range(1, n_calls, -(-n_calls // most)), *range(n_calls, n_calls + more)]


def pieces(cases, size):
    """What one process does at a time."""
    return [cases[start : start + size] for start in range(0, len(cases), size)]


@pytest.fixture(scope="session", params=COPIES, ids=str)
def copy(request, figures):
    """The everyday size makes copies of an index with a codec and inverted lists."""
    if request.param.kind == "plain" and not figures.is_torture:
        pytest.skip("copies of an exact index: in the long size")
    return request.param


@pytest.fixture(scope="session")
def source(copy, bases, new_folder):
    """What is copied."""
    folder = new_folder()
    make_source(bases[copy.kind], folder, copy)
    return folder


@pytest.mark.parametrize("action", [KILL, KILL_HALFWAY], ids=["before a call", "in the middle of a write"])
def test_a_kill_at_any_call_leaves_a_whole_copy_or_none(servers, source, copy, new_folder, figures, action):
    """The everyday size kills at every call of a backup and at every second one of a restore."""
    n_calls = servers.run(copy_under, source, new_folder(), copy, Plan(COUNT)).result()
    # the next try finds the same after most of them
    n_between = 1 if figures.is_torture else 20

    def kill(point):
        folder = new_folder()
        outcome = servers.run(copy_under, source, folder, copy, Plan(action, at=point))
        if outcome.was_killed:
            figures.add("kills at a call of a backup or a restore")
        else:
            assert outcome.result() < point, "the work ended before its planned death"
        what = f"killed at call {point}"
        return outcome.was_killed, (what, folder, copy, "returned" in outcome.told, point % n_between == 0)

    def run(points):
        killed, cases = zip(*[kill(point) for point in points], strict=True)
        return zip(killed, servers.run(check_killed, source, cases).result(), strict=True)

    # names are drawn at random, and with them the length of what is written: a few more for the end of the work
    points = spread(n_calls, figures.size(100 if action == KILL else 30, n_calls), 4)
    outcomes = list(chain.from_iterable(servers.map(run, pieces(points, 10))))
    found = [is_there for _, is_there in outcomes]
    assert all(was_killed for was_killed, _ in outcomes[:-10])
    assert (found[0], found[-1]) == (False, True)
    assert sorted(found) == found, "once it is there it stays so"


@pytest.mark.parametrize("plans", [ANY_CALL, OPENING_CALL], ids=["any call", "opening"])
def test_any_failing_call_leaves_no_half_copy_and_the_next_try_works(servers, source, copy, new_folder, figures, plans):
    """Some sixty calls fail, each in one way; in the long size each fails in each."""
    n_calls = servers.run(copy_under, source, new_folder(), copy, Plan(COUNT, classes=plans[0].classes)).result()

    def run(case):
        points, place = case
        in_turn = [*plans[place:], *plans[:place]]
        outcome = servers.run(fail_calls, source, new_folder(), copy, points, in_turn)
        return outcome.result()

    points = spread(n_calls, figures.size(60, n_calls), 9)
    places = range(figures.size(1, len(plans)))
    outcomes = servers.map(run, [(some, place) for place in places for some in pieces(points, 20)])
    assert not outcomes[-1][1], "calls that were not counted"
    figures.add("failing calls of a backup or a restore", sum(n_met for n_met, _ in outcomes))


@pytest.fixture(scope="session")
def log(servers, source, copy, new_folder):
    """The calls that make a copy, and the folder that they were made in."""
    log = new_folder()
    return servers.run(logged_copy, source, new_folder(), log, copy).result(), log


def test_any_loss_of_power_leaves_a_whole_copy_or_none(servers, copy, log, new_folder, figures):
    root, log = log
    events = read_log(log)
    assert sum(event.kind == MARK for event in events) == 1
    # from the moment on at which the copy gets its name there is something to lose
    named = max(n for n, event in enumerate(events) if event.other)
    rng = random.Random(figures.seed)
    n_before, n_after = figures.size(10, 500), figures.size(40, 2_000)
    places = [rng.randint(0, named) for _ in range(n_before)] + [
        rng.randint(named + 1, len(events)) for _ in range(n_after)
    ]
    cases = [(place, rng.choice(STYLES), rng.randrange(2**32)) for place in sorted(places)]
    servers.map(
        lambda some: servers.run(check_lost_power, new_folder(), root, log, copy, some).result(), pieces(cases, 10)
    )
    figures.add("power losses of a backup or a restore", len(cases))
