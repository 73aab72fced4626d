"""The question with what each of its tokens contributes, and the table of what they matched, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from colbert_rag.report.document import is_word, level_of, name_of
from colbert_rag.report.escaping import escaped
from colbert_rag.report.marking import marks_of
from colbert_rag.types import Explanation, QueryToken

__all__ = ["alignment_table", "question_strip"]

_HEAD = (
    "<thead><tr><th scope=col>#</th><th scope=col>question</th><th scope=col>similarity</th>"
    "<th scope=col>document</th><th scope=col>at</th></tr></thead>"
)


def question_strip(explanation: Explanation, question: str, prefix: str) -> str:
    """The question as it was asked, each token shaded by its similarity and linked to its row."""
    parts, end = [], 0
    for n, token in enumerate(explanation.query_tokens):
        label = token.label
        if label.start is None or label.end is None or label.start < end:
            continue
        parts.append(escaped(question[end : label.start]))
        parts.append(_chip(token, n, prefix))
        end = label.end
    if not parts:
        parts = [_chip(token, n, prefix) + " " for n, token in enumerate(explanation.query_tokens)]
        end = len(question)
    return f"<p class=question dir=auto>{''.join(parts)}{escaped(question[end:])}</p>"


def alignment_table(explanation: Explanation, prefix: str) -> str:
    """What each token of the question matched; tokens that stand for no word of it are folded away."""
    rows = list(enumerate(explanation.query_tokens))
    words = [(n, token) for n, token in rows if is_word(token)]
    others = [(n, token) for n, token in rows if not is_word(token)]
    targets = {n: f"{prefix}-m{m}" for m, mark in enumerate(marks_of(explanation.query_tokens)) for n in mark.tokens}
    # a cosine ends at 1, one that the model weighs does not
    longest = max([1.0, *(token.similarity for _, token in rows)])
    body = _table(words, targets, prefix, longest)
    if others:
        summary = f"Tokens that stand for no word of the question ({len(others)}): {_total(others):.2f}"
        body += f"<details><summary>{summary}</summary>{_table(others, targets, prefix, longest)}</details>"
    return f"{body}<p class=sum>Sum of all similarities (MaxSim): <b>{_total(rows):.2f}</b></p>"


def _chip(token: QueryToken, n: int, prefix: str) -> str:
    style = f'class="chip s{level_of(token.similarity)}" data-n={n + 1} title="similarity {token.similarity:.2f}"'
    return f'<a {style} href="#{prefix}-q{n}">{escaped(name_of(token, n))}</a>'


def _total(tokens: Sequence[tuple[int, QueryToken]]) -> float:
    return sum(token.similarity for _, token in tokens)


def _table(tokens: Sequence[tuple[int, QueryToken]], targets: dict[int, str], prefix: str, longest: float) -> str:
    rows = "".join(_row(token, n, targets.get(n), prefix, longest) for n, token in tokens)
    return f"<table>{_HEAD}<tbody>{rows}</tbody></table>"


def _row(token: QueryToken, n: int, target: str | None, prefix: str, longest: float) -> str:
    name = f"<bdi>{escaped(name_of(token, n))}</bdi>"
    length = max(0.0, token.similarity)
    shade = f"<meter aria-hidden=true max={longest:.3f} value={length:.3f}></meter> {token.similarity:.2f}"
    if target is None:
        found, place = "<i>no text: a special token or the heading</i>", ""
    else:
        found = f'<a href="#{target}"><bdi>{escaped(token.match.text)}</bdi></a>'
        place = f"{token.match.start:,}"
    cells = f"<td>{name}</td><td class=bar>{shade}</td><td>{found}</td><td class=at>{place}</td>"
    return f'<tr id="{prefix}-q{n}"><th scope=row>{n + 1}</th>{cells}</tr>'
