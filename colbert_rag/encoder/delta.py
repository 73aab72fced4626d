"""A trained model as its small difference to the model that it was made from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_rag.encoder.adapting import as_late_interaction, load_whole
from colbert_rag.encoder.builtin import BUILTIN, load_builtin
from colbert_rag.encoder.fingerprint import weights_digest
from colbert_rag.encoder.loading import Checkpoint, load_checkpoint, located, text_transformer
from colbert_rag.errors import ModelNotFoundError, ModelUnsupportedError, StorageError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import MultiVectorEncoder

__all__ = ["DELTA_FORMAT", "BaseModel", "base_digest", "load_delta", "projections", "save_delta"]

DELTA_FORMAT = "colbert-rag-delta-1"
_A, _B, _PROJECTION = ".lora_a", ".lora_b", "projection."
_KEYS = ("format", "base", "base_sha256", "is_plain", "scaling")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What a delta is the difference to.

    Attributes:
        name: ``"builtin"``, a hub name or a folder.
        sha256: Of its backbone's weights, by ``base_digest``.
        is_plain: Whether it is a plain text encoder, and the projection is all the delta's own.
    """

    name: str
    sha256: str
    is_plain: bool


def base_digest(model: MultiVectorEncoder) -> str:
    """Sha256 over the weights of the backbone, before any adapter is put into it."""
    return weights_digest(text_transformer(model).auto_model.state_dict())


def projections(model: MultiVectorEncoder) -> Iterator[tuple[str, Any]]:
    """The projection modules of a model, each with the name that its weights have in a delta."""
    from sentence_transformers.base.modules import Dense

    for position, module in enumerate(model):
        if isinstance(module, Dense):
            yield f"{_PROJECTION}{position}", module.linear


def save_delta(
    path: Path,
    base: BaseModel,
    lora: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    scaling: float,
    model: MultiVectorEncoder,
) -> None:
    """Write low-rank matrices and projections as float16 into one safetensors file.

    Args:
        path: The file.
        base: What they change.
        lora: Name of a weight of the backbone ``(m, n)`` -> A ``(r, n)`` and B ``(m, r)``; ``scaling * B @ A`` is
            added to it.
        scaling: As the matrices were trained with.
        model: Whose projections are written.

    Raises:
        StorageError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"{name}{_A}": a for name, (a, _) in lora.items()}
    tensors |= {f"{name}{_B}": b for name, (_, b) in lora.items()}
    for name, linear in projections(model):
        tensors |= {f"{name}.{key}": value for key, value in linear.state_dict().items()}
    metadata = {
        **{"format": DELTA_FORMAT, "base": base.name, "base_sha256": base.sha256},
        **{"is_plain": json.dumps(base.is_plain), "scaling": json.dumps(scaling)},
    }
    try:
        save_file({name: tensor.detach().cpu().half().contiguous() for name, tensor in tensors.items()}, path, metadata)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path}: the delta cannot be written ({error}). Free space, or permit it.") from error


def load_delta(
    path: str | os.PathLike[str], device: str | None = None, *, base: str | None = None, local_files_only: bool = False
) -> MultiVectorEncoder:
    """Load the base of a delta and add the delta to its weights.

    Args:
        path: The file.
        device: Where the model runs; None for the best there is.
        base: Where the base is now, if it has moved; None for the name in the file.
        local_files_only: Whether the hub must not be asked.

    Raises:
        ModelNotFoundError: the file or the base cannot be found.
        ModelUnsupportedError: the file is no delta, or is the delta of another model than the base.
    """
    metadata, tensors = _read(Path(path))
    name = located(base or metadata["base"])
    if json.loads(metadata["is_plain"]):
        # a projection follows the backbone
        weight = tensors.get(f"{_PROJECTION}1.weight")
        projection = None if weight is None else weight.float().numpy()
        transformer, prompts = load_whole(Checkpoint(name, local_files_only=local_files_only))
        model = as_late_interaction(transformer, prompts, device, projection)
    elif name == BUILTIN:
        model = load_builtin(device, local_files_only=local_files_only)
    else:
        model = load_checkpoint(Checkpoint(name, local_files_only=local_files_only), device)
    found = base_digest(model)
    if found != metadata["base_sha256"]:
        raise ModelUnsupportedError(
            f"{path} is a delta to weights with sha256 {metadata['base_sha256']}; those of {name!r} have {found}. "
            f"Pass base= with the model that it was trained from."
        )
    _add(model, tensors, json.loads(metadata["scaling"]), path)
    return model


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"{path}: there is no such file; expected a delta in safetensors format.") from error
    except (OSError, SafetensorError) as error:
        raise ModelUnsupportedError(f"{path} is no safetensors file ({error}); fetch or train it again.") from error
    if metadata.get("format") != DELTA_FORMAT or not set(_KEYS) <= metadata.keys():
        raise ModelUnsupportedError(
            f"{path} is no delta that this version reads: format {DELTA_FORMAT!r} expected, "
            f"{metadata.get('format')!r} found. A whole model is loaded by its folder."
        )
    return metadata, tensors


def _add(model: MultiVectorEncoder, tensors: dict[str, torch.Tensor], scaling: float, path: object) -> None:
    import torch

    backbone = dict(text_transformer(model).auto_model.named_parameters())
    linears = dict(projections(model))
    try:
        with torch.no_grad():
            for name, tensor in tensors.items():
                if name.endswith(_A):
                    weight = backbone[name.removesuffix(_A)]
                    b = tensors[name.removesuffix(_A) + _B]
                    # in float32 and in this order, as peft merges
                    weight.add_(((b.float() @ tensor.float()) * scaling).to(weight))
                elif name.startswith(_PROJECTION):
                    linear, _, key = name.rpartition(".")
                    getattr(linears[linear], key).copy_(tensor)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise ModelUnsupportedError(
            f"{path}: its tensors do not fit the model ({type(error).__name__}: {error}). Train the delta again."
        ) from error
