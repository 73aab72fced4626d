"""Fit the first projection of the built-in model: principal components of the backbone's token vectors.

python -m colbert_rag.encoder.minilm.fit squad.jsonl.gz=600 reddit.jsonl.gz=250 --seed 0
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

from colbert_rag.encoder.adapting import as_late_interaction, fit, principal_axes
from colbert_rag.encoder.builtin import FIRST, REVISIONS, load_backbone
from colbert_rag.encoder.encoder import Encoder

__all__ = ["fit", "main", "principal_axes", "sample_documents"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the samples, fit, and write the projection."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="PATH=COUNT", help="jsonl.gz with a field positive")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=REVISIONS[FIRST].path)
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
    return Encoder(as_late_interaction(load_backbone()), precision="float32")


if __name__ == "__main__":
    main()
