from __future__ import annotations

import pytest
import torch

from colbert_rag.encoder.builtin import load_builtin
from colbert_rag.encoder.delta import load_delta
from colbert_rag.encoder.fingerprint import weights_digest
from colbert_rag.encoder.loading import text_transformer
from colbert_rag.encoder.query_weighting import query_weighting
from colbert_rag.errors import InvalidDocumentError, InvalidTrainingError, ModelNotFoundError
from colbert_rag.training.settings import TrainingSettings
from colbert_rag.training.starting import Trainee, check_device

TEXTS = ["baba the cat", "cedi foguha", "lolo muje ki"]


def shaken(trainee):
    """Weights as of a training: none is zero, and none a number that float16 holds."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in trainee.trained.values():
            weight.add_(torch.randn(weight.shape, generator=generator) / 7)
    return trainee


def test_an_adapter_and_the_projection_are_trained_or_else_all_weights(make_settings):
    adapted, whole = (Trainee(make_settings(rank=rank), TEXTS) for rank in (4, None))
    names = set(adapted.trained)
    assert {name for name in names if "lora_" not in name} == {"1.linear.weight"}
    assert len(names) == 2 * 2 * 6 + 1
    assert set(whole.trained) == {name for name, _ in whole.model.named_parameters()}


def test_the_projection_alone_is_trained_where_no_layer_is_adapted(make_settings, tmp_path):
    trainee = Trainee(make_settings(adapted_layers=0), TEXTS)
    assert set(trainee.trained) == {"1.linear.weight"}
    base = weights_digest(text_transformer(trainee.model).auto_model.state_dict())
    shaken(trainee).finish(tmp_path / "delta.safetensors")
    assert weights_digest(text_transformer(trainee.model).auto_model.state_dict()) == base
    assert all(weight.requires_grad for weight in trainee.model.parameters())
    loaded = load_delta(tmp_path / "delta.safetensors", "cpu")
    assert weights_digest(loaded.state_dict()) == weights_digest(trainee.model.state_dict())


def test_a_projection_alone_is_not_trained_where_there_is_none(make_settings, plain_folder):
    with pytest.raises(InvalidTrainingError, match=r"adapted_layers=0 trains the projection alone, and .* has none"):
        Trainee(make_settings(base=str(plain_folder), dim=1000, adapted_layers=0), TEXTS)


def test_a_model_is_trained_as_its_base_was_or_without_dropout(make_settings):
    def rates(**options):
        modules = Trainee(make_settings(**options), TEXTS).model.modules()
        return {module.p for module in modules if isinstance(module, torch.nn.Dropout)}

    assert rates() == {0.1}
    assert rates(dropout=False) == {0.0}


def test_the_finished_model_and_its_delta_are_the_same_model(make_settings, tmp_path):
    trainee = shaken(Trainee(make_settings(), TEXTS))
    trainee.finish(tmp_path / "delta.safetensors")
    loaded = load_delta(tmp_path / "delta.safetensors", "cpu")
    assert loaded.state_dict().keys() == trainee.model.state_dict().keys()
    assert weights_digest(loaded.state_dict()) == weights_digest(trainee.model.state_dict())


def test_finishing_without_an_adapter_changes_nothing_and_writes_nothing(make_settings, tmp_path):
    trainee = shaken(Trainee(make_settings(rank=None), TEXTS))
    before = weights_digest(trainee.model.state_dict())
    trainee.finish(tmp_path / "delta.safetensors")
    assert weights_digest(trainee.model.state_dict()) == before
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_moved_by_nothing_is_its_base(make_settings, tmp_path):
    base = weights_digest(Trainee(make_settings(), TEXTS).model.state_dict())
    for rank in (4, None):
        trainee = shaken(Trainee(make_settings(rank=rank, moved_by=0.0), TEXTS))
        trainee.finish(tmp_path / "delta.safetensors")
        found = {name: weight.half() for name, weight in trainee.model.state_dict().items()}
        start = Trainee(make_settings(rank=None), TEXTS).model.state_dict()
        assert found.keys() == start.keys()
        assert all(torch.equal(found[name], weight.half()) for name, weight in start.items())
    assert base != weights_digest(shaken(Trainee(make_settings(rank=None), TEXTS)).model.state_dict())


def test_a_model_that_is_moved_half_of_the_way_is_between_the_two(make_settings):
    def finished(share, rank):
        trainee = shaken(Trainee(make_settings(rank=rank, moved_by=share), TEXTS))
        trainee.finish()
        return trainee.model.state_dict()

    for rank in (4, None):
        start, half, end = (finished(share, rank) for share in (0.0, 0.5, 1.0))
        for name, weight in half.items():
            torch.testing.assert_close(weight, (start[name] + end[name]) / 2, atol=2e-3, rtol=2e-3)


def test_attention_is_computed_in_its_parts_while_training_on_a_cpu_in_bfloat16(make_settings):
    def attention(trainee):
        return text_transformer(trainee.model).auto_model.config._attn_implementation

    usual = attention(Trainee(make_settings(), TEXTS))
    trainee = Trainee(make_settings(bf16=True, device="cpu"), TEXTS)
    assert (usual, attention(trainee)) == ("sdpa", "eager")
    trainee.finish()
    assert attention(trainee) == usual


def test_a_plain_base_is_projected_on_axes_of_the_texts(make_settings, plain_folder, tiny_folder):
    assert Trainee(make_settings(base=str(plain_folder), dim=4), TEXTS).model.get_embedding_dimension() == 4
    assert Trainee(make_settings(base=str(plain_folder), dim=4), TEXTS).base.is_plain
    assert not Trainee(make_settings(base=str(tiny_folder), dim=4), TEXTS).base.is_plain
    with pytest.raises(InvalidDocumentError, match="token vectors; 30 dimensions need"):
        Trainee(make_settings(base=str(plain_folder), dim=30), ["the"])


def test_what_weighs_queries_is_learnt_along_where_it_is_asked_for(make_settings, tmp_path):
    def weighting(**options):
        trainee = Trainee(make_settings(**options), TEXTS)
        return [name for name in trainee.trained if name.endswith("direction")]

    assert (weighting(), len(weighting(weigh_queries=True)), len(weighting(weigh_queries=True, rank=None))) == (
        [],
        1,
        1,
    )
    trainee = shaken(Trainee(make_settings(weigh_queries=True), TEXTS))
    trainee.finish(tmp_path / "delta.safetensors")
    loaded = load_delta(tmp_path / "delta.safetensors", "cpu")
    assert query_weighting(loaded).direction.abs().max() > 0
    assert weights_digest(loaded.state_dict()) == weights_digest(trainee.model.state_dict())


def test_the_built_in_model_begins_with_its_own_weights_of_queries():
    trainee = Trainee(TrainingSettings(device="cpu"), TEXTS)
    assert torch.equal(query_weighting(trainee.model).direction, query_weighting(load_builtin("cpu")).direction)
    assert query_weighting(Trainee(TrainingSettings(weigh_queries=False, device="cpu"), TEXTS).model) is None


@pytest.mark.parametrize(("rank", "value"), [(4, 1e5), (4, float("nan")), (None, float("inf"))])
def test_weights_that_the_files_cannot_hold_are_refused(make_settings, tmp_path, rank, value):
    trainee = Trainee(make_settings(rank=rank), TEXTS)
    with torch.no_grad():
        trainee.trained["1.linear.weight"][0, 0] = value
    said = " in float16" if value == 1e5 else ":"
    with pytest.raises(InvalidTrainingError, match=rf"Weights of 1.linear.weight are not finite{said}.*learning_rate"):
        trainee.finish(tmp_path / "delta.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tpu9", "cuda:99", "meta", ""])
def test_a_device_that_is_not_known_or_not_there_is_refused(name):
    with pytest.raises(InvalidTrainingError, match=f"device='{name}' is not known or not there"):
        check_device(name)


@pytest.mark.parametrize("name", ["cpu", None])
def test_a_device_that_is_there_is_taken(name):
    check_device(name)


def test_a_base_that_is_not_there_is_refused(make_settings):
    with pytest.raises(ModelNotFoundError, match="/no/such/model"):
        Trainee(make_settings(base="/no/such/model"), TEXTS)


def test_a_delta_of_the_built_in_model_with_rank_32_has_at_most_6_mb(tmp_path):
    Trainee(TrainingSettings(rank=32, device="cpu"), TEXTS).finish(tmp_path / "delta.safetensors")
    assert 1_000_000 < (tmp_path / "delta.safetensors").stat().st_size < 6_000_000


def test_a_plain_base_at_its_full_width_has_a_delta_without_a_projection(make_settings, plain_folder, tmp_path):
    trainee = shaken(Trainee(make_settings(base=str(plain_folder), dim=1000), TEXTS))
    trainee.finish(tmp_path / "delta.safetensors")
    loaded = load_delta(tmp_path / "delta.safetensors", "cpu")
    assert weights_digest(loaded.state_dict()) == weights_digest(trainee.model.state_dict())
