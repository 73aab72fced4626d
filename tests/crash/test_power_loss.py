"""T3: whatever a disk may hold after a power loss, the index opens at the last commit or the one in flight."""

from __future__ import annotations

import random

import pytest
from faults_cases import check_power_losses, logged_history
from faults_disk import MARK, STYLES, Disk, read_log
from faults_work import HISTORIES

BATCH = 20


@pytest.fixture(scope="session", params=[(kind, stays) for kind in HISTORIES for stays in (True, False)], ids=str)
def history(request, servers, new_folder):
    """The log of every step of a history, in an index that stays open or is opened for each step."""
    kind, stays_open = request.param
    root, log = new_folder(), new_folder()
    servers.run(logged_history, root, log, kind, stays_open).result()
    return kind, root, log


def test_the_log_holds_every_change_of_every_file_but_the_mapped_one(history):
    """So that nothing is left out of what the other tests lose."""
    _, root, log = history
    disk = Disk(str(root))
    for event in read_log(log):
        disk.do(event)
    found = {str(path.relative_to(root)): path for path in root.rglob("*")}
    state = disk.state("keep", random.Random(0))
    assert set(state) == set(found)
    for name, path in found.items():
        if path.is_file():
            assert path.read_bytes() == state[name], name
    assert sum(event.kind == MARK for event in read_log(log)) == 6


def test_any_loss_of_what_was_not_synced_leaves_one_commit_whole(history, servers, new_folder, figures):
    kind, root, log = history
    n_events, wanted = len(read_log(log)), figures.size(1_000, 100_000) // 4
    rng, seen = random.Random(figures.seed), set()
    while len(seen) < wanted:
        places = sorted(rng.sample(range(n_events + 1), min(n_events + 1, wanted)))
        cases = [(place, rng.choice(STYLES), rng.randrange(2**32)) for place in places]
        batches = [cases[start : start + BATCH] for start in range(0, len(cases), BATCH)]
        for digests in servers.map(
            lambda batch: servers.run(check_power_losses, new_folder(), root, log, kind, batch).result(), batches
        ):
            seen.update(digests)
    figures.add("power losses", len(seen))
