"""Distillation over the documents of a batch, which costs no document beyond those that are encoded anyway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.merged_forward import embed_columns_padded
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores
from sentence_transformers.util import stack_padded_token_embeddings
from torch import Tensor, nn

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["InBatchDistilLoss"]


class InBatchDistilLoss(nn.Module):
    """KL divergence of each query's softmax over all documents of the batch to that of a teacher.

    As the distillation of ColBERTv2 (arXiv 2112.01488, section 3.2), with the batch instead of mined documents.

    Args:
        model: Learns.
        teacher: A model over the same tokenizer; it stays as it is. Where its backbone is the model's own, which is
            then not trained, a batch passes through it once for both.
        temperature: The scores of both are divided by it.
        whole_text_weight: Of the cosine of whole texts that is added to the teacher's MaxSim. A text is the mean of
            what the teacher's backbone gives for its tokens, as sentence-embedding models are trained to be compared:
            it knows a paraphrase that no token of the text knows.
    """

    def __init__(
        self,
        model: MultiVectorEncoder,
        teacher: MultiVectorEncoder,
        temperature: float = 1.0,
        whole_text_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.whole_text_weight = whole_text_weight
        # in a list, so that it is no part of what is trained and saved
        self._teacher = [teacher.eval().requires_grad_(False)]
        self._taught: tuple[Tensor, Tensor] | None = None

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """Mean loss of a batch: the query's column first, then the documents'."""
        columns = [dict(features) for features in sentence_features]
        is_shared = self._teacher[0][0] is self.model[0]
        with _passed_once(self.model[0]) if is_shared else nullcontext():
            wanted = torch.log_softmax(self._teacher_scores(columns) / self.temperature, dim=-1)
            found = torch.log_softmax(_scores(self.model, columns) / self.temperature, dim=-1)
        divergence = nn.functional.kl_div(found, wanted, log_target=True, reduction="batchmean")
        return divergence * self.temperature**2

    def _teacher_scores(self, columns: Sequence[dict[str, Any]]) -> Tensor:
        """``(B, N)``; a batch that is asked for again, for other dimensions, is not encoded again."""
        batch = columns[0]["input_ids"]
        if self._taught is None or self._taught[0] is not batch:
            with torch.no_grad(), _whole_texts(self._teacher[0]) as whole:
                scores = _scores(self._teacher[0], [dict(column) for column in columns])
                query, *documents = whole
                self._taught = batch, scores + self.whole_text_weight * (query @ torch.cat(documents).T)
        return self._taught[1]


@contextmanager
def _passed_once(backbone: Any) -> Iterator[None]:
    """Let a backbone give what it gave before, where it is asked for the same tokens again."""
    original = backbone.forward
    known: list[tuple[Tensor, dict[str, Any]]] = []

    def forward(features: dict[str, Any], **options: Any) -> dict[str, Any]:
        ids = features["input_ids"]
        found = next((output for given, output in known if torch.equal(given, ids)), None)
        if found is None:
            # a copy: the modules that follow write into what they are given
            found = dict(original(features, **options))
            known.append((ids, found))
        return dict(found)

    backbone.forward = forward
    try:
        yield
    finally:
        backbone.forward = original


@contextmanager
def _whole_texts(model: MultiVectorEncoder) -> Iterator[list[Tensor]]:
    """Collect a unit vector for each text that the model encodes, ``(N, D)`` for each of its calls."""
    collected: list[Tensor] = []

    def collect(_: nn.Module, given: tuple[dict[str, Any], ...], output: dict[str, Any]) -> None:
        mask = given[0]["attention_mask"][..., None].to(output["token_embeddings"].dtype)
        collected.append(nn.functional.normalize((output["token_embeddings"] * mask).sum(dim=1), dim=-1))

    hook = model[0].register_forward_hook(collect)
    try:
        yield collected
    finally:
        hook.remove()


def _scores(model: MultiVectorEncoder, columns: Sequence[dict[str, Any]]) -> Tensor:
    """Every query with every document of the batch, ``(B, N)``."""
    query, *documents = columns
    encoded = model(query, task=query.get("task", "query"))
    vectors, mask = stack_padded_token_embeddings(*embed_columns_padded(model, documents, task_default="document"))
    scores: Tensor = colbert_scores(
        encoded["token_embeddings"],
        vectors,
        queries_mask=encoded["attention_mask"].bool(),
        documents_mask=mask,
    )
    return scores
