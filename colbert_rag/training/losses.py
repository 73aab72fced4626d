"""From a loss's name to sentence-transformers' loss; the pairwise one, which it lacks, is here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sentence_transformers.base.losses.merged_forward import embed_columns_padded
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorDistillKLDivLoss,
    MultiVectorMarginMSELoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from sentence_transformers.util import stack_padded_token_embeddings
from torch import Tensor, nn

from colbert_rag.encoder.adapting import as_late_interaction, project
from colbert_rag.encoder.loading import Checkpoint, located, text_transformer
from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.in_batch_distil import InBatchDistilLoss
from colbert_rag.training.settings import TrainingSettings
from colbert_rag.training.shared_forward import SharedForwardLoss

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["PairwiseSoftmaxLoss", "make_loss", "trained_dims"]


class PairwiseSoftmaxLoss(nn.Module):
    """Softmax cross-entropy over the scores of a positive and a negative, the mean over all negatives.

    Paper: ColBERT (arXiv 2004.12832), section 3.3.

    Args:
        model: Encodes the columns.
        temperature: Scores are divided by it.
    """

    def __init__(self, model: MultiVectorEncoder, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """Mean loss of a batch: the query's column first, then the positives', then the negatives'."""
        query, *documents = [dict(features) for features in sentence_features]
        encoded = self.model(query, task=query.get("task", "query"))
        vectors, mask = stack_padded_token_embeddings(
            *embed_columns_padded(self.model, documents, task_default="document")
        )
        scores = colbert_kd_scores(
            encoded["token_embeddings"],
            vectors,
            queries_mask=encoded["attention_mask"].bool(),
            documents_mask=mask,
        )
        margins = (scores[:, :1] - scores[:, 1:]) / self.temperature
        return nn.functional.softplus(-margins).mean()


def make_loss(model: MultiVectorEncoder, settings: TrainingSettings) -> nn.Module:
    """The loss that the settings name, over all dimensions and the leading ones that they name.

    Raises:
        InvalidTrainingError: a leading dimension is not below those of the model.
    """
    dims = trained_dims(model, settings)
    if settings.loss_name == "cached":
        cached = CachedMultiVectorMultipleNegativesRankingLoss(
            model, scale=1 / settings.temperature, mini_batch_size=settings.mini_batch_size
        )
        # it encodes twice, so a wrapper must reach its own scoring: theirs does, for token vectors too
        wrapper: Any = MatryoshkaLoss
        wrapped: nn.Module = cached if len(dims) == 1 else wrapper(model, cached, dims)
        return wrapped
    terms = _terms(model, settings)
    return terms[0][0] if len(terms) == len(dims) == 1 else SharedForwardLoss(model, terms, dims)


def trained_dims(model: MultiVectorEncoder, settings: TrainingSettings) -> list[int]:
    """All dimensions of the model, and the leading ones that are trained beside them, falling.

    Raises:
        InvalidTrainingError: a leading dimension is not below those of the model.
    """
    width = model.get_embedding_dimension()
    assert width is not None
    if any(dim >= width for dim in settings.matryoshka_dims):
        raise InvalidTrainingError(
            f"matryoshka_dims={settings.matryoshka_dims} names leading dimensions that are trained beside all "
            f"{width} of the model; expected each below {width}. Leave the others out."
        )
    return sorted({width, *settings.matryoshka_dims}, reverse=True)


def _terms(model: MultiVectorEncoder, settings: TrainingSettings) -> list[tuple[nn.Module, float]]:
    temperature = settings.temperature
    in_batch = MultiVectorMultipleNegativesRankingLoss(model, scale=1 / temperature)
    if settings.loss_name == "in-batch":
        return [(in_batch, 1.0)]
    if settings.loss_name == "pairwise":
        return [(PairwiseSoftmaxLoss(model, temperature), 1.0)]
    if settings.loss_name == "in-batch-distil":
        taught = InBatchDistilLoss(model, _wide(model, settings), temperature, settings.whole_text_weight)
        return [(taught, 1.0)] + ([(in_batch, settings.in_batch_weight)] if settings.in_batch_weight else [])
    if settings.loss_name == "margin-mse":
        return [(MultiVectorMarginMSELoss(model), 1.0)]
    divergence = MultiVectorDistillKLDivLoss(model, temperature=temperature)
    return [(divergence, 1.0)] + ([(in_batch, settings.in_batch_weight)] if settings.in_batch_weight else [])


def _wide(model: MultiVectorEncoder, settings: TrainingSettings) -> MultiVectorEncoder:
    """The plain base before any projection."""
    if settings.adapted_layers == 0 and settings.rank is not None:
        # the model's own backbone, which stays as the base's
        return as_late_interaction(text_transformer(model), device=str(model.device))
    return project(Checkpoint(located(settings.base), settings.revision), (), None, device=settings.device)
