"""Explanations made by hand, and a reader of the pages made from them."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from colbert_rag import Explanation, Hit, Passage, QueryToken, TokenLabel, TokenMatch


class Page(HTMLParser):
    """Texts of a page: of the document without the summaries of its folds, and of each element with an id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.document, self.by_id, self.links, self.tags = "", {}, [], []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        if "href" in given:
            self.links.append(given["href"])
        if "id" in given:
            self.by_id[given["id"]] = ""
        if tag not in ("meta", "link", "img"):
            self._open.append((tag, given))

    def handle_endtag(self, tag):
        while self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for _, given in self._open:
            if "id" in given:
                self.by_id[given["id"]] += data
        in_text = any((given.get("class") or "") == "text" for _, given in self._open)
        if in_text and not any(tag == "summary" for tag, _ in self._open):
            self.document += data


@pytest.fixture
def read() -> type[Page]:
    return Page


@pytest.fixture
def explained() -> Callable[..., Explanation]:
    """An explanation of a text: ``notice`` and ``period`` match where they stand, [CLS] matches no text."""

    def make(text: str, *, passages: tuple[tuple[int, int], ...] = (), **fields: object) -> Explanation:
        def match(word: str) -> TokenMatch:
            start = text.find(word)
            return TokenMatch(start, start + len(word), word) if start >= 0 else TokenMatch(0, 0, "")

        tokens = (
            QueryToken(TokenLabel("[CLS]"), 0.3, TokenMatch(0, 0, "")),
            QueryToken(TokenLabel("notice", 0, 6), 0.95, match("notice")),
            QueryToken(TokenLabel("period", 7, 13), 0.5, match("period")),
            QueryToken(TokenLabel("?", 13, 14), 0.1, match("period")),
        )
        evidence = tuple(Passage(a, b, text[a:b], 1.25) for a, b in passages)
        given = {"id": "a", "score": 1.85, "metadata": {}, "relevance": 0.46} | fields
        return Explanation(Hit(text=text, passages=evidence, **given), tokens)

    return make
