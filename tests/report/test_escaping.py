from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_rag.report.escaping import escaped


class _Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


@given(st.text(st.characters()))
def test_no_text_opens_a_tag_or_leaves_an_attribute(text: str):
    reader = _Reader(f'<p title="{escaped(text)}">{escaped(text)}</p>')
    [(tag, [(name, value)])] = reader.tags
    assert (tag, name) == ("p", "title")
    assert value == reader.text
    assert len(value) == len(text)
    escaped(text).encode()


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x00\x1b\x07", "␀␛␇"),
        ("\x7f\x9b\u202e\u2066\u200f", "\ufffd" * 5),
        ("\ud800", "\ufffd"),
        ("a\r\nb\tc\x0bd", "a \nb\tc d"),
        ("\U0001f469\u200d\U0001f52c नमस्ते שלום", "\U0001f469\u200d\U0001f52c नमस्ते שלום"),
        ("<&>\"'", "&lt;&amp;&gt;&quot;&#x27;"),
    ],
)
def test_what_cannot_be_seen_is_shown_and_what_can_stays(hostile: str, shown: str):
    assert escaped(hostile) == shown
