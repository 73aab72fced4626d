"""Why documents were found: what each token of the query matched in them, from what is stored."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from colbert_rag.answers import Answers
from colbert_rag.asking import Terms
from colbert_rag.errors import InvalidQueryError
from colbert_rag.evidence import BestTokens
from colbert_rag.rankings import Question
from colbert_rag.selection import checked_filter
from colbert_rag.types import Explanation, Mode, QueryToken, TextEncoder, TokenLabel, TokenMatch
from colbert_rag.validation import check_queries, check_queries_encoded

__all__ = ["explain"]

_NAMED = 3  # ids that an error names


def explain(
    answers: Answers, encoder: TextEncoder, query: str, ids: Sequence[str] | None, terms: Terms
) -> list[Explanation]:
    """Search and align; the documents are not encoded again.

    Args:
        answers: What searches.
        encoder: Encodes the query, and labels its vectors if it can.
        query: A text that is not blank.
        ids: Documents to explain instead of the best; then ``k`` is not used.
        terms: How to search.

    Raises:
        InvalidQueryError: the query is refused, there are ids and a filter, ids and mode "hybrid", or no document
            is found for an id.
    """
    [text] = check_queries([query])
    terms = terms if ids is None else _terms_of_ids(ids, terms)
    if not terms.k:
        return []
    [vectors] = check_queries_encoded(encoder.encode_queries([text]), [text], encoder.dim)
    labels = _labels(encoder, text, len(vectors))
    aligned = answers.search_aligned(Question(text, vectors), terms.k, terms.mode, terms.chosen, terms.config)
    _check_found(ids or (), {hit.id for hit, _ in aligned}, terms.mode)
    return [Explanation(hit, _query_tokens(labels, best, hit.text)) for hit, best in aligned]


def _labels(encoder: TextEncoder, text: str, n_vectors: int) -> list[TokenLabel]:
    label = getattr(encoder, "query_tokens", None)
    if label is None:
        return [TokenLabel("")] * n_vectors
    labels: list[TokenLabel] = list(label(text))
    if len(labels) != n_vectors:
        msg = f"the encoder's query_tokens gave {len(labels)} labels for the {n_vectors} vectors of the query."
        raise InvalidQueryError(msg)
    return labels


def _terms_of_ids(ids: Sequence[str], terms: Terms) -> Terms:
    if terms.chosen is not None:
        raise InvalidQueryError("explain() takes ids or a filter, not both: the ids say which documents are meant.")
    if terms.mode == "hybrid":
        # it joins scores that it scales by the best and the least of what it ranks, here the named documents alone
        msg = (
            'explain() takes no ids in mode "hybrid": its scores hold only among all documents that were ranked. '
            'Use mode "maxsim" or "bm25", or explain without ids.'
        )
        raise InvalidQueryError(msg)
    return replace(terms, k=len(ids), chosen=checked_filter({"$id": list(ids)}))


def _check_found(ids: Sequence[str], found: Set[str], mode: Mode) -> None:
    missing = [document_id for document_id in ids if document_id not in found]
    if missing:
        rest = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        reason = "holds a word of the query and has that id" if mode == "bm25" else "has that id"
        named = ", ".join(map(repr, missing[:_NAMED]))
        raise InvalidQueryError(f"ids: {named}{rest} cannot be explained: no document of the index {reason}.")


def _query_tokens(labels: Sequence[TokenLabel], best: BestTokens, text: str) -> tuple[QueryToken, ...]:
    return tuple(
        QueryToken(label, similarity, TokenMatch(start, end, text[start:end]))
        for label, similarity, (start, end) in zip(labels, best.similarities.tolist(), best.spans.tolist(), strict=True)
    )
