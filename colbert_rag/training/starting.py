"""The model that a training starts from, and what of it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from colbert_rag.encoder.adapting import project
from colbert_rag.encoder.builtin import BUILTIN, CURRENT, load_builtin
from colbert_rag.encoder.delta import BaseModel, base_digest, projections, save_delta
from colbert_rag.encoder.loading import (
    Checkpoint,
    is_late_interaction,
    load_checkpoint,
    located,
    text_transformer,
    without_progress_bars,
)
from colbert_rag.encoder.query_weighting import query_weighting, weigh_alike, weigh_queries
from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.lora import FrozenBackbone, LoraAdapter
from colbert_rag.training.saving import save_model
from colbert_rag.training.settings import TrainingSettings
from colbert_rag.types import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from sentence_transformers import MultiVectorEncoder

__all__ = ["Trainee", "check_device"]

_LORA_A = "lora_A"


def check_device(name: str | None) -> None:
    """Refuse a device that is not known or not there; None is the best there is.

    Raises:
        InvalidTrainingError: it is.
    """
    try:
        # a number must come back: a device without memory takes tensors, too
        torch.zeros(1, device=name).item()
    except (AssertionError, ImportError, RuntimeError) as error:
        raise InvalidTrainingError(
            f"device={name!r} is not known or not there ({str(error).splitlines()[0]}). Name another, such as 'cpu', "
            f"or none for the best there is."
        ) from error


class Trainee:
    """A model in training: its base, the adapter in it, and the weights that change.

    Args:
        settings: Name the base, and how it is trained.
        texts: That a plain base's projection is fitted to.
        progress: Called as ``progress("fit", done, total)`` while it is.

    Raises:
        InvalidDocumentError: the texts are too few for a projection.
        InvalidTrainingError: the projection alone is to be trained, and there is none.
        ModelNotFoundError: the base cannot be found.
        ModelUnsupportedError: the base is no text encoder.
    """

    def __init__(self, settings: TrainingSettings, texts: Sequence[str], progress: Progress | None = None) -> None:
        checkpoint = Checkpoint(located(settings.base), settings.revision)
        is_plain = checkpoint.name != BUILTIN and not is_late_interaction(checkpoint)
        self.model = _load(checkpoint, is_plain, settings, texts, progress)
        self.base = BaseModel(checkpoint.name, base_digest(self.model), is_plain)
        self._adapter = None if settings.rank is None else _adapter(self.model, settings)
        self._moved_by = settings.moved_by
        for _, linear in projections(self.model):
            linear.requires_grad_(True)
        if settings.weigh_queries is False:
            weigh_alike(self.model)
        weighting = weigh_queries(self.model) if settings.weigh_queries else query_weighting(self.model)
        if weighting is not None:
            weighting.requires_grad_(True)
        if not self.trained:
            raise InvalidTrainingError(
                f"adapted_layers=0 trains the projection alone, and {checkpoint.name} has none: nothing would be "
                f"trained. Set adapted_layers to 1 or more."
            )
        self._starts = _starts(self.trained) if settings.moved_by < 1 else {}
        self._attention = _quick_attention(self.model, settings)
        if not settings.dropout or isinstance(self._adapter, FrozenBackbone):
            _leave_out_dropout(self.model)

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The weights that change, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def finish(self, delta: Path | None = None) -> None:
        """Make the model plain again: it goes back towards its base, and the adapter becomes part of the weights.

        What a delta holds is rounded to float16 first, so that the model and its delta are the same.

        Args:
            delta: Where the delta is written; None for none. Without an adapter there is none.

        Raises:
            InvalidTrainingError: a weight is not finite, or too large for float16.
            StorageError: the delta cannot be written.
        """
        self.check_finite()
        _set_attention(self.model, self._attention)
        trained = self.trained
        with torch.no_grad():
            for name, start in self._starts.items():
                trained[name].copy_(torch.lerp(start, trained[name], self._moved_by))
        self._starts = {}
        if self._adapter is None:
            return
        with torch.no_grad():
            for weight in self.trained.values():
                weight.copy_(weight.half())
        self.check_finite(" in float16, as which a delta holds them")
        if delta is not None:
            save_delta(delta, self.base, self._adapter.matrices(), self._adapter.scaling, self.model)
        self._adapter.merge()
        self._adapter = None

    def check_finite(self, form: str = "") -> None:
        """Refuse weights that are not finite.

        Raises:
            InvalidTrainingError: a weight that is trained is not.
        """
        for name, weight in self.trained.items():
            if not weight.isfinite().all():
                raise InvalidTrainingError(
                    f"Weights of {name} are not finite{form}: the training has diverged. Begin again with a lower "
                    f"learning_rate (on the command line --learning-rate)."
                )

    def save(self, folder: Path) -> None:
        """Write the finished model in sentence-transformers' format."""
        assert self._adapter is None
        backend = getattr(self.model.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            # it remembers the lengths of its last batch, and would be saved with them
            backend.no_truncation()
            backend.no_padding()
        with without_progress_bars():
            save_model(self.model, folder)


def _adapter(model: MultiVectorEncoder, settings: TrainingSettings) -> LoraAdapter | FrozenBackbone:
    assert settings.rank is not None
    if settings.adapted_layers == 0:
        return FrozenBackbone(model)
    return LoraAdapter(model, settings.rank, settings.seed, settings.adapted_layers)


def _starts(trained: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """Copies of the weights, to come back to; of two low-rank matrices one is enough, for zero times any is zero."""
    return {name: weight.detach().clone() for name, weight in trained.items() if _LORA_A not in name}


def _quick_attention(model: MultiVectorEncoder, settings: TrainingSettings) -> str:
    """Choose how attention is computed while the model is trained; what it was before."""
    before = str(text_transformer(model).auto_model.config._attn_implementation)
    if settings.bf16 and model.device.type == "cpu":
        # there the gradient of torch's fused attention takes about seven times as long as that of its parts
        _set_attention(model, "eager")
    return before


def _set_attention(model: MultiVectorEncoder, name: str) -> None:
    backbone: Any = text_transformer(model).auto_model
    if backbone.config._attn_implementation != name:
        backbone.set_attn_implementation(name)


def _leave_out_dropout(model: MultiVectorEncoder) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _load(
    checkpoint: Checkpoint,
    is_plain: bool,
    settings: TrainingSettings,
    texts: Sequence[str],
    progress: Progress | None,
) -> MultiVectorEncoder:
    if checkpoint.name == BUILTIN:
        return load_builtin(settings.device, revision=settings.revision or CURRENT)
    if is_plain:
        return project(checkpoint, texts, settings.dim, device=settings.device, progress=progress)
    return load_checkpoint(checkpoint, settings.device)
