"""The plain data that flows between the parts: documents in, hits out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MODES",
    "BackupReport",
    "Document",
    "Explanation",
    "Float16Array",
    "Float32Array",
    "Hit",
    "IndexInfo",
    "JsonValue",
    "Mode",
    "Passage",
    "Progress",
    "QueryToken",
    "RestoreReport",
    "SearchConfig",
    "TextEncoder",
    "TokenLabel",
    "TokenMatch",
    "TokenVectors",
    "VerifyReport",
    "silent",
]

JsonValue: TypeAlias = Any
"""What JSON can hold: None, bool, int, float, str, and lists and string-keyed dicts of these."""

Mode: TypeAlias = Literal["maxsim", "bm25", "hybrid"]
"""What documents are ranked by: late interaction, words, or both."""

MODES = ("maxsim", "bm25", "hybrid")

Float32Array: TypeAlias = NDArray[np.float32]
Float16Array: TypeAlias = NDArray[np.float16]

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""``progress(stage, done, total)``: called often; ``total`` is None while it is not known."""


def silent(stage: str, done: int, total: int | None) -> None:
    """The progress of somebody who does not look."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id of the user's own.

    Attributes:
        id: 1 to 512 bytes of UTF-8, no control characters; unique in an index.
        text: The text to be searched; not blank.
        metadata: What JSON can hold, with string keys; comes back unchanged with every hit.
        heading: Encoded and searched for words ahead of the text, such as a title; never part of a passage.
        ref_id: The id of the source that this document was cut from.
        extra: What an adapter keeps beside the metadata, 64 MiB as JSON at most; not searched, not filtered.
    """

    id: str
    text: str
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    heading: str = field(default="", kw_only=True)
    ref_id: str | None = field(default=None, kw_only=True)
    extra: JsonValue = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The token vectors of one document.

    Attributes:
        vectors: ``(T, D) float16`` or ``float32``, rows of unit length.
        spans: ``(T, 2) int32``, character start and end of each token in the text; start <= end,
            starts do not fall. Tokens that stand for no text ([CLS], markers) have an empty span.
    """

    vectors: NDArray[np.floating[Any]]
    spans: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Passage:
    """The part of a document that answers the query.

    Attributes:
        start: Character offset in the document's text.
        end: Character offset after the last character.
        text: ``document.text[start:end]``.
        score: MaxSim of the query with the tokens of this passage alone.
        matches: Character offsets in the document's text of the tokens that the query tokens
            matched best in this passage, in text order, neighbours joined.
    """

    start: int
    end: int
    text: str
    score: float
    matches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One ranked document.

    Attributes:
        id: The document's id.
        score: MaxSim: the sum over query tokens of the best similarity, at most the number of
            query tokens.
        text: The document's text.
        metadata: The document's metadata.
        passages: Evidence, best first; empty where token spans are not known.
        relevance: MaxSim divided by the number of query vectors, clipped to 0..1, whatever the mode
            ranked by; 0 where no MaxSim was computed, which is mode "bm25".
        heading: The document's heading.
        ref_id: The document's source.
        extra: What an adapter kept beside the metadata.
    """

    id: str
    score: float
    text: str
    metadata: dict[str, JsonValue]
    passages: tuple[Passage, ...] = ()
    relevance: float = 0.0
    heading: str = ""
    ref_id: str | None = None
    extra: JsonValue = None


