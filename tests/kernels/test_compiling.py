from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numba
import numpy as np
import pytest
from numba import types as t

import colbert_rag
from colbert_rag.kernels import compiling
from colbert_rag.kernels.compiling import kernel, read, written

PACKAGE = Path(colbert_rag.__file__).parent
# a module with a kernel, small enough to be compiled in a moment
MODULE = (
    "import logging; logging.basicConfig(level=logging.INFO)\n"
    "from numba import int64\n"
    "from colbert_rag.kernels.compiling import kernel\n"
    "@kernel(int64(int64))\n"
    "def twice(n):\n"
    "    return 2 * n\n"
)


def running_sum(values, factor, out):
    """Fills ``out`` with sums times a factor."""
    total = 0.0
    for i in range(values.size):
        total += values[i]
        out[i] = factor * total


def declared():
    kinds = (t.uint16, t.uint32)
    return kernel(*(t.void(read(kind, 1), t.float64, written(t.float64, 1)) for kind in kinds))(running_sum)


def summed(summing, values, factor=2.0):
    out = np.full(len(values), np.nan)
    summing(values, factor, out)
    return out


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A function that lists the machine code that is kept."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    compiling._warn.cache_clear()
    return lambda: sorted((tmp_path / "cache").rglob("*.nbc"))


@pytest.fixture
def said(caplog):
    """A function that gives what was logged: of compilations, or of what is not kept."""
    caplog.set_level(logging.INFO, logger="colbert_rag")
    return lambda start: [message for message in caplog.messages if message.startswith(start)]


def test_a_kernel_is_compiled_at_its_first_call_and_for_the_types_of_that_call_alone(kept, said):
    summing = declared()
    assert kept() == []
    values = np.arange(9)
    for kind, n_kept in ((np.uint16, 1), (np.uint16, 1), (np.uint32, 2), (np.uint32, 2)):
        np.testing.assert_array_equal(summed(summing, values.astype(kind)), 2.0 * values.cumsum())
        assert len(kept()) == n_kept
    assert len(said("compiled running_sum in ")) == 2


def test_arrays_that_can_and_cannot_be_written_share_one_compilation(kept, mapped):
    summing, values = declared(), np.arange(5, dtype=np.uint16)
    for given in (values, mapped(values)):
        np.testing.assert_array_equal(summed(summing, given), 2.0 * values.cumsum())
    assert not mapped(values).flags.writeable
    assert len(kept()) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(4, np.int64), "running_sum: argument 0 is an array of int64, expected uint16 or uint32"),
        (np.ones(4, ">u2"), "running_sum: argument 0 is an array of >u2"),
        (np.ones((4, 1), np.uint16), "No matching definition"),
        (np.ones(8, np.uint16)[::2], "No matching definition"),
    ],
)
def test_types_that_no_signature_names_are_refused_and_not_compiled(kept, values, message):
    summing = declared()
    summed(summing, np.ones(1, np.uint16))
    with pytest.raises(TypeError, match=message):
        summing(values, 1.0, np.zeros(4))
    assert len(kept()) == 1


def test_what_a_kernel_fills_cannot_be_read_only(kept):
    out = np.zeros(3)
    out.flags.writeable = False
    with pytest.raises(TypeError, match="No matching definition"):
        declared()(np.ones(3, np.uint16), 1.0, out)
    assert not out.any()


def test_many_threads_may_make_the_first_call(kept, said):
    summing, n_threads = declared(), 8
    together = Barrier(n_threads)

    def call(n):
        values = np.arange(n + 1, dtype=(np.uint16, np.uint32)[n % 2])
        together.wait()
        return np.array_equal(summed(summing, values), 2.0 * np.arange(n + 1).cumsum())

    with ThreadPoolExecutor(n_threads) as threads:
        assert all(threads.map(call, range(n_threads)))
    assert (len(kept()), len(said("compiled"))) == (2, 2)


def test_machine_code_that_is_kept_is_not_compiled_again(kept, said):
    values = np.arange(7, dtype=np.uint16)
    first, second = summed(declared(), values), summed(declared(), values)
    np.testing.assert_array_equal(first, second)
    assert (len(kept()), len(said("compiled"))) == (1, 1)


def test_machine_code_of_other_sources_is_not_used(kept, said, monkeypatch):
    values = np.arange(7, dtype=np.uint16)
    summed(declared(), values)
    monkeypatch.setattr(compiling, "_sources_digest", lambda: "of changed files")
    np.testing.assert_array_equal(summed(declared(), values), 2.0 * values.cumsum())
    assert (len(kept()), len(said("compiled"))) == (2, 2)


