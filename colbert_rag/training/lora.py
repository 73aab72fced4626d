"""Low-rank adapters in the backbone, by peft; merged when the training is over."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from colbert_rag.encoder.loading import text_transformer
from colbert_rag.encoder.low_rank import add_low_rank
from colbert_rag.errors import ModelUnsupportedError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["FrozenBackbone", "LoraAdapter"]

_ADAPTER = "default"
_ALPHA_PER_RANK = 2  # of the low-rank product, so that the rank leaves the size of its steps alone


class LoraAdapter:
    """Low-rank matrices beside every linear layer of a model's backbone (LoRA, arXiv 2106.09685).

    The layers are replaced in place: the model computes with the adapter until it is merged.

    Args:
        model: Its backbone is frozen, all but the matrices.
        rank: Of each matrix.
        seed: Of their initial values.
        n_layers: Only the last so many layers of the backbone take matrices; None for all. What lies below them is
            not passed through when gradients are computed.

    Raises:
        ModelUnsupportedError: the backbone has no linear layers that could take an adapter.
    """

    def __init__(self, model: MultiVectorEncoder, rank: int, seed: int, n_layers: int | None = None) -> None:
        self._backbone = text_transformer(model).auto_model
        config = LoraConfig(
            r=rank,
            lora_alpha=_ALPHA_PER_RANK * rank,
            target_modules="all-linear",
            exclude_modules="|".join(_excluded(self._backbone, n_layers)),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            try:
                self._peft: Any = _injected(self._backbone, config)
            except ValueError as error:
                raise ModelUnsupportedError(
                    f"No adapter can be put into this backbone ({error}). Train all weights: rank=None."
                ) from error

    @property
    def scaling(self) -> float:
        """What the product of the matrices is multiplied with."""
        return float(_ALPHA_PER_RANK)

    def matrices(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Name of a weight of the plain backbone ``(m, n)`` -> A ``(r, n)`` and B ``(m, r)``."""
        return {
            f"{name}.weight": (_weight(layer.lora_A), _weight(layer.lora_B))
            for name, layer in self._backbone.named_modules()
            if isinstance(layer, LoraLayer)
        }

    def merge(self) -> None:
        """Add the product of the matrices to the weights as a delta does, and put the plain layers back."""
        matrices = self.matrices()
        self._peft.unload()
        weights = dict(self._backbone.named_parameters())
        for name, (a, b) in matrices.items():
            add_low_rank(weights[name], a, b, self.scaling)
        self._backbone.requires_grad_(True)


class FrozenBackbone:
    """In the place of an adapter where the projection alone is trained: no layer takes matrices.

    Nothing of the backbone needs a gradient, so that none of what it computes is kept for one.

    Args:
        model: Its backbone is frozen.
    """

    def __init__(self, model: MultiVectorEncoder) -> None:
        self._backbone = text_transformer(model).auto_model
        self._backbone.requires_grad_(False)

    @property
    def scaling(self) -> float:
        """Of no matrices."""
        return float(_ALPHA_PER_RANK)

    def matrices(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """None."""
        return {}

    def merge(self) -> None:
        """Make the backbone one that can be trained, as it was."""
        self._backbone.requires_grad_(True)


def _excluded(backbone: Any, n_layers: int | None) -> Iterator[str]:
    """Patterns of modules that take no matrices."""
    yield r".*pooler.*"
    if n_layers is not None:
        yield from (rf"(.*\.)?layers?\.{number}\..*" for number in range(backbone.config.num_hidden_layers - n_layers))


def _weight(matrices: Any) -> torch.Tensor:
    weight: torch.Tensor = matrices[_ADAPTER].weight
    return weight


def _injected(backbone: Any, config: LoraConfig) -> Any:
    with warnings.catch_warnings():
        # peft asks for an attribute that transformers has renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(backbone, config)
