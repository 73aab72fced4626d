from __future__ import annotations

import pytest

from colbert_rag.encoder.jina import family_of


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"model_type": "bert", "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--m.JinaBertModel"}},
            "alibi",
        ),
        ({"model_type": "bert", "position_embedding_type": "alibi"}, "alibi"),
        ({"model_type": "x", "auto_map": {"AutoConfig": "jinaai/xlm-roberta-flash-implementation--c.C"}}, "rotary"),
        ({"model_type": "xlm-roberta", "position_embedding_type": "rotary"}, "rotary"),
        ({"model_type": "jina_embeddings_v3"}, "rotary"),
        ({"model_type": "bert", "position_embedding_type": "absolute"}, None),
        ({"model_type": "xlm-roberta", "auto_map": None}, None),
        ({}, None),
    ],
)
def test_family_is_told_by_the_content_of_the_configuration(config, expected):
    assert family_of(config) == expected
