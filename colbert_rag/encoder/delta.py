"""A trained model as its small difference to the model that it was made from."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_rag.encoder.adapting import as_late_interaction, load_whole
from colbert_rag.encoder.builtin import BUILTIN, CURRENT, UNWEIGHTED, load_builtin
from colbert_rag.encoder.fingerprint import weights_digest
from colbert_rag.encoder.loading import Checkpoint, is_delta, load_checkpoint, located, text_transformer
from colbert_rag.encoder.low_rank import add_low_rank
from colbert_rag.encoder.query_weighting import query_weighting, weigh_alike, weigh_queries
from colbert_rag.errors import ModelNotFoundError, ModelUnsupportedError, StorageError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import MultiVectorEncoder

__all__ = ["DELTA_FORMAT", "BaseModel", "base_digest", "load_delta", "projections", "save_delta"]

DELTA_FORMAT = "colbert-rag-delta-1"
_A, _B, _PROJECTION, _DIRECTION = ".lora_a", ".lora_b", "projection.", "query_weighting.direction"
_KEYS = ("format", "base", "base_sha256", "is_plain", "scaling", "tensors")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What a delta is the difference to.

    Attributes:
        name: ``"builtin"``, a hub name or a folder.
        sha256: Of its backbone's weights and its prompts, by ``base_digest``.
        is_plain: Whether it is a plain text encoder, and the projection is all the delta's own.
    """

    name: str
    sha256: str
    is_plain: bool


def base_digest(model: MultiVectorEncoder) -> str:
    """Sha256 over the weights of the backbone, before any adapter is put into it, and over the prompts."""
    weights = weights_digest(text_transformer(model).auto_model.state_dict())
    return hashlib.sha256(json.dumps([weights, model.prompts], sort_keys=True).encode()).hexdigest()


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
    """Write low-rank matrices, projections and what weighs queries as float16 into one safetensors file.

    Args:
        path: The file.
        base: What they change.
        lora: Name of a weight of the backbone ``(m, n)`` -> A ``(r, n)`` and B ``(m, r)``; ``scaling * B @ A`` is
            added to it.
        scaling: As the matrices were trained with.
        model: Whose projections and weighting are written.

    Raises:
        StorageError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"{name}{_A}": a for name, (a, _) in lora.items()}
    tensors |= {f"{name}{_B}": b for name, (_, b) in lora.items()}
    tensors |= _projected(model)
    if weighting := query_weighting(model):
        tensors[_DIRECTION] = weighting.direction
    metadata = {
        **{"format": DELTA_FORMAT, "base": base.name, "base_sha256": base.sha256},
        **{"is_plain": json.dumps(base.is_plain), "scaling": json.dumps(scaling)},
        "tensors": json.dumps(sorted(tensors)),
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
        ModelUnsupportedError: the file is no delta or not whole, or is the delta of another model than the base.
    """
    delta = _read(Path(path))
    name = located(base or delta.base.name)
    if is_delta(name):
        raise ModelUnsupportedError(
            f"{path} names {name!r} as its base, which is a delta too; expected a whole model. Pass it to "
            f"load_delta as base=."
        )
    model = _load_base(delta, name, device, local_files_only)
    found = base_digest(model)
    if found != delta.base.sha256:
        raise ModelUnsupportedError(
            f"{path} is a delta to weights and prompts with sha256 {delta.base.sha256}; those of {name!r} have "
            f"{found}. Name the model that it was trained from: Encoder(load_delta({str(path)!r}, base=...))."
        )
    _check_shapes(delta, model)
    _add(delta, model)
    return model


@dataclass(frozen=True, slots=True)
class _Delta:
    """A file that was found to be whole; names and matrices as ``save_delta`` takes them."""

    path: Path
    base: BaseModel
    scaling: float
    lora: dict[str, tuple[torch.Tensor, torch.Tensor]]
    projections: dict[str, torch.Tensor]
    direction: torch.Tensor | None


def _read(path: Path) -> _Delta:
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
    try:
        return _parse(path, metadata, tensors)
    except (ValueError, RecursionError) as error:
        raise ModelUnsupportedError(f"{path} is no whole delta: {error}. Fetch or train it again.") from error