def test_a_change_in_any_file_of_the_kernels_changes_the_digest(monkeypatch, tmp_path):
    for name in ("compiling.py", "layout.py"):
        (tmp_path / name).write_text("LANES = 16\n")
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "compiling.py"))
    before = compiling._sources_digest.__wrapped__()
    (tmp_path / "layout.py").write_text("LANES = 32\n")
    assert compiling._sources_digest.__wrapped__() != before


def test_a_kernel_that_was_made_ready_compiles_nothing_later(kept, said):
    summing = declared()
    summing.make_ready()
    assert (len(kept()), len(said("compiled"))) == (2, 2)
    for kind in (np.uint16, np.uint32):
        np.testing.assert_array_equal(summed(summing, np.arange(5, dtype=kind)), 2.0 * np.arange(5).cumsum())
    assert (len(kept()), len(said("compiled"))) == (2, 2)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04 no pickle"])
def test_damaged_machine_code_costs_time_and_no_search(kept, said, suffix, content):
    """What a power cut leaves behind."""
    values = np.arange(7, dtype=np.uint32)
    summed(declared(), values)
    [file] = kept()[0].parent.glob(f"*.{suffix}")
    file.write_bytes(content)
    np.testing.assert_array_equal(summed(declared(), values), 2.0 * values.cumsum())
    [warned] = said("Compiled kernels cannot be kept or read back")
    assert "Delete the files *.nbi and *.nbc" in warned
    file.unlink()
    summed(declared(), values)
    assert len(said("Compiled kernels cannot be kept or read back")) == 1


def test_a_kernel_keeps_the_name_and_the_words_of_its_function():
    summing = declared()
    assert (summing.__name__, summing.__doc__) == (running_sum.__name__, running_sum.__doc__)


def started(code, folder, **environment):
    """A fresh process that finds our package, and modules of a folder."""
    path = os.pathsep.join([str(folder), *map(str, sys.path)])
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=inherited | {"PYTHONPATH": path} | environment,
        cwd=folder,
    )


def test_importing_the_kernels_compiles_none(tmp_path):
    cache = tmp_path / "cache"
    started("import colbert_rag.kernels.cpu", tmp_path, NUMBA_CACHE_DIR=str(cache))
    assert list(cache.rglob("*.nb*")) == []


@pytest.fixture
def read_only_site(tmp_path):
    """An installation where nobody can write, not even root."""
    source, site = tmp_path / "source", tmp_path / "site"
    for folder in (source, site):
        folder.mkdir()
    (source / "kernels_elsewhere.py").write_text(MODULE)
    for command in (["mount", "--bind", source, site], ["mount", "-o", "remount,bind,ro", site]):
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no read-only mount without root")
    yield site
    subprocess.run(["umount", "--lazy", site], check=True)


def test_machine_code_of_a_read_only_installation_is_kept_in_the_users_cache_folder(tmp_path, read_only_site):
    home = tmp_path / "home"
    home.mkdir()
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    code = "from kernels_elsewhere import twice; print(twice(21))"
    first, second = (started(code, read_only_site, **places) for _ in range(2))
    assert (first.stdout, second.stdout) == ("42\n", "42\n")
    assert "compiled twice in" in first.stderr
    assert str(home) in first.stderr
    assert second.stderr == ""


def test_where_no_folder_can_be_written_kernels_are_compiled_in_every_process_and_the_user_is_told(
    tmp_path, read_only_site
):
    """A package and a home that cannot be written, as in a container: slow at first, and no error."""
    places = {"HOME": str(read_only_site), "XDG_CACHE_HOME": str(read_only_site)}
    done = started("from kernels_elsewhere import twice; print(twice(21), twice(4))", read_only_site, **places)
    assert done.stdout == "42 8\n"
    assert done.stderr.count("Compiled kernels cannot be kept or read back") == 1
    assert "Set NUMBA_CACHE_DIR to a folder" in done.stderr


@pytest.mark.slow
def test_our_kernels_compile_and_run_where_no_cache_can_be_written(tmp_path):
    """Files stand where the cache folders would be made, which stops even the root user."""
    copy = tmp_path / "colbert_rag"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "minilm"))
    blocked = tmp_path / "blocked"
    blocked.touch()
    (copy / "kernels" / "__pycache__").touch()
    code = (
        "import numpy as np; from colbert_rag import kernels; one = np.ones((1, 4), np.float32); "
        "from colbert_rag.kernels import cpu; print(cpu.__file__); "
        "print(kernels.maxsim(one, one, np.array([0, 1])), kernels.token_similarities(one, one))"
    )
    done = started(code, tmp_path, HOME=str(blocked), XDG_CACHE_HOME=str(blocked))
    assert done.stdout.split() == [str(copy / "kernels" / "cpu.py"), "[4.]", "[[4.]]"]
    # two kernels ran
    assert done.stderr.count("Compiled kernels cannot be kept or read back") == 1
