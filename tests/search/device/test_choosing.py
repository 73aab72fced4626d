from __future__ import annotations

import logging
import subprocess
import sys
from importlib.util import find_spec
from unittest import mock

import pytest
import torch

from colbert_rag.errors import DeviceError, InvalidQueryError, MissingDependencyError
from colbert_rag.search import ProcessorRanker
from colbert_rag.search.device import check_device, choosing, ranker_for


@pytest.fixture
def gpus(monkeypatch):
    """``gpus(2)``: torch sees so many; ``driver`` and ``built_for`` as given."""

    def gpus(count, *, driver=True, built_for="12.8", triton=True):
        monkeypatch.setattr(choosing, "_may_have_gpu", lambda: driver)
        monkeypatch.setattr(choosing, "find_spec", lambda name: object() if triton else None)
        monkeypatch.setattr(torch.version, "cuda", built_for)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1_000, 2_000))

    return gpus


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11", "cuda:1,cuda:0"])
def test_words_for_devices_are_taken(device):
    assert check_device(device) == device


@pytest.mark.parametrize(
    "device", ["gpu", "CUDA", "cuda:", "cuda:-1", "cuda,cuda:1", "cuda:1,cuda:1", "mps", "", None, 0]
)
def test_other_words_are_refused_with_those_that_there_are(device):
    with pytest.raises(InvalidQueryError, match=r'"auto", "cpu", "cuda", "cuda:1"'):
        check_device(device)


def test_the_processor_can_always_be_had():
    assert isinstance(ranker_for("cpu"), ProcessorRanker)
    assert ranker_for("cpu").wanted == "cpu"


def test_auto_without_a_driver_is_the_processor_silently_and_does_not_import_torch(tmp_path):
    code = (
        "import sys; from colbert_rag import Index; from colbert_rag.search.device import choosing\n"
        "choosing._DRIVERS = ()\n"
        f"index = Index.create({str(tmp_path / 'index')!r}, dim=8)\n"
        "print(index.device, 'torch' in sys.modules, 'triton' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["cpu", "False", "False"]
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("machine", "error", "advice"),
    [
        ({"count": 0, "built_for": None}, DeviceError, "built without CUDA. Install"),
        ({"count": 0}, DeviceError, "finds no GPU. Look at nvidia-smi"),
        ({"count": 1, "triton": False}, MissingDependencyError, "pip install triton"),
    ],
)
def test_a_named_device_that_cannot_be_had_is_an_error_with_advice_and_auto_is_the_processor(
    gpus, caplog, machine, error, advice
):
    gpus(**machine)
    with pytest.raises(error, match=advice):
        ranker_for("cuda")
    with caplog.at_level(logging.INFO, "colbert_rag"):
        automatic = ranker_for("auto")
    assert (automatic.device, automatic.wanted) == ("cpu", "auto")
    assert advice in caplog.text


def test_a_number_that_no_gpu_has_is_refused_with_those_that_there_are(gpus):
    gpus(2)
    with pytest.raises(DeviceError, match="no cuda:2 here; torch sees 2 GPU"):
        ranker_for("cuda:0,cuda:2")


@pytest.mark.skipif(find_spec("triton") is None, reason="there is no triton for this system")
@pytest.mark.parametrize(
    ("device", "found"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda:0,cuda:1",) * 2]
)
def test_gpus_are_taken_where_they_are(gpus, device, found):
    gpus(2)
    ranker = ranker_for(device)
    assert (ranker.device, ranker.wanted) == (found, device)


def test_triton_s_interpreter_is_no_gpu(monkeypatch):
    there = mock.Mock(exists=lambda: True)
    monkeypatch.setattr(choosing, "_DRIVERS", (there,))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert ranker_for("auto").device == "cpu"
