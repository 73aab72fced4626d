"""Every file runs at its everyday size and then as far as time allows; the rows of the tables are what was counted."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torture_jobs
from figures import Effort, Figures, sized
from torture_jobs import Job, run_jobs
from torture_plan import LEAST, Cost, growing, scales
from torture_table import COLUMNS, GOALS, Run, record

TESTS = Path(__file__).parent
spec = importlib.util.spec_from_file_location("torture", TESTS / "torture.py")
torture = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = torture
spec.loader.exec_module(torture)

CASES = """
def test_whole(figures):
    figures.add("kills at a call", 30)

def test_failing(figures):
    figures.add("power losses", 5)
    assert False, "as it must"

def test_growing(figures):
    figures.add("random kills", figures.size(20, 1_000))
"""
README = "before\n<!-- torture -->\n\n| a |\n|---|\n\n<!-- end of torture -->\nafter\n"
PROMISES = "x\n<!-- everyday -->\nold\n<!-- end of everyday -->\n<!-- torture -->\nold\n<!-- end of torture -->\ny\n"
WHERE = "2026-11-28", "abc1234"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one file of tests, under the options and fixtures of ours."""
    for name, text in {
        "README.md": README,
        "docs/promises.md": PROMISES,
        "tests/conftest.py": (TESTS / "conftest.py").read_text(encoding="utf-8"),
        "tests/crash/test_some.py": CASES,
        "tests/mutants/run.py": "import sys\nfrom pathlib import Path\n"
        'Path(sys.argv[4]).write_text(\'{"counts": {"mutants": 9, "mutants that survived": 1}}\')\nsys.exit(1)\n',
        "pytest.ini": f"[pytest]\npythonpath = {TESTS / 'support'}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(torture, "ROOT", tmp_path)
    # pytest starts faster without the plugins of others
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent), prepend=os.pathsep)
    return tmp_path


def run(project, limit_s=None, *, is_everyday=False):
    folder = project / "said"
    folder.mkdir()
    return torture.Torture(folder, 7, 2).run(limit_s, is_everyday=is_everyday)


class TestTorture:
    def test_counts_and_failures_of_every_file_are_added_up(self, project):
        found = run(project, is_everyday=True)
        assert found.counts == {"kills at a call": 30, "power losses": 5, "random kills": 20, "failures": 1}
        assert found.scales == {}

    def test_without_a_limit_the_long_size_runs_and_counts_once(self, project, capfd):
        found = run(project)
        assert (found.counts["random kills"], found.counts["kills at a call"]) == (1_000, 30)
        assert found.counts["mutants"] == 9 * torture.PARTS
        # the failing test in each of two runs, and a mutant of each part
        assert found.counts["failures"] == 2 + torture.PARTS
        assert found.scales == {"crash/test_some.py": 1.0}
        assert "as it must" in capfd.readouterr().out

    def test_without_time_the_everyday_size_is_what_is_counted(self, project):
        found = run(project, 0.0)
        assert (found.counts["random kills"], found.counts["kills at a call"]) == (20, 30)

    def test_a_file_that_ends_without_a_word_is_a_failure(self, project):
        (project / "tests" / "crash" / "test_some.py").write_text("import os\nos._exit(3)\n")
        assert run(project, is_everyday=True).counts == {"failures": 1}

    def test_skipped_tests_are_counted(self, project):
        (project / "tests" / "crash" / "test_some.py").write_text("import pytest\n\ndef test_a():\n    pytest.skip()\n")
        assert run(project, is_everyday=True).counts == {"skipped tests": 1, "failures": 0}

    def test_what_runs_alone_or_has_a_least_size_exists(self):
        paths = [TESTS / name for name in (*LEAST, *torture.ALONE)]
        assert [path for path in paths if not path.exists()] == []


def command(code):
    return lambda: [sys.executable, "-c", code]


class TestRunJobs:
    def test_some_run_at_a_time_and_what_must_be_alone_is_alone(self, tmp_path):
        code = "import pathlib, time, sys; p = pathlib.Path('{0}'); p.touch(); time.sleep(0.5); "
        code += "n = len(list(pathlib.Path().iterdir())); p.unlink(); print(n)"
        jobs = [Job("alone", command(code.format("alone")), is_alone=True)]
        jobs += [Job(name, command(code.format(name))) for name in "abc"]
        done = []
        run_jobs(jobs, tmp_path, 2, done.append)
        assert [one.code for one in done] == [0] * 4
        assert (done[-1].name, done[-1].output) == ("alone", "1\n")
        assert all(int(one.output) <= 2 for one in done)

    @pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes on this system")
    def test_what_a_job_leaves_behind_ends_with_it_and_does_not_hold_it_up(self, tmp_path):
        child = "import time; time.sleep(600)"
        code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid)"
        done = []
        run_jobs([Job("leaves one", command(code))], tmp_path, 1, done.append)
        assert is_gone(int(done[0].output))

    def test_one_that_hangs_is_a_failure(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torture_jobs, "_HANG_S", 0.2)
        done = []
        run_jobs([Job("hangs", command("import time; time.sleep(600)"))], tmp_path, 1, done.append)
        assert done[0].code != 0

    def test_an_interrupt_ends_what_runs(self, tmp_path):
        def interrupt():
            raise KeyboardInterrupt

        begun = time.monotonic()
        jobs = [Job("long", command("import time; time.sleep(600)")), Job("odd", interrupt)]
        with pytest.raises(KeyboardInterrupt):
            run_jobs(jobs, tmp_path, 2, print)
        assert time.monotonic() - begun < 60


