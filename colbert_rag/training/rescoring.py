"""A stronger model's opinion of mined documents, for a student to learn from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.adapting import project
from colbert_rag.encoder.builtin import BUILTIN
from colbert_rag.encoder.loading import Checkpoint, explained, located, read_json, without_progress_bars
from colbert_rag.errors import InvalidTrainingError, ModelUnsupportedError
from colbert_rag.kernels import maxsim
from colbert_rag.training.examples import Example
from colbert_rag.types import Float32Array, Progress, TextEncoder, TokenVectors, silent

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = ["WIDE", "CrossEncoderTeacher", "MaxSimTeacher", "Teacher", "load_teacher", "rescore"]

WIDE = "wide"

# a document is one of several examples; of 150 tokens with 384 dimensions each, these are 230 MB
CACHED_DOCUMENTS = 2_000
# a word that a window cuts in two takes a few tokens more by itself
SPARE = 8


class Teacher(Protocol):
    """What says how well documents answer a query."""

    def score(self, query: str, documents: Sequence[str]) -> Float32Array:
        """Score documents: ``(N,) float32``, higher for better; differences between them are what is learnt."""


def load_teacher(name: str, *, base: str | None = None, device: str | None = None) -> Teacher:
    """Load a teacher.

    Args:
        name: A sentence-transformers cross-encoder, by its hub name or folder; or ``"wide"`` for MaxSim over the token
            vectors of a base model at their full width, before any projection.
        base: The base model of ``"wide"``: a hub name or a folder; None for the built-in model's backbone.
        device: Where it runs; None for the best there is.

    Raises:
        ModelNotFoundError: there is no such model, or it could not be fetched.
        ModelUnsupportedError: the model gives no single trained score for a pair of texts; the base model is no text
            encoder, or is a late-interaction model already.
        InvalidTrainingError: there is a base, and the teacher is another.
    """
    if name == WIDE:
        plain = project(Checkpoint(located(base or BUILTIN)), (), None, device=device)
        return MaxSimTeacher(Encoder(plain, precision="float32"))
    if base is not None:
        raise InvalidTrainingError(f"base is of the teacher {WIDE!r} alone; found it with {name!r}. Leave it out.")
    return CrossEncoderTeacher(_load_cross_encoder(Checkpoint(located(name)), device))


def rescore(examples: Sequence[Example], teacher: Teacher, progress: Progress | None = None) -> list[Example]:
    """Give each example the teacher's scores of its documents.

    Distilled from them, a model learns that a mined "negative" which answers the query is none: denoised supervision
    (ColBERTv2, arXiv 2112.01488, section 3.2, with a cross-encoder; RocketQA, arXiv 2010.08191, drops such negatives).

    Args:
        examples: With documents; scores that they have are replaced.
        teacher: What scores.
        progress: Told the stage "rescore" (documents).

    Raises:
        InvalidTrainingError: the teacher gives another number of scores than there are documents, or one that is not
            finite.
    """
    told = progress or silent
    total, done, rescored = sum(len(example.documents) for example in examples), 0, []
    for position, example in enumerate(examples):
        scores = np.asarray(teacher.score(example.query, example.documents), np.float32)
        if scores.shape != (len(example.documents),) or not np.isfinite(scores).all():
            raise InvalidTrainingError(
                f"Example {position}: expected {len(example.documents)} finite scores of the teacher, found an array "
                f"of shape {scores.shape} with {np.count_nonzero(~np.isfinite(scores))} that are not finite. Use "
                f"another teacher."
            )
        rescored.append(replace(example, scores=tuple(map(float, scores))))
        done += len(example.documents)
        told("rescore", done, total)
    return rescored


class MaxSimTeacher:
    """Scores by exact MaxSim of an encoder's vectors (ColBERT, arXiv 2004.12832, section 3.3).

    Args:
        encoder: Gives the vectors.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._kept: OrderedDict[str, TokenVectors] = OrderedDict()

    def score(self, query: str, documents: Sequence[str]) -> Float32Array:
        """Score documents of any length: ``(N,) float32``, at most the number of query tokens."""
        if not documents:
            return np.empty(0, np.float32)
        vectors = [document.vectors for document in self._encoded(documents)]
        offsets = np.cumsum([0, *map(len, vectors)]).astype(np.int64)
        [query_vectors] = self._encoder.encode_queries([query])
        return maxsim(query_vectors, np.concatenate(vectors), offsets)

    def _encoded(self, documents: Sequence[str]) -> list[TokenVectors]:
        new = [text for text in dict.fromkeys(documents) if text not in self._kept]
        self._kept.update(zip(new, self._encoder.encode_documents(new) if new else [], strict=True))
        for text in documents:
            self._kept.move_to_end(text)
        encoded = [self._kept[text] for text in documents]
        while len(self._kept) > CACHED_DOCUMENTS:
            self._kept.popitem(last=False)
        return encoded


