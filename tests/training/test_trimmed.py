from __future__ import annotations

import pytest
import torch

from colbert_rag.training.trimmed import trimmed_forward

TASKS = ("query", "document")


def features_of(model, n, task="document"):
    """Texts of many lengths, not in their order."""
    texts = [" ".join(["the cat sleeps,"] * (1 + i * 7 % 5)) for i in range(n)]
    return {**model.preprocess(texts, task=task), "task": task}


@pytest.mark.parametrize("task", TASKS)
def test_vectors_masks_and_gradients_are_those_of_one_pass(make_model, task):
    model = make_model().eval()
    features, outputs = features_of(model, 60, task), []
    for forward in (model, lambda *given, **options: trimmed_forward(model, *given, **options)):
        output = forward(dict(features), task=task)
        kept = output["token_embeddings"] * output["attention_mask"][..., None]
        model.zero_grad()
        kept.square().sum(dim=(1, 2)).log().sum().backward()
        gradient = model[0].auto_model.get_input_embeddings().weight.grad.clone()
        outputs.append((kept.detach(), output["attention_mask"].bool(), gradient))
    for expected, found in zip(*outputs, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert len(set(outputs[0][1].sum(dim=1).tolist())) == 5


def test_no_pass_is_wider_than_its_longest_text(make_model):
    model, shapes = make_model().eval(), []

    def forward(features, **options):
        shapes.append(tuple(features["input_ids"].shape))
        assert int(features["attention_mask"].sum(dim=1).max()) == shapes[-1][1]
        return model(features, **options)

    trimmed_forward(forward, features_of(model, 60), task="document")
    assert [rows for rows, _ in shapes] == [24, 24, 12]
    widths = [width for _, width in shapes]
    assert widths == sorted(set(widths))


def test_few_texts_and_other_forms_are_passed_on_whole(make_model):
    model = make_model().eval()
    few, left = features_of(model, 24), features_of(model, 60)
    left["attention_mask"] = left["attention_mask"].flip(1)
    for features in (few, left, {"vectors": torch.ones(60, 2)}):
        seen = []
        trimmed_forward(lambda given, seen=seen: seen.append(given) or {}, features)
        assert len(seen) == 1
        assert seen[0].keys() == features.keys()
        assert all(seen[0][name] is value for name, value in features.items())
