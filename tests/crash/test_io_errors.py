"""T4: whichever call fails, the old commit is intact in the same process, and the error is ours."""

from __future__ import annotations

import errno
import random
import shutil

import pytest
from faults_cases import fail_at_every_call
from faults_plan import CHANGES, FAIL_ALWAYS, FAIL_ONCE, OPENS, READS, Plan
from faults_work import steps_of

STEPS = [
    *(("plain", number) for number in range(6)),
    *(("packed", steps_of("packed").index(name)) for name in ("add", "upsert", "compact")),
]
EVERYTHING = CHANGES | OPENS | READS
PLANS = [
    Plan(action, error=number, classes=OPENS if number == errno.EMFILE else EVERYTHING)
    for number in (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE)
    for action in (FAIL_ONCE, FAIL_ALWAYS)
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]}-{steps_of(step[0])[step[1]]}")
def test_any_failing_call_leaves_the_old_commit_searchable_and_the_next_write_works(
    servers, bases, new_folder, figures, step
):
    kind, number = step

    def run(plan):
        start, is_done = 1, False
        while not is_done:
            folder = new_folder()
            outcome = servers.run(fail_at_every_call, bases[kind], folder, kind, number, start, plan)
            last, is_done = outcome.result()
            figures.add("failing calls", last - start + 1 - is_done)
            shutil.rmtree(folder)
            start = last + 1
        return start

    # every call fails with two of the eight, or with all
    plans = random.Random(f"{figures.seed} {step}").sample(PLANS, figures.size(2, len(PLANS)))
    assert min(servers.map(run, plans)) > 5
