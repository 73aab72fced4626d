"""T2: a writer that is killed at any time loses nothing that it acknowledged."""

from __future__ import annotations

import random

from faults_cases import create, endless_writes
from faults_work import HISTORIES, check_texts

# a writer does one or two calls in that time, so every moment of a call may be the last
MOST_SECONDS = 0.08


def after(texts, change):
    changed = {**texts, **change}
    return {name: text for name, text in changed.items() if text is not None}


def test_nothing_acknowledged_is_lost_and_nothing_else_is_half_there(servers, new_folder, figures):
    n_kills = figures.size(200, 10_000)

    def run(kind):
        rng, texts, folder = random.Random(f"{figures.seed} {kind}"), {}, new_folder()
        folder.mkdir()
        servers.run(create, folder, kind).result()
        n_written = 0
        for _ in range(n_kills // len(HISTORIES)):
            outcome = servers.run(
                endless_writes, folder, kind, rng.randrange(2**32), kill_after_s=rng.uniform(0.0, MOST_SECONDS)
            )
            assert outcome.was_killed, outcome.error
            begun = None
            for word in outcome.told[1:]:
                if word == "returned":
                    texts, begun, n_written = after(texts, begun), None, n_written + 1
                else:
                    begun = word
            allowed = [texts] if begun is None else [texts, after(texts, begun)]
            place = servers.run(check_texts, folder, kind, allowed).result()
            texts = allowed[place]
            figures.add("random kills")
        return n_written

    written = servers.map(run, list(HISTORIES))
    figures.add("acknowledged writes before a kill", sum(written))
    assert min(written) > 0
