"""What a revision of the built-in model adds to its backbone, read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colbert_rag.types import Float16Array, Float32Array

__all__ = ["Parts", "read_parts"]

_A, _B, _PROJECTION, _DIRECTION = ".lora_a", ".lora_b", "projection.1.weight", "query_weighting.direction"


@dataclass(frozen=True, slots=True)
class Parts:
    """A projection, low-rank updates of the backbone, and what weighs queries.

    Attributes:
        projection: ``(dim, D)``.
        updates: Name of a weight of the backbone ``(m, n)`` -> A ``(r, n)`` and B ``(m, r)``; ``scaling * B @ A`` is
            added to it.
        scaling: Of all updates.
        direction: ``(dim,)``, as ``token_weights`` takes it; None where all tokens count alike.
    """

    projection: Float32Array
    updates: dict[str, tuple[Float16Array, Float16Array]]
    scaling: float
    direction: Float32Array | None


def read_parts(path: Path, query_weights: Path | None = None) -> Parts:
    """Read files of this package.

    Args:
        path: A delta as ``save_delta`` writes it, or a projection alone.
        query_weights: The direction that comes with a projection, if there is one.
    """
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    if "weight" in tensors:
        direction = None if query_weights is None else load_file(query_weights)["direction"]
        return Parts(tensors["weight"], {}, 1.0, direction)
    names = sorted(name.removesuffix(_A) for name in tensors if name.endswith(_A))
    return Parts(
        tensors[_PROJECTION].astype(np.float32),
        {name: (tensors[f"{name}{_A}"], tensors[f"{name}{_B}"]) for name in names},
        float(json.loads(metadata["scaling"])),
        tensors[_DIRECTION].astype(np.float32),
    )
