from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from colbert_rag import types
from colbert_rag.testing import HashEncoder
from colbert_rag.types import Document, Hit, Passage, SearchConfig, TextEncoder, VerifyReport

HIT = Hit("a", 1.5, "text", {"b": 1}, (Passage(0, 4, "text", 1.5, ((0, 4),)),), 0.75)


@pytest.mark.parametrize("value", [Document("a", "text", {"b": 1}), HIT, SearchConfig(), VerifyReport((), 1, 2, 3)])
def test_plain_data_is_immutable_and_survives_pickling(value):
    assert pickle.loads(pickle.dumps(value)) == value
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)


def test_documents_do_not_share_their_empty_metadata():
    assert Document("a", "text").metadata == {}
    assert Document("a", "text").metadata is not Document("b", "text").metadata


def test_a_verify_report_is_ok_when_nothing_was_found():
    assert VerifyReport((), 1, 2, 3).ok
    assert not VerifyReport(("a problem",), 1, 2, 3).ok


def test_an_object_without_all_methods_is_no_encoder():
    assert isinstance(HashEncoder(), TextEncoder)
    assert not isinstance(np.eye(2), TextEncoder)


def test_public_names_of_the_module_exist():
    assert all(hasattr(types, name) for name in types.__all__)
