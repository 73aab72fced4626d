"""Any text as text of a page, whatever is in it."""

from __future__ import annotations

import html

__all__ = ["escaped"]

_REPLACEMENT = "\ufffd"
# they reorder the text around them, so that it reads as something else
_BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SHOWN = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    **dict.fromkeys(range(0x7F, 0xA0), _REPLACEMENT),
    **dict.fromkeys(map(ord, _BIDI_CONTROLS), _REPLACEMENT),
    **dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT),
    **dict.fromkeys(map(ord, "\r\x0b\x0c\x85"), " "),
}


def escaped(text: str) -> str:
    """Text for an HTML element or a quoted attribute.

    Control characters are shown by their pictures, such as ``␀``; what reorders text, and half of a surrogate
    pair, by the replacement character. Line ends and tabs stay.
    """
    return html.escape(text.translate(_SHOWN))
