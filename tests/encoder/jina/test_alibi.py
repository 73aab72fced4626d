from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from colbert_rag.encoder.jina.alibi import JinaBertModel, alibi_attention, alibi_slopes, config_from
from colbert_rag.errors import ModelUnsupportedError


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation returned."""

    n_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple) else (result,)
        sizes = [tensor.untyped_storage().nbytes() // 4 for tensor in made if isinstance(tensor, torch.Tensor)]
        self.n_elements = max([self.n_elements, *sizes])
        return result


def random_heads(n_sequences, n_heads, n_tokens, size=4):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, n_sequences, n_heads, n_tokens, size, generator=generator)


@pytest.mark.parametrize(
    ("n_heads", "expected"),
    [
        (1, [2**-8]),
        (4, [2**-2, 2**-4, 2**-6, 2**-8]),
        (8, [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8]),
        (12, [2.0**-n for n in (1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5)]),
    ],
)
def test_slopes_are_those_of_the_paper(n_heads, expected):
    np.testing.assert_allclose(alibi_slopes(n_heads), expected, rtol=1e-6)


@pytest.mark.parametrize("block_elements", [1, 100, 1_000, 10**9])
@pytest.mark.parametrize("lengths", [(31, 17), (31, 31), (1, 31)])
def test_blocks_of_any_size_give_the_attention_of_the_whole(block_elements, lengths):
    query, key, value = random_heads(2, 3, 31)
    mask = torch.arange(31) < torch.tensor(lengths)[:, None]
    distance = (torch.arange(31)[:, None] - torch.arange(31)).abs()
    scores = query @ key.transpose(2, 3) / 2 - alibi_slopes(3)[:, None, None] * distance
    expected = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1) @ value
    given = None if lengths == (31, 31) else mask
    found = alibi_attention(query, key, value, given, block_elements=block_elements)
    torch.testing.assert_close(found, expected)


def test_bias_of_a_long_document_is_never_whole_in_memory():
    query, key, value = random_heads(1, 2, 2_000)
    padded = torch.arange(2_000)[None] < 1_990
    sizes = []
    for mask, block_elements in [(None, 2**17), (padded, 2**17), (padded, 2**30)]:
        with LargestTensor() as largest:
            alibi_attention(query, key, value, mask, block_elements=block_elements)
        sizes.append(largest.n_elements)
    assert max(sizes[:2]) <= 2**17
    assert sizes[2] == 2 * 2_000**2  # what the first two would be, were there no blocks


@pytest.mark.parametrize("kind", ["geglu", "reglu"])
def test_gate_is_the_named_function_of_the_first_half(kind):
    config = {"position_embedding_type": "alibi", "feed_forward_type": kind, "hidden_size": 8, "intermediate_size": 6}
    model = JinaBertModel(config_from({**config, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}))
    mlp = model.eval().encoder["layer"][0].mlp
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    first, second = x @ mlp.gated_layers.weight[:6].T, x @ mlp.gated_layers.weight[6:].T
    gate = first.clamp(min=0) if kind == "reglu" else first * 0.5 * (1 + torch.erf(first / 2**0.5))
    summed = (gate * second) @ mlp.wo.weight.T + mlp.wo.bias + x
    expected = (summed - summed.mean(-1, keepdim=True)) / summed.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(mlp(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"position_embedding_type": "absolute"}, "position_embedding_type='absolute'; supported: alibi"),
        ({"feed_forward_type": "original"}, "feed_forward_type='original'; supported: geglu, reglu"),
    ],
)
def test_other_variants_of_the_architecture_are_refused_by_name(setting, message):
    with pytest.raises(ModelUnsupportedError, match=message):
        config_from({"position_embedding_type": "alibi", "feed_forward_type": "geglu"} | setting)


def test_outputs_are_named_unless_a_tuple_is_asked_for():
    config = {"position_embedding_type": "alibi", "feed_forward_type": "geglu", "hidden_size": 8}
    config |= {"intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    model, ids = JinaBertModel(config_from(config)).eval(), torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(model(ids).last_hidden_state, model(ids, return_dict=False)[0])
