from __future__ import annotations

import pytest
import torch

from colbert_rag.encoder.loading import text_transformer
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.training.lora import LoraAdapter


def backbone(model):
    return text_transformer(model).auto_model


def test_a_new_adapter_changes_no_vector_and_equal_seeds_give_equal_matrices(make_model):
    model, twin, other = make_model(), make_model(), make_model()
    before = model.encode_query("the cat", convert_to_numpy=True)
    ours, same, different = (LoraAdapter(m, 4, seed).matrices() for m, seed in ((model, 1), (twin, 1), (other, 2)))
    assert (model.encode_query("the cat", convert_to_numpy=True) == before).all()
    assert all(torch.equal(ours[name][0], same[name][0]) for name in ours)
    assert not any(torch.equal(ours[name][0], different[name][0]) for name in ours)


def test_every_linear_layer_of_the_backbone_but_the_pooler_gets_matrices(make_model):
    model = make_model()
    plain = dict(backbone(model).named_parameters())
    linear = {name for name in plain if name.startswith("encoder.") and plain[name].ndim == 2}
    matrices = LoraAdapter(model, 4, 0).matrices()
    assert matrices.keys() == linear
    assert all((a.shape, b.shape) == ((4, plain[n].shape[1]), (plain[n].shape[0], 4)) for n, (a, b) in matrices.items())


def test_merging_adds_the_scaled_product_and_leaves_a_plain_model(make_model):
    model = make_model()
    before = {name: weight.detach().clone() for name, weight in backbone(model).named_parameters()}
    adapter = LoraAdapter(model, 4, 0)
    with torch.no_grad():
        for _, b in adapter.matrices().values():
            b.normal_(generator=torch.Generator().manual_seed(3))
    products = {name: adapter.scaling * (b @ a).detach() for name, (a, b) in adapter.matrices().items()}
    encoded = model.encode_query("the cat", convert_to_numpy=True)
    adapter.merge()
    after = dict(backbone(model).named_parameters())
    assert after.keys() == before.keys()
    for name, weight in after.items():
        torch.testing.assert_close(weight.detach(), before[name] + products.get(name, 0.0))
    assert encoded == pytest.approx(model.encode_query("the cat", convert_to_numpy=True), abs=1e-5)


def test_a_backbone_without_linear_layers_is_refused(make_model, monkeypatch):
    model = make_model()
    monkeypatch.setattr(text_transformer(model), "model", torch.nn.LayerNorm(4))
    with pytest.raises(ModelUnsupportedError, match="No adapter can be put into this backbone"):
        LoraAdapter(model, 4, 0)


def test_only_the_last_layers_get_matrices_where_they_are_counted(make_model):
    model = make_model()
    every = LoraAdapter(make_model(), 4, 0).matrices().keys()
    last = LoraAdapter(model, 4, 0, n_layers=1).matrices().keys()
    assert last == {name for name in every if ".layer.1." in name}
    assert len(every) == 2 * len(last)