class CrossEncoderTeacher:
    """Scores by a cross-encoder's logit, before any activation.

    A document that is longer than the model reads is cut into windows that overlap by half, and its best window is its
    score (MaxP: Dai and Callan, SIGIR 2019): nothing is cut off.

    Args:
        model: With one score, and a tokenizer that says where its tokens are in the text.

    Raises:
        ModelUnsupportedError: it has not.
    """

    def __init__(self, model: CrossEncoder) -> None:
        length = model.max_seq_length
        if model.num_labels != 1 or not model.tokenizer.is_fast or length is None:
            raise ModelUnsupportedError(
                f"A teacher must be a cross-encoder with one score, a fast tokenizer and a maximal length; found "
                f"{model.num_labels} scores, {type(model.tokenizer).__name__} and {length!r}. Name another model."
            )
        self._model, self._length = model, length

    def score(self, query: str, documents: Sequence[str]) -> Float32Array:
        """Score documents of any length: ``(N,) float32`` logits."""
        from torch.nn import Identity

        windows = [self._windows(query, document) for document in documents]
        inputs = [(query, window) for each in windows for window in each]
        logits = iter(self._model.predict(inputs, activation_fn=Identity(), show_progress_bar=False) if inputs else [])
        return np.array([max(float(next(logits)) for _ in each) for each in windows], np.float32)

    def _windows(self, query: str, document: str) -> list[str]:
        tokenizer = self._model.tokenizer
        n_query = len(tokenizer(query, add_special_tokens=False, verbose=False)["input_ids"])
        room = self._length - n_query - tokenizer.num_special_tokens_to_add(pair=True)
        spans = tokenizer(document, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return _cut(document, spans["offset_mapping"], room, query)


def _cut(document: str, spans: Sequence[tuple[int, int]], room: int, query: str) -> list[str]:
    """Windows of fewer than ``room`` tokens that cover a document."""
    if len(spans) <= room:
        return [document]
    room -= SPARE
    if room < 2:
        raise InvalidTrainingError(
            f"The query {query!r:.80} leaves a cross-encoder room for {max(room, 0)} tokens of a document of "
            f"{len(spans)}; expected at least 2. Use a shorter query or a teacher with a longer context."
        )
    last = len(spans) - room
    starts = [*range(0, last, room // 2), last]
    return [document[spans[start][0] : spans[start + room - 1][1]] for start in starts]


def _load_cross_encoder(checkpoint: Checkpoint, device: str | None) -> CrossEncoder:
    from sentence_transformers import CrossEncoder

    with explained(checkpoint):
        config = read_json(checkpoint, "config.json")
        if config is None:
            raise FileNotFoundError("config.json is not there")
        _check_scores(checkpoint.name, config.get("architectures") or [])
        with without_progress_bars():
            model: CrossEncoder = CrossEncoder(checkpoint.name, device=device)
    return model


def _check_scores(name: str, architectures: Sequence[str]) -> None:
    # of any other model, the layer that scores would be drawn at random
    if not any(str(each).endswith("ForSequenceClassification") for each in architectures):
        raise ModelUnsupportedError(
            f"{name} is no cross-encoder: expected an architecture that ends in ForSequenceClassification, found "
            f"{list(architectures)}. Name one such as cross-encoder/ms-marco-MiniLM-L6-v2, or {WIDE!r}."
        )
