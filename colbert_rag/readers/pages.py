"""Whole files become one document each: plain text, HTML and PDF."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from colbert_rag.errors import CorpusFormatError, MissingDependencyError
from colbert_rag.readers.decoding import read_text

__all__ = ["read_html", "read_pdf", "read_plain"]

_HIDDEN_TAGS = ["script", "style", "template", "noscript"]
_BLOCK_TAGS = ["address", "article", "aside", "blockquote", "br", "caption", "dd", "div", "dl", "dt", "figcaption"]
_BLOCK_TAGS += ["footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"]
_BLOCK_TAGS += ["pre", "section", "table", "td", "th", "title", "tr", "ul"]


def read_plain(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a UTF-8 file, unchanged, and no metadata."""
    return read_text(path), {}


def read_html(path: Path) -> tuple[str, dict[str, Any]]:
    """Return what a browser would show of an HTML file, one block a line, and no metadata.

    Raises:
        CorpusFormatError: the markup is more than the standard library's parser can read.
        MissingDependencyError: beautifulsoup4 is not installed.
    """
    bs4 = _require("bs4", "beautifulsoup4", "html", path)
    text = read_text(path)
    try:
        soup = bs4.BeautifulSoup(text, "html.parser")
    # the parser gives up with an error of its own, as at "<![CDA[", or with a built-in one
    except Exception as error:
        raise CorpusFormatError(
            f"{path}: cannot be read as HTML ({type(error).__name__}: {error}); save it again as plain text"
        ) from error
    for tag in soup(_HIDDEN_TAGS):
        tag.decompose()
    for string in soup.find_all(string=True):
        # comments and doctypes are strings of other types, which get_text() leaves out
        if type(string) is bs4.NavigableString and not string.find_parent("pre"):
            string.replace_with(re.sub(r"\s+", " ", string))
    for tag in soup(_BLOCK_TAGS):
        tag.insert_before("\n")
        tag.insert_after("\n")
    lines = (" ".join(line.split()) for line in soup.get_text().splitlines())
    return "\n".join(line for line in lines if line), {}


def read_pdf(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a PDF file, pages parted by an empty line.

    Metadata: ``pages``, their number, and ``page_offsets``, the character offset in the text where each begins.

    Raises:
        CorpusFormatError: the file is damaged, or needs a password.
        MissingDependencyError: pypdf is not installed.
    """
    pypdf = _require("pypdf", "pypdf", "pdf", path)
    try:
        with _not_on_stderr("pypdf"):
            pages = [page.extract_text().strip() for page in pypdf.PdfReader(path).pages]
    # pypdf raises its own errors for what it checks, and built-in ones where a damaged file surprises it
    except Exception as error:
        raise CorpusFormatError(
            f"{path}: cannot be read as PDF ({type(error).__name__}: {error}); "
            f"save it again without a password, or convert it to text"
        ) from error
    text = ""
    offsets: list[int] = []
    for page in pages:
        text += "\n\n" if offsets else ""
        offsets.append(len(text))
        text += page
    return text, {"pages": len(pages), "page_offsets": offsets}


@contextmanager
def _not_on_stderr(name: str) -> Iterator[None]:
    """Keep a logger's warnings from stderr, where they go when nobody has asked for them; who did still gets them."""
    # a handler of our own and not a level: other threads may be here too
    handler = logging.NullHandler()
    logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger(name).removeHandler(handler)


def _require(module: str, package: str, extra: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{path}: reading this file needs {package}; run: pip install 'late-interaction-rag[{extra}]'"
        ) from error
