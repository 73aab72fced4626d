"""Any text encoder as a late-interaction model, its token vectors projected on the axes of the user's own texts."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.builtin import BUILTIN, load_backbone
from colbert_rag.encoder.encoder import Encoder
from colbert_rag.encoder.loading import Checkpoint, located, without_progress_bars
from colbert_rag.encoder.plain import load_plain
from colbert_rag.encoder.settings import check_least, check_texts
from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.errors import IndexExistsError, InvalidDocumentError, ModelUnsupportedError, StorageError
from colbert_rag.types import Float32Array, Progress, TextEncoder

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Transformer

__all__ = [
    "adapt",
    "as_late_interaction",
    "check_target",
    "draw_sample",
    "fit",
    "load_whole",
    "principal_axes",
    "project",
]

CHUNK = 64  # documents encoded at a time


def adapt(
    model: str | os.PathLike[str] | None,
    texts: Sequence[str],
    path: str | os.PathLike[str],
    *,
    dim: int | None = 128,
    device: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
    max_tokens: int = 200_000,
    progress: Progress | None = None,
) -> None:
    """Write a late-interaction checkpoint made from a plain encoder; see ``Encoder.adapt``.

    Raises:
        IndexExistsError: something is at ``path`` already.
        InvalidDocumentError: a text is not a string of characters, or the texts are too few for ``dim`` axes.
        ModelNotFoundError: the model cannot be found.
        ModelUnsupportedError: the model is no text encoder, or a late-interaction model already.
        StorageError: the folder cannot be written.
    """
    folder = Path(path).expanduser().resolve()
    check_target(folder)
    _check_request(texts, dim, max_tokens)
    name = BUILTIN if model is None else _checked_name(model)
    checkpoint = Checkpoint(name, revision, trust_remote_code, local_files_only, token)
    _write(project(checkpoint, texts, dim, device=device, max_tokens=max_tokens, progress=progress), folder)


def project(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    dim: int | None,
    *,
    device: str | None = None,
    max_tokens: int = 200_000,
    progress: Progress | None = None,
) -> MultiVectorEncoder:
    """Make a plain encoder a late-interaction model, in memory; see ``Encoder.adapt``.

    Raises:
        InvalidDocumentError: the texts are too few for ``dim`` axes.
        ModelNotFoundError: the model cannot be found.
        ModelUnsupportedError: the model is no text encoder, or a late-interaction model already.
    """
    transformer, prompts = load_whole(checkpoint)
    plain = as_late_interaction(transformer, prompts, device)
    token_model = TokenModel(plain)
    if dim is None or dim >= token_model.dim:
        return plain
    # "auto" is measured: two runs could differ in it, and so in the weights that they write
    encoder = Encoder(plain, precision="float32")
    projection = fit(encoder, draw_sample(token_model, texts, max_tokens), dim, progress)
    return as_late_interaction(transformer, prompts, device, projection)


def load_whole(checkpoint: Checkpoint) -> tuple[Transformer, dict[str, str]]:
    """Load a plain encoder, or the built-in model's backbone, set to read all that its positions allow.

    Returns:
        The backbone, and the prompts by the names "query" and "document".

    Raises:
        ModelNotFoundError: the model cannot be found.
        ModelUnsupportedError: the model is no text encoder, or a late-interaction model already.
    """
    if checkpoint.name == BUILTIN:
        transformer = load_backbone(local_files_only=checkpoint.local_files_only)
        prompts = {"query": "", "document": ""}
    else:
        transformer, prompts = load_plain(checkpoint)
    # sentence-embedding models are cut far below what their position table holds
    transformer.max_seq_length = TokenModel(as_late_interaction(transformer, prompts)).context
    return transformer, prompts


def draw_sample(model: TokenModel, texts: Sequence[str], max_tokens: int) -> list[str]:
    """Draw whole documents, each text once, until they hold ``max_tokens``; equal texts give an equal sample.

    The document that reaches the bound is the last: the sample holds at most one document more than it.

    Args:
        model: Counts tokens.
        texts: The documents.
        max_tokens: Tokens after which no further document is drawn.
    """
    shuffled = list(dict.fromkeys(texts))
    random.Random(0).shuffle(shuffled)
    n_tokens = 0
    for count, text in enumerate(shuffled):
        if n_tokens >= max_tokens:
            return shuffled[:count]
        [tokens] = model.tokenise([text], "document")
        n_tokens += len(tokens.ids)
    return shuffled


def fit(encoder: TextEncoder, documents: Sequence[str], dim: int, progress: Progress | None = None) -> Float32Array:
    """Fit a projection ``(dim, D) float32`` to the token vectors of documents.

    Its rows are the uncentred principal components, the eigenvectors of the second-moment matrix of the
    unit vectors: no other projection to ``dim`` dimensions keeps more of the vectors' squared length.

    Args:
        encoder: Gives unit vectors of ``D`` dimensions.
        documents: Sampled documents.
        dim: Rows of the projection.
        progress: Called as ``progress("fit", done, total)``, both in documents.

    Raises:
        InvalidDocumentError: the documents have fewer token vectors than ``dim``.
    """
    moment, n_vectors = np.zeros((encoder.dim, encoder.dim)), 0
    for start in range(0, len(documents), CHUNK):
        chunk = documents[start : start + CHUNK]
        for document in encoder.encode_documents(chunk):
            vectors = document.vectors.astype(np.float64)
            moment += vectors.T @ vectors
            n_vectors += len(vectors)
        if progress is not None:
            progress("fit", start + len(chunk), len(documents))
    if n_vectors < dim:
        raise InvalidDocumentError(
            f"The sampled texts have {n_vectors:,} token vectors; {dim} dimensions need at least as many, and some "
            f"hundred times as many for a good fit. Pass more text (and leave max_tokens large), or dim=None."
        )
    return principal_axes(moment, dim)


def principal_axes(moment: NDArray[np.float64], dim: int) -> Float32Array:
    """The eigenvectors ``(dim, D) float32`` of a second-moment matrix, by falling eigenvalue.

    Signs are set so that the largest entry of each is positive: a rerun writes the same file.
    """
    _, vectors = np.linalg.eigh(moment)
    axes = vectors.T[::-1][:dim]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), np.float32)


def as_late_interaction(
    transformer: Transformer,
    prompts: dict[str, str] | None = None,
    device: str | None = None,
    projection: Float32Array | None = None,
) -> MultiVectorEncoder:
    """A model that gives one unit vector per token, and none to punctuation in documents.

    Args:
        transformer: The backbone, with ``D`` dimensions.
        prompts: Of queries and of documents.
        device: Where the model runs; None for the best there is.
        projection: ``(dim, D) float32``; None to keep the backbone's dimensions.
    """
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    modules: list[torch.nn.Module] = [transformer]
    if projection is not None:
        dense = Dense(
            in_features=projection.shape[1],
            out_features=projection.shape[0],
            bias=False,
            activation_function=torch.nn.Identity(),
            init_weight=torch.tensor(projection),
            module_input_name="token_embeddings",
        )
        modules.append(dense)
    # a word outside the vocabulary would stand for the unknown token
    assert transformer.tokenizer is not None
    vocabulary = transformer.tokenizer.get_vocab()
    modules.append(MultiVectorMask(skiplist_words=[sign for sign in string.punctuation if sign in vocabulary]))
    modules.append(Normalize(module_input_name="token_embeddings"))
    return MultiVectorEncoder(modules=modules, prompts=prompts, device=device)


def check_target(folder: Path) -> None:
    """Refuse a folder for a model that is neither new nor empty.

    Raises:
        IndexExistsError: something is there.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise IndexExistsError(
            f"{folder}: exists and is not an empty folder. Choose another path for the model, or load what is there "
            f"with Encoder({str(folder)!r})."
        )


def _check_request(texts: Sequence[str], dim: int | None, max_tokens: int) -> None:
    if dim is not None:
        check_least("dim", dim, 1)
    check_least("max_tokens", max_tokens, 1)
    check_texts(texts, "document", InvalidDocumentError)
    if dim is not None and not texts:
        raise InvalidDocumentError(
            "There are no texts to fit the projection to. Pass documents of your own, or dim=None for the model's "
            "full vectors, which need no fit."
        )


def _checked_name(model: object) -> str:
    if not isinstance(model, str | os.PathLike):
        raise ModelUnsupportedError(
            f"model is a {type(model).__name__}; expected a hub name or a folder, or None for the built-in backbone."
        )
    return located(os.fspath(model))


def _write(model: MultiVectorEncoder, folder: Path) -> None:
    """Save beside the folder and rename, so that it appears complete or not at all."""
    from safetensors import SafetensorError

    staging = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    try:
        staging.mkdir(parents=True)
        with without_progress_bars():
            model.save(str(staging), create_model_card=False)
        if folder.exists():
            folder.rmdir()  # empty, and Windows renames onto nothing
        staging.rename(folder)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"{folder}: the model cannot be written ({error}). Free space or permit it, and repeat."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
