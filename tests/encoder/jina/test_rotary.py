from __future__ import annotations

import pytest
import transformers

from colbert_rag.encoder.jina.rotary import config_from, source_of
from colbert_rag.encoder.jina.weights import Source
from colbert_rag.errors import ModelUnsupportedError

CONFIG = {
    "model_type": "xlm-roberta",
    "position_embedding_type": "rotary",
    "max_position_embeddings": 8_194,
    "pad_token_id": 1,
}


@pytest.mark.parametrize(("stated", "theta"), [({}, 10_000.0), ({"rotary_emb_base": 20_000}, 20_000.0)])
def test_base_of_the_rotation_is_the_stated_one_or_ten_thousand(stated, theta):
    assert config_from(CONFIG | stated).rope_parameters == {"rope_type": "default", "rope_theta": theta}


def test_context_leaves_out_the_positions_up_to_padding():
    assert config_from(CONFIG).max_position_embeddings == 8_192


def test_configuration_that_we_saved_is_taken_as_it_is():
    saved = config_from(CONFIG | {"hidden_size": 64, "num_attention_heads": 4}).to_dict()
    assert config_from(saved).to_dict() == saved


def test_positions_of_another_kind_are_refused_by_name():
    with pytest.raises(ModelUnsupportedError, match="position_embedding_type='absolute'; only 'rotary'"):
        config_from(CONFIG | {"position_embedding_type": "absolute"})


def test_older_transformers_are_told_which_version_to_install(monkeypatch):
    monkeypatch.delitem(transformers.__dict__, "JinaEmbeddingsV3Config", raising=False)
    monkeypatch.setitem(transformers._class_to_module, "JinaEmbeddingsV3Config", "no_such_module")
    with pytest.raises(ModelUnsupportedError, match=r'pip install "transformers>=5\.4"'):
        config_from(CONFIG)


@pytest.mark.parametrize(
    ("parameter", "source"),
    [
        ("embeddings.word_embeddings.weight", Source("embeddings.word_embeddings.weight")),
        ("embeddings.LayerNorm.bias", Source("emb_ln.bias")),
        ("layers.1.self_attn.q_proj.weight", Source("encoder.layers.1.mixer.Wqkv.weight", 0, 3)),
        ("layers.1.self_attn.k_proj.bias", Source("encoder.layers.1.mixer.Wqkv.bias", 1, 3)),
        ("layers.1.self_attn.v_proj.weight", Source("encoder.layers.1.mixer.Wqkv.weight", 2, 3)),
        ("layers.11.self_attn.o_proj.bias", Source("encoder.layers.11.mixer.out_proj.bias")),
        ("layers.0.post_attention_layernorm.weight", Source("encoder.layers.0.norm1.weight")),
        ("layers.0.post_mlp_layernorm.weight", Source("encoder.layers.0.norm2.weight")),
        ("layers.0.mlp.fc1.weight", Source("encoder.layers.0.mlp.fc1.weight")),
    ],
)
def test_parameter_comes_from_the_published_tensor(parameter, source):
    assert source_of(parameter) == source
