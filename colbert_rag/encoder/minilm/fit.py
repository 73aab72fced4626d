"""Fit the projection of the built-in model: principal components of the backbone's token vectors.

python -m colbert_rag.encoder.minilm.fit squad.jsonl.gz=600 reddit.jsonl.gz=250 --seed 0
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.builtin import PROJECTION, load_backbone
from colbert_rag.encoder.encoder import Encoder
from colbert_rag.types import Float32Array

__all__ = ["fit", "main", "principal_axes", "sample_documents"]

CHUNK = 64  # documents encoded at a time


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the samples, fit, and write ``projection.safetensors``."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="PATH=COUNT", help="jsonl.gz with a field positive")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=PROJECTION)
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    documents: list[str] = []
    for path, count in (file.rsplit("=", 1) for file in options.files):
        documents += sample_documents(Path(path), int(count), rng)
    save_file({"weight": fit(backbone_encoder(), documents, options.dim)}, options.output)


def sample_documents(path: Path, count: int, rng: random.Random) -> list[str]:
    """Draw so many different documents from one file, or all where it has fewer.

    Args:
        path: Gzipped JSON lines with the field ``positive``.
        count: How many.
        rng: Shuffles the lines.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["positive"] for line in lines]
    rng.shuffle(texts)
    return list(dict.fromkeys(texts))[:count]


def backbone_encoder() -> Encoder:
    """The backbone with the built-in model's skiplist and no projection."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    mask = MultiVectorMask(skiplist_words=list(string.punctuation))
    normalize = Normalize(module_input_name="token_embeddings")
    return Encoder(MultiVectorEncoder(modules=[load_backbone(), mask, normalize]))


def fit(encoder: Encoder, documents: Sequence[str], dim: int) -> Float32Array:
    """Fit a projection ``(dim, D) float32`` to the token vectors of documents.

    Args:
        encoder: Gives unit vectors of ``D`` dimensions.
        documents: Sampled documents.
        dim: Rows of the projection.
    """
    moment = np.zeros((encoder.dim, encoder.dim))
    for start in range(0, len(documents), CHUNK):
        for document in encoder.encode_documents(documents[start : start + CHUNK]):
            vectors = document.vectors.astype(np.float64)
            moment += vectors.T @ vectors
    return principal_axes(moment, dim)


def principal_axes(moment: NDArray[np.float64], dim: int) -> Float32Array:
    """The eigenvectors ``(dim, D) float32`` of a second-moment matrix, by falling eigenvalue.

    Signs are set so that the largest entry of each is positive: a rerun writes the same file.
    """
    _, vectors = np.linalg.eigh(moment)
    axes = vectors.T[::-1][:dim]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), np.float32)


if __name__ == "__main__":
    main()
