"""The whole page: the question, and for each document why it was found."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files

from colbert_rag.report.alignment import alignment_table, question_strip
from colbert_rag.report.document import document_text
from colbert_rag.report.escaping import escaped
from colbert_rag.types import Explanation, Hit, Mode

__all__ = ["report_page"]

_RANKED_BY = {
    "maxsim": "late interaction (MaxSim)",
    "bm25": "words (BM25)",
    "hybrid": "late interaction and words together",
}
_SUM = "the sum of these similarities is the document's MaxSim."
_SUM_LOCAL = (
    "the sum of these similarities is the MaxSim of the whole document, and not its score: with locality the best "
    "place of a long document has a share in that."
)
_LEGEND = (
    "Every token of the question looks for the one token of the document that is most like it; {total} "
    "A thicker line under a word is a higher similarity, and the small numbers are those of the question's tokens. "
    "The best passages have a bar at their side."
)


def report_page(
    question: str, explanations: Sequence[Explanation], mode: Mode = "maxsim", *, locality: float = 0.0
) -> str:
    """One HTML file with its style inside and no script, which a browser is told to load nothing for.

    Args:
        question: What was asked.
        explanations: As ``Index.explain`` gives them.
        mode: What they were ranked by.
        locality: The search's; the page says when the similarities of a document do not add up to its score.

    Returns:
        The page; every text in it is escaped.
    """
    style = files("colbert_rag.report").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    hits = "".join(_hit(question, explanation, rank, mode) for rank, explanation in enumerate(explanations, 1))
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">'
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        '<meta name=color-scheme content="light dark"><meta name=referrer content=no-referrer>'
        f"<title>{escaped(question)}</title><style>{style}</style></head><body>"
        f"{_header(question, explanations, mode, locality)}<main>{hits}</main></body></html>\n"
    )


def _header(question: str, explanations: Sequence[Explanation], mode: Mode, locality: float) -> str:
    links = "".join(
        f'<li><a href="#d{rank}"><bdi>{escaped(e.hit.id)}</bdi></a> <span>{e.hit.score:.2f}</span></li>'
        for rank, e in enumerate(explanations, 1)
    )
    found = f"<ol>{links}</ol>" if explanations else "<p>No document was found.</p>"
    is_local = mode != "bm25" and locality > 0
    ranked = f"{_RANKED_BY[mode]}, locality {locality:g}" if is_local else _RANKED_BY[mode]
    legend = _LEGEND.format(total=_SUM_LOCAL if is_local else _SUM)
    return (
        f"<header><h1 dir=auto>{escaped(question)}</h1><p>Ranked by {ranked}</p>"
        f"<nav aria-label=Documents>{found}</nav>"
        f"<details><summary>How to read this page</summary><p>{legend}</p></details></header>"
    )


def _hit(question: str, explanation: Explanation, rank: int, mode: Mode) -> str:
    hit, prefix = explanation.hit, f"d{rank}"
    heading = f"<p class=heading dir=auto>{escaped(hit.heading)}</p>" if hit.heading else ""
    return (
        f'<article id="{prefix}" aria-labelledby="{prefix}-id">'
        f'<h2 id="{prefix}-id"><span class=rank>{rank}</span> <bdi>{escaped(hit.id)}</bdi></h2>{_facts(hit, mode)}'
        f"<h3>Question</h3>{question_strip(explanation, question, prefix)}"
        f"<h3>Document</h3>{heading}{document_text(explanation, prefix)}"
        f"<h3>Alignment</h3>{alignment_table(explanation, prefix)}</article>"
    )


def _facts(hit: Hit, mode: Mode) -> str:
    facts = {"score": f"{hit.score:.2f}"}
    # a search for words computes none
    if mode != "bm25":
        facts["relevance"] = f"{hit.relevance:.2f}"
    if hit.ref_id is not None:
        facts["source"] = hit.ref_id
    metadata = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=dict)
        for name, value in hit.metadata.items()
    }
    folded = f"<details><summary>metadata ({len(metadata)})</summary>{_list(metadata)}</details>" if metadata else ""
    return _list(facts) + folded


def _list(facts: dict[str, str]) -> str:
    items = "".join(
        f"<div><dt><bdi>{escaped(name)}</bdi></dt><dd><bdi>{escaped(value)}</bdi></dd></div>"
        for name, value in facts.items()
    )
    return f"<dl>{items}</dl>"
