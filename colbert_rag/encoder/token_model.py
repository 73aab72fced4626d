"""A MultiVectorEncoder as a function from token ids to token vectors, one caller at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.fair_lock import FairLock
from colbert_rag.encoder.loading import text_transformer
from colbert_rag.encoder.precision import Precision, takes_bfloat16
from colbert_rag.encoder.query_weighting import query_weighting
from colbert_rag.encoder.settings import checked_dim
from colbert_rag.encoder.tokenise import IdArray, Tokeniser, Tokens, check_ids, table_size
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import Float32Array

if TYPE_CHECKING:
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Transformer

__all__ = ["Encoded", "Task", "TokenModel"]

Task: TypeAlias = Literal["document", "query"]
Encoded: TypeAlias = tuple[NDArray[Any], NDArray[np.bool_]]

DEFAULT_CONTEXT = 512  # of a backbone that states none
UNLIMITED = 10**9
QUERY_BATCH = 32  # queries encoded per turn of the lock, so that a document batch never waits long


class TokenModel:
    """What the encoder asks of a model, behind a lock held for one mini-batch.

    Args:
        model: The loaded model; it is put into evaluation mode.
        dim: Leading dimensions that are kept; None for all of them.
        precision: In which documents are encoded.

    Raises:
        ModelUnsupportedError: the model is built in a way that token spans cannot follow.
    """

    def __init__(self, model: MultiVectorEncoder, dim: int | None = None, precision: Precision = "float32") -> None:
        _check_keeps_tokens(model)
        self._model = model
        self._transformer = text_transformer(model)
        self._lock = FairLock()
        self._precision: Precision = precision
        self._tokeniser = Tokeniser.of(model.tokenizer)
        self._n_embeddings = table_size(self._transformer)
        self._pad_id = _pad_id(model)
        self._has_token_types = self._check_tokeniser()
        self._weighs_queries = query_weighting(model) is not None
        self.context = _context(self._transformer)
        full = model.get_embedding_dimension()
        assert full is not None
        self.dim = checked_dim(dim, full)

    @property
    def model(self) -> MultiVectorEncoder:
        """The wrapped model."""
        return self._model

    @property
    def device(self) -> str:
        """Where it runs: "cpu", "cuda:0"."""
        return str(self._model.device)

    @property
    def is_on_cpu(self) -> bool:
        """Whether the model runs on the CPU."""
        return self._model.device.type == "cpu"

    @property
    def prompts(self) -> Mapping[Task, str]:
        """The prompts that sentence-transformers would choose for each task."""
        prompts = {name: prompt or "" for name, prompt in self._model.prompts.items()}
        default = prompts.get(self._model.default_prompt_name or "", "")
        document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), default)
        return {"document": document, "query": prompts.get("query", default)}

    @property
    def query_expansion(self) -> dict[str, Any] | None:
        """How queries are widened with mask tokens; None where they are not."""
        expansion = self._transformer.query_expansion
        return None if expansion is None else dict(expansion)

    @property
    def query_length(self) -> int | None:
        """Width that queries are expanded to, or else the model's own query length if it has one."""
        expansion = self.query_expansion
        length = self._transformer.query_length if expansion is None else expansion["length"]
        return None if length is None else int(length)

    def fits_query(self, n_tokens: int) -> bool:
        """Whether the model's own query path takes so many tokens without cutting any."""
        expansion = self.query_expansion
        if expansion is not None and expansion["strategy"] == "fixed":
            # at exactly this length nothing is expanded, and sentence-transformers warns of a cut
            return n_tokens < int(expansion["length"])
        limit = self._transformer.query_length or self._transformer.max_seq_length or self.context
        return n_tokens <= max(limit, self.query_length or 0)

    def tokenise(self, texts: Sequence[str], task: Task) -> list[Tokens]:
        """Tokenise texts behind the task's prompt, at full length; needs no lock.

        Raises:
            ModelUnsupportedError: a token has no embedding.
        """
        tokenised = self._tokeniser.tokenise(texts, self.prompts[task])
        check_ids(max((int(tokens.ids.max(initial=0)) for tokens in tokenised), default=0), self._n_embeddings)
        return tokenised

    def encode_ids(self, batch: Sequence[IdArray], task: Task) -> list[Encoded]:
        """Run sequences of token ids through all modules.

        Args:
            batch: ``(T,) int64`` each, at most ``context`` long.
            task: Chooses the skiplist.

        Returns:
            For each sequence the vectors ``(T, D)``, ``float16`` for documents and ``float32`` for queries, of unit
            length unless the model weighs the tokens of queries, and which of its tokens the model keeps ``(T,) bool``.
        """
        import torch

        device = self._model.device
        is_half = task == "document" and takes_bfloat16(self._precision, device)
        half = torch.autocast(device.type, torch.bfloat16, enabled=is_half)
        with self._lock, torch.inference_mode(), half:
            output = self._model.eval()(self._features(batch), task=task)
            vectors = self._finish(output["token_embeddings"], task)
            vectors = vectors.half() if task == "document" else vectors
            rows, masks = vectors.cpu().numpy(), output["attention_mask"].bool().cpu().numpy()
        # copies: a view would keep the padded batch in memory
        return [
            (row[: len(ids)].copy(), mask[: len(ids)].copy()) for ids, row, mask in zip(batch, rows, masks, strict=True)
        ]

    def encode_query_texts(self, texts: Sequence[str]) -> list[Float32Array]:
        """Encode queries by the model's own path: prompt, expansion, masks; ``(Q, D) float32`` each."""
        results: list[Float32Array] = []
        for start in range(0, len(texts), QUERY_BATCH):
            with self._lock:
                vectors = self._model.encode_query(
                    list(texts[start : start + QUERY_BATCH]), batch_size=QUERY_BATCH, show_progress_bar=False
                )
                results += [self._finish(rows, "query").cpu().numpy() for rows in vectors]
        return results

    def _finish(self, vectors: torch.Tensor, task: Task) -> torch.Tensor:
        from torch.nn.functional import normalize

        kept = normalize(vectors[..., : self.dim].float(), dim=-1)
        # else the model does not normalise, and the lengths say nothing
        if task == "query" and self._weighs_queries:
            kept *= vectors.float().norm(dim=-1, keepdim=True)
        return kept

    def _features(self, batch: Sequence[IdArray]) -> dict[str, Any]:
        import torch

        width = max(len(ids) for ids in batch)
        input_ids = np.full((len(batch), width), self._pad_id, np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        features = {"input_ids": input_ids, "attention_mask": mask}
        if self._has_token_types:
            features["token_type_ids"] = np.zeros_like(mask)
        device = self._model.device
        return {"modality": "text"} | {name: torch.from_numpy(array).to(device) for name, array in features.items()}

    def _check_tokeniser(self) -> bool:
        """Compare ours with the model's own preprocessing; whether that makes token type ids."""
        probe = "Where is the Moon?"
        theirs = self._model.preprocess([probe], prompt=self.prompts["document"], task="document")
        [ours] = self.tokenise([probe], "document")
        if "input_ids" not in theirs or theirs["input_ids"][0].tolist() != ours.ids.tolist():
            raise ModelUnsupportedError(
                "The model prepares text in a way that its tokenizer alone cannot repeat (a chat template, or a "
                "processor for images), so its token spans cannot be known. Use a text model."
            )
        return "token_type_ids" in theirs


def _pad_id(model: MultiVectorEncoder) -> int:
    pad_id = model.tokenizer.pad_token_id
    if pad_id is None:
        raise ModelUnsupportedError(
            "The model's tokenizer has no padding token, which batches of texts of unlike length need. Name one of "
            'its tokens as "pad_token" in tokenizer_config.json, or load the model, set tokenizer.pad_token, save it.'
        )
    return int(pad_id)


def _check_keeps_tokens(model: MultiVectorEncoder) -> None:
    from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling

    if pooling := next((module for module in model if isinstance(module, BaseTokenPooling)), None):
        raise ModelUnsupportedError(
            f"The model merges token vectors ({type(pooling).__name__}), so a vector has no place in the text. "
            f"Load it with MultiVectorEncoder, remove that module, and pass the object."
        )


def _context(transformer: Transformer) -> int:
    """Tokens that the backbone takes at once: its position table, else what its configuration says."""
    import torch

    for module in transformer.auto_model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding):
            # RoBERTa and its kin start to count after the padding position
            return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    limits = (
        getattr(transformer.config.get_text_config(), "max_position_embeddings", None),
        transformer.max_seq_length,
    )
    # XLNet states -1 positions, and a tokenizer that knows no limit states 10**30
    return next((int(limit) for limit in limits if limit is not None and 0 < limit < UNLIMITED), DEFAULT_CONTEXT)
