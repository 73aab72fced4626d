"""The public encoder: documents of any length and queries, to token vectors."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from colbert_rag.encoder.batching import plan_batches, run_with_backoff
from colbert_rag.encoder.builtin import BUILTIN, CURRENT, FIRST
from colbert_rag.encoder.documents import assemble, split
from colbert_rag.encoder.fingerprint import describe
from colbert_rag.encoder.naming import load_named, named_or_live
from colbert_rag.encoder.precision import Precision
from colbert_rag.encoder.query_cache import QueryCache
from colbert_rag.encoder.query_tokens import query_labels
from colbert_rag.encoder.replicas import replicas, shared
from colbert_rag.encoder.settings import EncoderSettings, check_texts
from colbert_rag.encoder.token_model import Encoded, Task, TokenModel
from colbert_rag.encoder.tokenise import IdArray
from colbert_rag.errors import (
    InvalidDocumentError,
    InvalidQueryError,
    ModelNotFoundError,
    ModelUnsupportedError,
)
from colbert_rag.types import Float32Array, JsonValue, Progress, TokenLabel, TokenVectors

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

    from colbert_rag.encoder.minilm.queries import QueryModel

__all__ = ["Encoder"]

CACHED_QUERIES = 256
BATCH_TOKENS = 16_384
# measured with the built-in model on two busy cores: 1.4 times the tokens per CPU second of 16,384
CPU_BATCH_TOKENS = 2_048


class Encoder:
    """Turns text into one vector per token, with a late-interaction model.

    The model is loaded at first use. An encoder may be used from many threads: a lock is held for one
    mini-batch at a time, so a query waits for a batch of documents, never for a corpus. Two encoders
    around one ``MultiVectorEncoder`` object do not share that lock: make one encoder and share it.
    The built-in model encodes queries on the CPU without torch, so that a process that only asks is ready in
    a second; once documents were encoded on another device, queries are encoded there too.

    Args:
        model: A hub name, a folder, the ``.safetensors`` file of a delta (``colbert_rag.encoder.delta``), or a loaded
            ``MultiVectorEncoder``; None for the built-in model.
        device: ``"cpu"``, ``"cuda"``, ...; None for the best there is. Of several, such as ``"cuda:0,cuda:1"``, each
            has a copy of the model, and they share documents; queries are encoded on the first.
        dim: Leading dimensions that are kept, vectors normalised again: for models trained that way,
            and for the built-in model, whose dimensions are ordered by weight.
        document_length: Tokens of a window, at most the model's context, which is the default. A longer
            document is encoded in overlapping windows and not cut off.
        query_length: Tokens that queries are expanded to, for models that expand them; a longer query
            is encoded at its full length.
        batch_tokens: Tokens of a mini-batch, padding included; None for 2,048 on a CPU, where larger ones
            are slower and keep queries waiting, and 16,384 elsewhere.
        window_overlap: Tokens that neighbouring windows share at least.
        precision: "float32", "bfloat16", or "auto", which encodes documents in bfloat16 on a device that computes
            faster in it. Queries are always encoded in the precision of the model's weights.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        revision: Branch, tag or commit on the hub; of the built-in model "1", "2" or "3", the default.
        local_files_only: Whether the hub must not be asked.
        token: Access token for the hub; not pickled.

    Example:
        >>> [document] = Encoder().encode_documents(["Late interaction keeps one vector per token."])
        >>> document.vectors.shape
        (9, 128)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | MultiVectorEncoder | None = None,
        *,
        device: str | None = None,
        dim: int | None = None,
        document_length: int | None = None,
        query_length: int | None = None,
        batch_tokens: int | None = None,
        window_overlap: int = 128,
        precision: Precision = "auto",
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> None:
        self._settings = EncoderSettings(
            device=device,
            dim=dim,
            document_length=document_length,
            query_length=query_length,
            batch_tokens=batch_tokens,
            window_overlap=window_overlap,
            precision=precision,
            trust_remote_code=trust_remote_code,
            revision=revision,
            local_files_only=local_files_only,
        )
        self._token = token
        self._name, self._live = named_or_live(model, self._settings)
        if self._name == BUILTIN and revision is None:
            self._settings = replace(self._settings, revision=CURRENT)
        self._load_lock = threading.Lock()
        self._token_model: TokenModel | None = None
        self._replicas: list[TokenModel] = []
        self._query_model: QueryModel | None = None
        self._fingerprint: dict[str, JsonValue] | None = None
        self._cache = QueryCache(CACHED_QUERIES)

    @classmethod
    def from_fingerprint(cls, fingerprint: Mapping[str, JsonValue]) -> Encoder:
        """Name the model of an index again; nothing is loaded, and no remote code is trusted.

        Raises:
            ModelNotFoundError: the fingerprint is of an encoder that has no name to be loaded by.
        """
        if fingerprint.get("model") is None:
            raise ModelNotFoundError(
                "The fingerprint names no model that could be loaded: the encoder was an object of its own, such as a "
                "loaded MultiVectorEncoder. Pass the same encoder again."
            )
        keys = ("revision", "dim", "document_length", "query_length", "window_overlap")
        settings = {key: fingerprint[key] for key in keys if fingerprint.get(key) is not None}
        if fingerprint["model"] == BUILTIN:
            # an index that was made before there was a second revision names none
            settings.setdefault("revision", FIRST)
        return cls(fingerprint["model"], **settings)

    @classmethod
    def adapt(
        cls,
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
    ) -> Encoder:
        """Make a plain text encoder a late-interaction model, fitted to your own texts and without training.

        The backbone stays as it is. Its token vectors are projected onto the principal axes of those of a sample of
        the texts, and the model is written in sentence-transformers' format: ``Encoder(path)``, an index made with
        it, and ``sentence_transformers.MultiVectorEncoder(path)`` find it again. Punctuation gets no vectors in
        documents. The query and document prompts of a sentence-embedding model are kept; its pooling, its head and
        its own maximal length are not: the context is what the backbone's positions allow.

        Args:
            model: The hub name or the folder of a sentence-embedding model or of an encoder (BERT, RoBERTa,
                ModernBERT, ...), its weights in safetensors files; None for the built-in model's backbone.
            texts: Documents as they will be indexed, of any length.
            path: Where the model is written: a folder that is new or empty. It appears complete or not at all.
            dim: Dimensions of a token vector. None, or at least as many as the backbone has: all of its own, and
                the texts are not used.
            device: Where the model runs; None for the best there is.
            revision: Branch, tag or commit on the hub.
            trust_remote_code: Whether code that comes with the checkpoint may run.
            local_files_only: Whether the hub must not be asked.
            token: Access token for the hub.
            max_tokens: Whole documents are drawn, the same in each run, until they hold so many tokens.
            progress: Called as ``progress("fit", done, total)``, both in sampled documents.

        Returns:
            ``Encoder(path)``.

        Raises:
            IndexExistsError: something is at ``path`` already.
            InvalidDocumentError: a text is not a string of characters, or the texts are too few for ``dim`` axes.
            ModelNotFoundError: the model cannot be found.
            ModelUnsupportedError: the model is no text encoder (generative, for images), or a late-interaction model
                already, or lacks weights.
            StorageError: the folder cannot be written.
        """
        # adapting encodes the texts with an Encoder
        from colbert_rag.encoder.adapting import adapt

        adapt(
            model,
            texts,
            path,
            dim=dim,
            device=device,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=local_files_only,
            token=token,
            max_tokens=max_tokens,
            progress=progress,
        )
        # a checkpoint with code of its own names it on the hub
        return cls(
            path, device=device, trust_remote_code=trust_remote_code, local_files_only=local_files_only, token=token
        )

    @property
    def name(self) -> str:
        """``"builtin"``, a hub name, an absolute folder, or ``"in memory"``."""
        return self._name or "in memory"

    @property
    def dim(self) -> int:
        """Dimensions of a token vector; loads the model."""
        return (self._token_model or self._for_queries() or self._loaded()).dim

    @property
    def device(self) -> str:
        """Where documents are encoded: "cpu", "cuda:0", or several with commas between them; loads the model."""
        return ",".join([self._loaded().device, *self._settings.other_devices])

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """What identifies the model and its settings; equal fingerprints give equal vectors, up to rounding.

        ``model`` and ``revision`` say where the model was found: two copies of one checkpoint differ in
        them alone. Loads the model and, unless it is the built-in one, reads all weights, once.
        """
        if self._fingerprint is None:
            light = None if self._token_model else self._for_queries()
            model = light or self._loaded()
            self._fingerprint = {
                "model": self._name,
                "revision": self._settings.revision,
                "document_length": self._window(model),
                "window_overlap": self._settings.window_overlap,
                **(describe(self._loaded()) if light is None else light.describe()),
            }
        return copy.deepcopy(self._fingerprint)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[TokenVectors]:
        """Encode documents of any length, each into one ``TokenVectors``, in order.

        Tokens on the model's skiplist (punctuation, for most) get no vector; a document that holds
        nothing else keeps all of them.

        Args:
            texts: The documents.
            progress: Called as ``progress("encode", done, total)``, both in tokens.

        Returns:
            ``float16`` vectors ``(T, D)`` of unit length and ``int32`` spans ``(T, 2)`` for each.

        Raises:
            InvalidDocumentError: a text is not a string of characters.
            ModelNotFoundError: the model cannot be found.
            ModelUnsupportedError: the model cannot be used.
            DeviceError: one of several devices is not there.
        """
        check_texts(texts, "document", InvalidDocumentError)
        if not texts:
            return []
        model = self._loaded()
        documents = model.tokenise(texts, "document")
        overlap = self._settings.window_overlap
        pieces = [split(tokens, self._window(model), overlap) for tokens in documents]
        ids = [piece.ids for parts in pieces for piece in parts]
        encoded = iter(self._run(self._loaded_everywhere(), ids, "document", progress))
        return [
            assemble(tokens, parts, list(islice(encoded, len(parts))))
            for tokens, parts in zip(documents, pieces, strict=True)
        ]

    def encode_queries(self, texts: Sequence[str]) -> list[Float32Array]:
        """Encode queries, each into ``(Q, D) float32`` rows, in order; read-only.

        The length of a row is the weight of its token: 1 with most models, 1 in the mean with the built-in one.

        Raises:
            InvalidQueryError: a text is not a string of characters, or longer than the model's context.
            ModelNotFoundError: the model cannot be found.
            ModelUnsupportedError: the model cannot be used.
        """
        check_texts(texts, "query", InvalidQueryError)
        cached = {text: self._cache.get(text) for text in texts}
        known = {text: vectors for text, vectors in cached.items() if vectors is not None}
        if missing := [text for text in cached if text not in known]:
            known |= self._encode_new_queries(missing)
            for text in missing:
                self._cache.put(text, known[text])
        return [known[text] for text in texts]

    def query_tokens(self, text: str) -> list[TokenLabel]:
        """What each vector of a query stands for: one label per row of ``encode_queries([text])[0]``, in order.

        Raises:
            InvalidQueryError: as for :meth:`encode_queries`.
        """
        check_texts([text], "query", InvalidQueryError)
        light = None if self._token_model else self._for_queries()
        model = light or self._loaded()
        [tokens] = model.tokenise([text], "query")
        _check_query_fits(text, len(tokens.ids), model.context)
        return query_labels(self._loaded(), text) if light is None else light.labels(text)

    def _encode_new_queries(self, texts: Sequence[str]) -> dict[str, Float32Array]:
        is_elsewhere = self._token_model is not None and not self._token_model.is_on_cpu
        light = None if is_elsewhere else self._for_queries()
        return self._encode_by_torch(self._loaded(), texts) if light is None else self._encode_light(light, texts)

    @staticmethod
    def _encode_light(model: QueryModel, texts: Sequence[str]) -> dict[str, Float32Array]:
        ids = [tokens.ids for tokens in model.tokenise(texts)]
        for text, tokens in zip(texts, ids, strict=True):
            _check_query_fits(text, len(tokens), model.context)
        return dict(zip(texts, model.encode_ids(ids), strict=True))

    def _encode_by_torch(self, model: TokenModel, texts: Sequence[str]) -> dict[str, Float32Array]:
        ids = {text: tokens.ids for text, tokens in zip(texts, model.tokenise(texts, "query"), strict=True)}
        for text in texts:
            _check_query_fits(text, len(ids[text]), model.context)
        # by length: a batch is padded to its longest
        short = sorted((text for text in texts if model.fits_query(len(ids[text]))), key=lambda text: len(ids[text]))
        vectors = dict(zip(short, model.encode_query_texts(short), strict=True))
        # a query of skiplist tokens alone keeps them, as a document does
        rest = [text for text in texts if text not in vectors or not len(vectors[text])]
        encoded = self._run([model], [ids[text] for text in rest], "query", None)
        for text, (rows, is_kept) in zip(rest, encoded, strict=True):
            vectors[text] = rows[is_kept] if is_kept.any() else rows
        return vectors

    def _run(
        self, models: Sequence[TokenModel], ids: list[IdArray], task: Task, progress: Progress | None
    ) -> list[Encoded]:
        """Encode sequences of token ids in batches of like length; results in the order given."""
        encoded: dict[int, Encoded] = {}
        total, done = sum(map(len, ids)), 0
        budget = self._settings.batch_tokens or (CPU_BATCH_TOKENS if models[0].is_on_cpu else BATCH_TOKENS)

        def encode(model: TokenModel, batch: list[int]) -> list[Encoded]:
            return run_with_backoff([ids[i] for i in batch], lambda part: model.encode_ids(part, task))

        with shared(encode, models, plan_batches([len(sequence) for sequence in ids], budget)) as found:
            for batch, results in found:
                encoded.update(zip(batch, results, strict=True))
                done += sum(len(ids[i]) for i in batch)
                if progress is not None:
                    progress("encode", done, total)
        return [encoded[i] for i in range(len(ids))]

    def _window(self, model: TokenModel | QueryModel) -> int:
        return self._settings.document_length or model.context

    def _for_queries(self) -> QueryModel | None:
        """The built-in model without torch, unless the settings ask for what only torch can do."""
        settings = self._settings
        if self._name != BUILTIN or settings.device not in (None, "cpu") or settings.query_length is not None:
            return None
        if self._query_model is None:
            from colbert_rag.encoder.minilm.queries import QueryModel

            with self._load_lock:
                if self._query_model is None:
                    revision = settings.revision or CURRENT
                    model = QueryModel(settings.dim, revision=revision, local_files_only=settings.local_files_only)
                    self._check_lengths(model.context)
                    self._query_model = model
        return self._query_model

    def _loaded(self) -> TokenModel:
        if self._token_model is None:
            with self._load_lock:
                if self._token_model is None:
                    self._token_model = self._load()
        return self._token_model

    def _loaded_everywhere(self) -> list[TokenModel]:
        """The model on each of the devices."""
        first, settings = self._loaded(), self._settings
        with self._load_lock:
            if not self._replicas:
                self._replicas = replicas(first, settings.other_devices, settings.dim, settings.precision)
        return self._replicas

    def _load(self) -> TokenModel:
        model = TokenModel(self._load_model(), self._settings.dim, self._settings.precision)
        self._check_lengths(model.context)
        return model

    def _check_lengths(self, context: int) -> None:
        document_length, query_length = self._settings.document_length, self._settings.query_length
        if document_length is not None and document_length > context:
            raise ModelUnsupportedError(
                f"document_length={document_length:,} is more than the context of {self.name}, which is "
                f"{context:,} tokens. Leave it out: longer documents are encoded in windows."
            )
        if query_length is not None and query_length > context:
            raise ModelUnsupportedError(
                f"query_length={query_length:,} is more than the context of {self.name}, which is {context:,} "
                f"tokens. Leave it out, or set at most that."
            )

    def _load_model(self) -> MultiVectorEncoder:
        settings = replace(self._settings, device=self._settings.first_device)
        if self._live is None:
            return load_named(self.name, settings, self._token)
        return self._live if settings.device is None else self._live.to(settings.device)

    def __repr__(self) -> str:
        dim = "" if self._settings.dim is None else f", dim={self._settings.dim}"
        return f"Encoder({self.name!r}{dim})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._name is None:
            raise TypeError(
                "An Encoder around a loaded MultiVectorEncoder cannot be pickled: it could not be loaded again. Save "
                "the model to a folder and make the Encoder from that."
            )
        return partial(Encoder, self._name, **asdict(self._settings)), ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Encoder:
        return self


def _check_query_fits(text: str, n_tokens: int, context: int) -> None:
    if n_tokens > context:
        raise InvalidQueryError(
            f"The query {text[:40]!r}… has {n_tokens:,} tokens, but the model takes {context:,} at once. Shorten it, "
            f"or search with its parts."
        )