def _parse(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> _Delta:
    is_plain, names = json.loads(metadata["is_plain"]), json.loads(metadata["tensors"])
    scaling = json.loads(metadata["scaling"], parse_int=float)
    if not isinstance(is_plain, bool) or not isinstance(scaling, float) or not math.isfinite(scaling):
        raise ValueError(
            f"is_plain is {metadata['is_plain']:.80} and scaling {metadata['scaling']:.80}; expected true or false, "
            f"and a finite number"
        )
    if not metadata["base"]:
        raise ValueError("it names no base")
    if names != sorted(tensors):
        raise ValueError(f"it holds {len(tensors)} tensors, and not those that it lists")
    for name, tensor in tensors.items():
        _check_numbers(name, tensor)
    lora = _pairs(tensors)
    rest = {name: tensor for name, tensor in tensors.items() if not name.endswith((_A, _B))}
    direction = rest.pop(_DIRECTION, None)
    if strange := [name for name in rest if not name.startswith(_PROJECTION)]:
        raise ValueError(f"{strange[0]!r} is neither a low-rank matrix nor a projection")
    return _Delta(path, BaseModel(metadata["base"], metadata["base_sha256"], is_plain), scaling, lora, rest, direction)


def _check_numbers(name: str, tensor: torch.Tensor) -> None:
    import torch

    if tensor.dtype != torch.float16 or not tensor.isfinite().all():
        raise ValueError(f"{name} has values of {tensor.dtype}; expected torch.float16, all of them finite")


def _pairs(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    pairs = {}
    for name in sorted({name[: -len(_A)] for name in tensors if name.endswith((_A, _B))}):
        a, b = tensors.get(f"{name}{_A}"), tensors.get(f"{name}{_B}")
        if a is None or b is None:
            raise ValueError(f"{name} has one low-rank matrix; expected two")
        if a.ndim != 2 or b.ndim != 2 or len(a) == 0 or len(a) != b.shape[1]:
            raise ValueError(
                f"the low-rank matrices of {name} have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected (r, n) "
                f"and (m, r)"
            )
        pairs[name] = a, b
    return pairs


def _load_base(delta: _Delta, name: str, device: str | None, local_files_only: bool) -> MultiVectorEncoder:
    checkpoint = Checkpoint(name, local_files_only=local_files_only)
    if not delta.base.is_plain:
        if name == BUILTIN:
            return _load_builtin(delta.base.sha256, device, local_files_only)
        return load_checkpoint(checkpoint, device)
    transformer, prompts = load_whole(checkpoint)
    # the projection follows the backbone
    weight = delta.projections.get(f"{_PROJECTION}1.weight")
    width = transformer.get_embedding_dimension()
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != width):
        raise _unfit(delta, f"{_PROJECTION}1.weight", tuple(weight.shape), f"(dim, {width})")
    return as_late_interaction(transformer, prompts, device, None if weight is None else weight.float().numpy())


def _load_builtin(sha256: str, device: str | None, local_files_only: bool) -> MultiVectorEncoder:
    """The built-in model with the backbone that a digest names, if a revision has it; projection and weights follow."""
    for revision in (CURRENT, UNWEIGHTED):
        model = load_builtin(device, revision=revision, local_files_only=local_files_only)
        if base_digest(model) == sha256:
            break
    return model


def _check_shapes(delta: _Delta, model: MultiVectorEncoder) -> None:
    """Refuse all but the very shapes of the model: what torch would broadcast, too."""
    weights = {name: tuple(weight.shape) for name, weight in _backbone(model).items()}
    for name, (a, b) in delta.lora.items():
        if weights.get(name) != (len(b), a.shape[1]):
            raise _unfit(delta, name, (len(b), a.shape[1]), weights.get(name))
    expected = {name: tuple(weight.shape) for name, weight in _projected(model).items()}
    found = {name: tuple(weight.shape) for name, weight in delta.projections.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise _unfit(delta, name, found.get(name), expected.get(name))
    width = model.get_embedding_dimension()
    if delta.direction is not None and delta.direction.shape != (width,):
        raise _unfit(delta, _DIRECTION, tuple(delta.direction.shape), (width,))


def _unfit(delta: _Delta, name: str, found: object, expected: object) -> ModelUnsupportedError:
    return ModelUnsupportedError(
        f"{delta.path}: its tensors do not fit the model: {name} has the shape {found}, {expected} expected (None "
        f"where there is none). Train the delta again."
    )


def _add(delta: _Delta, model: MultiVectorEncoder) -> None:
    import torch

    weights, projected = _backbone(model), _projected(model)
    with torch.no_grad():
        for name, (a, b) in delta.lora.items():
            add_low_rank(weights[name], a, b, delta.scaling)
        for name, tensor in delta.projections.items():
            projected[name].copy_(tensor)
    if delta.direction is None:
        weigh_alike(model)
    else:
        weigh_queries(model).load_state_dict({"direction": delta.direction.float()})


def _backbone(model: MultiVectorEncoder) -> dict[str, torch.Tensor]:
    return dict(text_transformer(model).auto_model.named_parameters())


def _projected(model: MultiVectorEncoder) -> dict[str, torch.Tensor]:
    """The weights of the projections, by their names in a delta."""
    return {f"{name}.{key}": value for name, linear in projections(model) for key, value in linear.state_dict().items()}
