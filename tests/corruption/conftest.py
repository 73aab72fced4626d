from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import damage
import pytest
import small_index
from damage import Damage, Outcome
from figures import Figures

Try = Callable[[Sequence[Damage]], Iterator[tuple[Damage, Outcome]]]


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small closed index of each kind; nobody may change them."""
    return {kind: small_index.build(kind, tmp_path_factory.mktemp(kind) / "index") for kind in small_index.KINDS}


@pytest.fixture
def attempt(fast_folder: Path, originals: dict[str, Path], figures: Figures) -> Try:
    """``attempt(damages)``: each with what became of it, tried in processes that a signal may kill."""

    def attempt(damages: Sequence[Damage]) -> Iterator[tuple[Damage, Outcome]]:
        paths = {kind: str(path) for kind, path in originals.items()}
        (fast_folder / "originals.json").write_text(json.dumps(paths))
        n_shares = min(2, figures.processes)
        shares = [damages[number::n_shares] for number in range(n_shares)]
        running = [_start(fast_folder, number, share) for number, share in enumerate(shares)]
        for number, (share, process) in enumerate(zip(shares, running, strict=True)):
            _, said = process.communicate()
            answers = (fast_folder / f"answers{number}.jsonl").read_text().splitlines()
            where = share[len(answers)] if len(answers) < len(share) else "the end"
            assert process.returncode == 0, f"killed or failed ({process.returncode}) at {where}: {said[-2000:]}"
            assert len(answers) == len(share)
            yield from ((case, Outcome(**json.loads(line))) for case, line in zip(share, answers, strict=True))

    return attempt


def _start(folder: Path, number: int, share: Sequence[Damage]) -> subprocess.Popen[str]:
    cases = folder / f"cases{number}.jsonl"
    cases.write_text("".join(json.dumps(asdict(case)) + "\n" for case in share))
    files = (folder / "originals.json", cases, folder / f"answers{number}.jsonl")
    command = [sys.executable, "-W", "error", damage.__file__, *map(str, files)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