@dataclass(frozen=True, slots=True)
class TokenLabel:
    """What a vector of a query stands for.

    Attributes:
        text: The characters of the query, or the name of a token that stands for none of them ("[CLS]", "[MASK]").
        start: Character offset in the query; None for such a token.
        end: Character offset after the last character; None for such a token.
    """

    text: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """The token of a document that a token of the query matched best.

    Attributes:
        start: Character offset in the document's text.
        end: Character offset after the last character; ``start`` for a token of no text or of the heading.
        text: ``document.text[start:end]``.
    """

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class QueryToken:
    """A token of a query and what it found in a document.

    Attributes:
        label: What it stands for; empty where the encoder has no ``query_tokens``.
        similarity: Cosine with the token of the document that is most like it, times the length of the query's vector
            where a model weighs its tokens so: its part of MaxSim.
        match: That token of the document; the first of equals.
    """

    label: TokenLabel
    similarity: float
    match: TokenMatch


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document was found.

    Attributes:
        hit: The document as a search finds it. In mode "maxsim" its score is of all its tokens: a search that prunes
            passes over some, which may have cost a few hundredths.
        query_tokens: One for each vector of the query, in order. In mode "maxsim" their similarities add up to
            ``hit.score``, but for rounding; with ``SearchConfig.locality`` to the MaxSim of the whole document, which
            is only a part of that score.
    """

    hit: Hit
    query_tokens: tuple[QueryToken, ...]


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How hard a search tries; the defaults are measured in docs/benchmarks.md.

    Attributes:
        n_candidates: Documents that are scored from their codes after the approximate pass, the best of them with
            all tokens that matter; four times ``k`` where that is more.
        n_probe: Inverted lists opened per query token, where a segment is probed and not scanned.
        exact: Score every document with its decoded vectors, no pruning at all.
        passages: Evidence passages per hit; 0 turns them off.
        passage_sentences: Sentences in a row that make a passage; passages of a hit do not overlap.
        fusion: How mode "hybrid" joins its two rankings: "weighted" by scores, "rrf" by ranks.
        maxsim_weight: The share of MaxSim in the fusion, 0 to 1; BM25 has the rest. None: 0.7 by scores,
            0.5 by ranks.
        diversity: 0 ranks by score alone; towards 1, hits that resemble a hit above them fall back
            (maximal marginal relevance, Carbonell and Goldstein 1998; its lambda is ``1 - diversity``).
        locality: 0 scores a document by all of its tokens, as MaxSim is defined. Towards 1, its best 256 token
            vectors in a row have this share in the score of a longer document, so that matches scattered over a long
            text count less than one place that answers.
        fetch_k: The best documents that diversity and locality choose from; ``k`` where that is more.
    """

    n_candidates: int = 128
    n_probe: int = 16
    exact: bool = False
    passages: int = 1
    passage_sentences: int = 1
    fusion: Literal["weighted", "rrf"] = "weighted"
    maxsim_weight: float | None = None
    diversity: float = 0.0
    locality: float = 0.0
    fetch_k: int = 20


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds, as ``Index.info()`` and ``colbert-rag info`` report it."""

    path: str
    format_version: int
    n_documents: int
    n_tokens: int
    n_deleted: int
    n_segments: int
    dim: int
    bits: int
    pool_factor: int
    is_compressed: bool
    n_centroids: int
    codec_tokens: int
    vector_bytes: int
    catalog_bytes: int
    text_bytes: int
    bytes_per_token: float
    model: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome of ``Index.verify()``.

    Attributes:
        problems: One line each: what is wrong, where, expected and found. Empty: all is well.
        files: Number of files that were read.
        bytes: Their size.
        documents: Number of documents whose record was checked.
        leftovers: What no commit names: of a write under way, or of one that did not finish and that the next
            writer sweeps: folders, and a tail of the catalog's log. They are no damage.
    """

    problems: tuple[str, ...]
    files: int
    bytes: int
    documents: int
    leftovers: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class BackupReport:
    """The outcome of ``Index.backup()``: a sound copy.

    Attributes:
        path: Where it is.
        documents: Number of documents in it.
        files: Number of array files in it.
        bytes: Their size.
    """

    path: str
    documents: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """The outcome of ``restore_index()``: a new, sound index of what could be saved.

    Attributes:
        path: Where it is.
        kept: Documents that have the vectors that they had.
        encoded: Documents whose vectors were damaged, and were made anew from their text.
        lost: Ids of the documents that could not be saved, as far as they can be known.
        n_lost: How many could not be saved, as far as they can be counted; at least ``len(lost)``.
        problems: One line each: what was found damaged, and what that cost.
        uncounted: One line each: damage of the write-ahead log with which commits are lost, or may be, whose documents
            nobody can count; ``n_lost`` knows nothing of them.
    """

    path: str
    kept: int
    encoded: int
    lost: tuple[str, ...]
    n_lost: int
    problems: tuple[str, ...]
    uncounted: tuple[str, ...]


@runtime_checkable
class TextEncoder(Protocol):
    """What an index asks of an encoder; ``colbert_rag.Encoder`` is ours.

    An encoder may have an attribute ``device`` beside this, "cuda:0" for example. If it says that documents are encoded
    elsewhere than on the processor, those that come next in a call of ``add`` are encoded in a thread of that call,
    while the ones before are written. It is still called once at a time.
    """

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""

    @property
    def fingerprint(self) -> Mapping[str, JsonValue]:
        """What identifies the model and its settings; equal fingerprints give equal vectors, up to rounding."""

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[TokenVectors]:
        """Encode documents of any length, each into one ``TokenVectors``, in order."""

    def encode_queries(self, texts: Sequence[str]) -> list[Float32Array]:
        """Encode queries, each into ``(Q, D) float32`` rows, in order.

        Rows have unit length, or lengths that are the weights of their tokens in MaxSim, 1 in the mean of a query.
        """


DocumentStream: TypeAlias = Iterator[tuple[Document, TokenVectors]]
