from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.encoder import Encoder, precision
from colbert_rag.encoder.precision import takes_bfloat16
from colbert_rag.errors import ModelUnsupportedError

MEASURED = precision._cpu_gains  # what conftest.py keeps all other tests from
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TEXTS = ["the cat sat on the mat", "a dog", "the cat and the dog sat on the mat and the cat ran"]


@pytest.mark.parametrize(("asked", "expected"), [("float32", False), ("bfloat16", True)])
@pytest.mark.parametrize("device", [CPU, CUDA, torch.device("mps")])
def test_what_is_asked_for_is_taken_on_every_device(asked, expected, device):
    assert takes_bfloat16(asked, device) is expected


@pytest.mark.parametrize("is_supported", [True, False])
def test_a_graphics_card_takes_bfloat16_where_it_has_it(monkeypatch, is_supported):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: is_supported)
    assert takes_bfloat16("auto", CUDA) is is_supported


@pytest.mark.parametrize(("seconds", "expected"), [((1.0, 0.5), True), ((1.0, 0.9), False), ((1.0, 6.0), False)])
def test_a_cpu_takes_bfloat16_where_it_was_measured_to_be_faster(monkeypatch, seconds, expected):
    monkeypatch.setattr(precision, "_cpu_gains", MEASURED)
    MEASURED.cache_clear()
    measured = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(precision, "_fastest", lambda rows, weights: measured[rows.dtype])
    assert takes_bfloat16("auto", CPU) is expected
    MEASURED.cache_clear()


def test_other_devices_keep_float32():
    assert takes_bfloat16("auto", torch.device("mps")) is False


def test_documents_in_bfloat16_are_those_in_float32_up_to_rounding_and_of_unit_length(tiny_folder):
    full = Encoder(tiny_folder, precision="float32").encode_documents(TEXTS)
    half = Encoder(tiny_folder, precision="bfloat16").encode_documents(TEXTS)
    for a, b in zip(full, half, strict=True):
        similarities = (a.vectors.astype(np.float32) * b.vectors.astype(np.float32)).sum(axis=1)
        assert similarities.min() > 0.995
        assert not np.array_equal(a.vectors, b.vectors)
        assert np.linalg.norm(b.vectors.astype(np.float32), axis=1) == pytest.approx(1, abs=2e-3)


def test_queries_and_the_fingerprint_do_not_depend_on_the_precision_of_documents(tiny_folder):
    full, half = Encoder(tiny_folder, precision="float32"), Encoder(tiny_folder, precision="bfloat16")
    assert np.array_equal(full.encode_queries(TEXTS[:1])[0], half.encode_queries(TEXTS[:1])[0])
    assert full.fingerprint == half.fingerprint


def test_an_unknown_precision_is_refused_at_once():
    with pytest.raises(ModelUnsupportedError, match="precision must be one of auto, float32, bfloat16, found 'fp8'"):
        Encoder(precision="fp8")
