"""The tensors of a checkpoint, compared with what a backbone needs before any of them is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    import torch

__all__ = ["PROJECTION", "Source", "TensorFiles", "fit"]

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PROJECTION = "linear.weight"
# what no token vector depends on; PROJECTION is read by itself
UNUSED = (PROJECTION, "pooler.", "embeddings.position_ids")
ADVICE = "Fetch the checkpoint again, or see whether config.json and the weights are of one model."


@dataclass(frozen=True, slots=True)
class Source:
    """Where a parameter comes from: a stored tensor, or one of equal parts along its first axis.

    Attributes:
        name: The stored tensor, without the prefix that a model with a head puts before the backbone's.
        part: Which part.
        n_parts: How many parts the stored tensor has.
    """

    name: str
    part: int = 0
    n_parts: int = 1


@dataclass(frozen=True, slots=True)
class TensorFiles:
    """Where each tensor of a checkpoint lies.

    Attributes:
        checkpoint: A hub name or a folder, for messages.
        files: The safetensors file that holds each tensor.
    """

    checkpoint: str
    files: Mapping[str, Path]

    @classmethod
    def find(cls, checkpoint: str, **options: Any) -> TensorFiles:
        """Find the safetensors of a checkpoint, in one file or in shards.

        Args:
            checkpoint: A hub name or a folder.
            options: What ``sentence_transformers.util.load_file_path`` takes: token, revision and the like.

        Raises:
            ModelUnsupportedError: the weights are not stored as safetensors, or a shard is missing.
        """
        from safetensors import safe_open
        from sentence_transformers.util import load_file_path

        if path := load_file_path(checkpoint, SAFETENSORS, **options):
            with safe_open(path, framework="pt") as stored:
                return cls(checkpoint, dict.fromkeys(stored.keys(), Path(path)))
        index = load_file_path(checkpoint, INDEX, **options)
        if index is None:
            raise _no_safetensors(checkpoint)
        shard_of = _shards(checkpoint, Path(index))
        paths = {shard: load_file_path(checkpoint, shard, **options) for shard in set(shard_of.values())}
        if missing := sorted(shard for shard, path in paths.items() if path is None):
            raise ModelUnsupportedError(
                f"{checkpoint}: {INDEX} names {missing[0]}, which is not there. Fetch it again."
            )
        return cls(checkpoint, {name: Path(str(paths[shard])) for name, shard in shard_of.items()})

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor as ``float32``, whatever it was stored as, into memory that the file no longer backs.

        Raises:
            ModelUnsupportedError: there is no such tensor.
        """
        import torch
        from safetensors import safe_open

        if name not in self.files:
            raise ModelUnsupportedError(f"{self.checkpoint}: the tensor {name} is missing. {ADVICE}")
        with safe_open(self.files[name], framework="pt") as stored:
            tensor: torch.Tensor = stored.get_tensor(name).to(torch.float32, copy=True)
        return tensor


def fit(
    wanted: Mapping[str, tuple[int, ...]], stored: TensorFiles, prefix: str, source_of: Callable[[str], Source]
) -> dict[str, torch.Tensor]:
    """Read the parameters of a backbone, refusing a checkpoint that lacks one or has others.

    Args:
        wanted: Name and shape of each parameter.
        stored: The checkpoint's tensors.
        prefix: What a model with a head puts before the backbone's names.
        source_of: Which stored tensor a parameter comes from, unless one is stored under its own name, as in a
            model that was saved again.

    Returns:
        ``float32`` tensors under the wanted names.

    Raises:
        ModelUnsupportedError: a tensor is missing, of another shape, or not known to this architecture.
    """
    full_names = {name.removeprefix(prefix): name for name in stored.files}
    sources = {name: Source(name) if name in full_names else source_of(name) for name in wanted}
    _refuse_unknown(stored, [full_names[name] for name in full_names.keys() - {s.name for s in sources.values()}])
    return {
        name: _read_part(stored, full_names.get(source.name, prefix + source.name), source, tuple(wanted[name]))
        for name, source in sources.items()
    }


def _read_part(stored: TensorFiles, full_name: str, source: Source, shape: tuple[int, ...]) -> torch.Tensor:
    tensor = stored.read(full_name)
    expected = (shape[0] * source.n_parts, *shape[1:])
    if tuple(tensor.shape) != expected:
        raise ModelUnsupportedError(
            f"{stored.checkpoint}: the tensor {full_name} has the shape {tuple(tensor.shape)}, but config.json asks "
            f"for {expected}. {ADVICE}"
        )
    return tensor.chunk(source.n_parts)[source.part].clone()


def _refuse_unknown(stored: TensorFiles, names: list[str]) -> None:
    unknown = sorted(name for name in names if not any(part in name for part in UNUSED))
    if unknown:
        raise ModelUnsupportedError(
            f"{stored.checkpoint}: {len(unknown)} tensors, {unknown[0]} among them, have no place in the architecture "
            f"that config.json describes; without them the vectors would be wrong. {ADVICE}"
        )


def _shards(checkpoint: str, index: Path) -> dict[str, str]:
    """The file of each tensor, by the index of a checkpoint in shards."""
    try:
        content: JsonValue = json.loads(index.read_text("utf-8"))
    except ValueError as error:
        raise ModelUnsupportedError(f"{checkpoint}: {INDEX} is no JSON: {error}. Fetch it again.") from error
    shard_of = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shard_of, dict) or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise ModelUnsupportedError(
            f"{checkpoint}: {INDEX} has no weight_map that names a file for each tensor. Fetch it again."
        )
    return shard_of


def _no_safetensors(checkpoint: str) -> ModelUnsupportedError:
    return ModelUnsupportedError(
        f"{checkpoint}: there is neither {SAFETENSORS} nor {INDEX}. Weights are read from safetensors only, since "
        f"reading pytorch_model.bin can run code. Convert it once, where you trust the file: "
        f"safetensors.torch.save_file(torch.load('pytorch_model.bin', weights_only=True), '{SAFETENSORS}')."
    )
