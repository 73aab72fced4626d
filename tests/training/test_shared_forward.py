from __future__ import annotations

import torch
from torch import nn

from colbert_rag.training.shared_forward import SharedForwardLoss


class CountingModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, features, task=None):
        self.calls.append(task)
        return {"token_embeddings": features["vectors"], "attention_mask": torch.ones(1, 2)}


class Sum(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features, labels):
        first, second = (
            self.model(column, task=task) for column, task in zip(features, ("query", "document"), strict=True)
        )
        return (first["token_embeddings"] * second["token_embeddings"]).sum()


def columns():
    generator = torch.Generator().manual_seed(0)
    return [{"vectors": nn.functional.normalize(torch.randn(1, 2, 4, generator=generator), dim=-1)} for _ in range(2)]


def test_each_column_is_encoded_once_for_all_losses_and_dimensions():
    model = CountingModel()
    SharedForwardLoss(model, [(Sum(model), 1.0), (Sum(model), 1.0)], [4, 2])(columns(), None)
    assert model.calls == ["query", "document"]


def test_the_sum_is_weighted_and_its_vectors_are_of_unit_length():
    model = CountingModel()
    one, other = (column["vectors"] for column in columns())
    short = [v[..., :2] / v[..., :2].norm(dim=-1, keepdim=True) for v in (one, other)]
    expected = 0.25 * ((one * other).sum() + (short[0] * short[1]).sum())
    torch.testing.assert_close(SharedForwardLoss(model, [(Sum(model), 0.25)], [4, 2])(columns(), None), expected)


def test_a_query_that_is_weighed_keeps_its_weights_in_leading_dimensions():
    model, (query, document) = CountingModel(), columns()
    weights = torch.tensor([0.5, 1.5])[None, :, None]
    short = [v["vectors"][..., :2] / v["vectors"][..., :2].norm(dim=-1, keepdim=True) for v in (query, document)]
    found = SharedForwardLoss(model, [(Sum(model), 1.0)], [2])(
        [{"vectors": query["vectors"] * weights}, document], None
    )
    torch.testing.assert_close(found, (short[0] * weights * short[1]).sum())


def test_the_model_is_itself_again_afterwards_and_at_the_next_batch():
    model = CountingModel()
    loss = SharedForwardLoss(model, [(Sum(model), 1.0)], [4])
    first = loss(columns(), None)
    other = [{"vectors": -column["vectors"]} if i else column for i, column in enumerate(columns())]
    torch.testing.assert_close(loss(other, None), -first)
    assert len(model(columns()[0])["token_embeddings"][0, 0]) == 4
