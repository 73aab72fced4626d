from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.jina.weights import Source, TensorFiles, fit
from colbert_rag.errors import ModelUnsupportedError


@pytest.fixture(params=["alibi", "rotary"])
def folder(request):
    return request.getfixturevalue(f"{request.param}_folder")()


@pytest.fixture
def edit(folder):
    def replace(**changes):
        path = folder / "model.safetensors"
        tensors = {name: changes.pop(name, array) for name, array in load_file(path).items()} | changes
        save_file({name: array for name, array in tensors.items() if array is not None}, path)

    return replace


def second_layer(folder):
    """Two tensors of the second layer, by the names of the published file."""
    names = [name for name in load_file(folder / "model.safetensors") if re.search(r"\.1\.(mlp|mixer)", name)]
    return sorted(names)[0], sorted(names)[-1]


def test_missing_tensor_is_named(folder, edit):
    missing, _ = second_layer(folder)
    edit(**{missing: None})
    with pytest.raises(ModelUnsupportedError, match=f"the tensor {re.escape(missing)} is missing"):
        Encoder(folder).dim  # noqa: B018


def test_tensor_of_another_shape_is_named_with_both_shapes(folder, edit):
    _, name = second_layer(folder)
    shape = load_file(folder / "model.safetensors")[name].shape
    edit(**{name: np.zeros((3, *shape[1:]), np.float32)})
    found = re.escape(str((3, *shape[1:])))
    with pytest.raises(ModelUnsupportedError, match=rf"{name} has the shape {found}, .* {re.escape(str(shape))}"):
        Encoder(folder).dim  # noqa: B018


def test_tensor_without_a_place_is_refused_because_leaving_it_out_would_change_vectors(folder, edit):
    edit(**{"bert.encoder.layer.0.attention.self.layer_norm_q.weight": np.ones(8, np.float32)})
    with pytest.raises(ModelUnsupportedError, match=r"1 tensors, .*layer_norm_q\.weight among them, have no place"):
        Encoder(folder).dim  # noqa: B018


def test_missing_projection_is_named(folder, edit):
    edit(**{"linear.weight": None})
    with pytest.raises(ModelUnsupportedError, match=r"the tensor linear\.weight is missing"):
        Encoder(folder).dim  # noqa: B018


def test_pickled_weights_are_refused_with_the_way_to_convert_them(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnsupportedError, match=r"neither .*safetensors\.torch\.save_file\(torch\.load"):
        Encoder(folder).dim  # noqa: B018


def test_missing_shard_is_named(folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"linear.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnsupportedError, match=r"names model-00001-of-00001\.safetensors, which is not there"):
        Encoder(folder).dim  # noqa: B018


def test_damaged_file_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelUnsupportedError, match="cannot be loaded"):
        Encoder(folder).dim  # noqa: B018


def test_part_of_a_stored_tensor_is_cut_along_its_first_axis(tmp_path):
    stored = np.arange(12, dtype=np.float32).reshape(6, 2)
    save_file({"x.both": stored, "x.own": stored[:1]}, tmp_path / "model.safetensors")
    sources = {"second": Source("both", 1, 2), "own": Source("elsewhere")}
    found = fit({"second": (3, 2), "own": (1, 2)}, TensorFiles.find(str(tmp_path)), "x.", sources.__getitem__)
    torch.testing.assert_close(found, {"second": torch.from_numpy(stored[3:]), "own": torch.from_numpy(stored[:1])})


@pytest.mark.parametrize("content", ["{}", "[]", '{"weight_map": [1]}', '{"weight_map": {"linear.weight": 1}}', "no"])
def test_malformed_index_of_shards_is_refused_by_name(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelUnsupportedError, match=r"model\.safetensors\.index\.json (has no weight_map|is no JSON)"):
        Encoder(folder).dim  # noqa: B018
