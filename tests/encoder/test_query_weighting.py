"""What weighs the tokens of queries: in a model, in its folder, and where sentence-transformers reads that alone."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.minilm.weights import token_weights
from colbert_rag.encoder.query_weighting import SETTINGS, query_weighting, weigh_alike, weigh_queries
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.training.saving import save_model

QUERY = "the cat baba"


@pytest.fixture
def direction():
    return torch.randn(16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def weighted_folder(tmp_path, tiny_folder, direction):
    model = Encoder(tiny_folder, device="cpu")._load_model()
    weigh_queries(model).load_state_dict({"direction": direction})
    save_model(model, tmp_path / "weighted")
    assert query_weighting(model) is not None
    return tmp_path / "weighted"


def test_a_saved_model_weighs_queries_as_it_did(weighted_folder, tiny_folder, direction):
    [plain] = Encoder(tiny_folder, device="cpu").encode_queries([QUERY])
    [found] = Encoder(weighted_folder, device="cpu").encode_queries([QUERY])
    weights = token_weights(plain, direction.numpy())
    assert np.ptp(weights) > 0.1
    np.testing.assert_allclose(found, plain * weights[:, None], atol=1e-5)


def test_documents_are_as_without_weights(weighted_folder, tiny_folder):
    one, other = (Encoder(f, device="cpu").encode_documents([QUERY])[0] for f in (weighted_folder, tiny_folder))
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_sentence_transformers_alone_loads_the_model_without_its_weights(weighted_folder, tiny_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MultiVectorEncoder(str(weighted_folder), device="cpu")
    expected = MultiVectorEncoder(str(tiny_folder), device="cpu").encode_query([QUERY], convert_to_numpy=True)[0]
    np.testing.assert_allclose(model.encode_query([QUERY], convert_to_numpy=True)[0], expected, atol=1e-6)


def test_the_weights_are_part_of_what_a_model_is_known_by(weighted_folder, tiny_folder):
    one, other = (Encoder(folder, device="cpu").fingerprint for folder in (weighted_folder, tiny_folder))
    assert one["weights_sha256"] != other["weights_sha256"]


def test_weights_are_put_in_once_and_taken_out(tiny_folder):
    model = Encoder(tiny_folder, device="cpu")._load_model()
    n_modules = len(model)
    assert weigh_queries(model) is weigh_queries(model) is query_weighting(model)
    assert len(model) == n_modules + 1
    for _ in range(2):
        weigh_alike(model)
        assert query_weighting(model) is None
        assert len(model) == n_modules


@pytest.mark.parametrize(
    "value", ["x", [1.0], [True] * 16, ["1"] * 16, [float("nan")] * 16, [float("inf")] * 16, [10**400] * 16, {}, 1.0]
)
def test_what_is_no_direction_is_refused(weighted_folder, value):
    settings = json.loads((weighted_folder / SETTINGS).read_text())
    [key] = [name for name in settings if name.startswith("colbert_rag")]
    (weighted_folder / SETTINGS).write_text(json.dumps(settings | {key: value}))
    with pytest.raises(ModelUnsupportedError, match=f"{key} in {SETTINGS} is not a list of 16 finite numbers"):
        Encoder(weighted_folder, device="cpu").encode_queries([QUERY])