def is_gone(process):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
        if state.stdout.strip()[:1] in ("", "Z"):
            return True
        time.sleep(0.05)
    return False


COSTS = {
    "asked": Cost(1.0, [Effort(10.0, [(10, 1_000)])]),
    "free": Cost(1.0, [Effort(1.0, [(100, 10_000)])]),
}
ASKED = {"asked": 0.5}


class TestScales:
    def test_a_cost_grows_with_the_size_of_each_test(self):
        cost = Cost.measured(20.0, [Effort(2.0, [(10, 100)]), Effort(3.0, []), Effort(5.0, [(1, 1)])])
        assert cost == Cost(18.0, [Effort(2.0, [(10, 100)])])
        assert (cost.at(0.0), cost.at(1.0)) == (20.0, 38.0)
        assert growing({"a": cost, "b": Cost.measured(3.0, [])}) == {"a": cost}

    def test_what_is_asked_for_comes_first_and_the_rest_of_the_time_goes_to_all(self):
        exactly = COSTS["asked"].at(0.5) + COSTS["free"].at(0.0)
        found = scales(COSTS, exactly, exactly, ASKED)
        assert found == pytest.approx({"asked": 0.5, "free": 0.0}, abs=1e-3)
        more = scales(COSTS, exactly + 200, exactly + 200, ASKED)
        assert more["asked"] > 0.5
        assert more["free"] > 0.1
        assert sum(COSTS[name].at(scale) for name, scale in more.items()) <= exactly + 200

    def test_too_little_time_shortens_what_is_asked_for(self):
        found = scales(COSTS, 100.0, 100.0, ASKED)
        assert 0 < found["asked"] < 0.5
        assert found["free"] == 0
        assert scales(COSTS, 0.0, 0.0, ASKED) == {"asked": 0.0, "free": 0.0}

    def test_no_file_takes_longer_than_the_clock_allows_and_all_time_is_enough(self):
        found = scales(COSTS, 10_000.0, 50.0, ASKED)
        assert COSTS["asked"].at(found["asked"]) <= 50
        assert found["free"] < 1
        assert scales(COSTS, 1e6, 1e6, ASKED) == {"asked": 1.0, "free": 1.0}


class TestFigures:
    def test_a_scale_lies_between_the_two_sizes(self):
        assert [sized(200, 10_000, scale) for scale in (0.0, 0.5, 1.0)] == [200, 5_100, 10_000]

    def test_sizes_are_kept_by_test_and_written(self, tmp_path):
        figures = Figures(0.5, 3)
        figures.current = "test_a"
        assert figures.size(10, 20) == 15
        figures.add("cases", 4)
        figures.write(tmp_path / "said.json")
        said = torture._read(tmp_path / "said.json")
        assert said["counts"] == {"cases": 4}
        assert [Effort(**one) for one in said["efforts"]] == [Effort(0.0, [[10, 20]])]


class TestRecord:
    def test_every_row_with_a_goal_is_counted_by_a_test_under_that_name(self):
        counted = "".join(
            path.read_text(encoding="utf-8") for path in TESTS.glob("*/*.py") if path.parent.name != "support"
        )
        counted += '"mutants"'
        assert [name for name in GOALS if f'"{name}"' not in counted] == []

    def test_a_torture_run_adds_a_row_and_replaces_its_table(self, project):
        counts = Counter({"kills at a call": 30, "random kills": 1_000, "power losses": 5, "failures": 2, "odd": 9})
        counts |= Counter({"random flips": 7, "random flips found": 6, "seconds of searches during writes": 60})
        for seed in (7, 8):
            record(Run(counts, {"crash/test_power_loss.py": 0.254}), project, (*WHERE, seed), is_everyday=False)
        rows = (project / "README.md").read_text().splitlines()[3:-3]
        assert [row.split(" | ", 2)[2] for row in rows[2:]] == ["1,030 | 5 | 0 | 7 | 0 | 0 | 0 | 0 | 0 | 2 |"] * 2
        assert (project / "README.md").read_text().endswith("<!-- end of torture -->\nafter\n")
        page = (project / "docs" / "promises.md").read_text()
        assert "seed 8; of the way to the long size: crash/power_loss 0.25:" in page
        assert "seed 7" not in page
        assert "| odd |  |  | 9 |" in page
        assert "| random kills | 10,000 | 10,000 | 1,000 |" in page
        assert "| fuzzed inputs | 1,000,000 | 1,300,000 | 0 |" in page
        assert page.startswith("x\n<!-- everyday -->\nold\n<!-- end of everyday -->\n")
        assert page.endswith("<!-- end of torture -->\ny\n")

    def test_an_everyday_run_leaves_the_readme_as_it_is(self, project):
        record(Run(Counter({"kills at a call": 3})), project, (*WHERE, 7), is_everyday=True)
        assert (project / "README.md").read_text() == README
        page = (project / "docs" / "promises.md").read_text()
        assert "| kills at a call | 300 | 3 |" in page
        assert "| random kills | 200 | 0 |" in page
        assert "mutants" not in page

    def test_the_columns_of_the_readme_are_those_of_the_rows(self):
        readme = (TESTS.parent / "README.md").read_text(encoding="utf-8")
        header = readme.partition("<!-- torture -->")[2].strip().splitlines()[0]
        assert header == f"| {' | '.join(['date', 'commit', *COLUMNS])} |"
