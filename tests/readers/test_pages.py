from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from colbert_rag.errors import CorpusFormatError, MissingDependencyError
from colbert_rag.readers.pages import read_html, read_pdf, read_plain


def pdf_bytes(*pages: str) -> bytes:
    """Build a PDF by hand: a page tree, and for each page a content stream that shows one line."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    body, offsets = b"%PDF-1.4\n", []
    for n, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{n} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return (
        body
        + (
            f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
            f"startxref\n{len(body)}\n%%EOF\n"
        ).encode()
    )


def test_plain_text_is_unchanged(tmp_path: Path):
    path = tmp_path / "a.md"
    path.write_bytes(b"# Title\r\n\r\n  body\n")
    assert read_plain(path) == ("# Title\r\n\r\n  body\n", {})


def test_html_gives_the_visible_blocks_one_a_line(tmp_path: Path):
    path = tmp_path / "a.html"
    path.write_text(
        "<!DOCTYPE html><html><head><title>Handbook</title><style>p {color: red}</style></head><body>"
        "<!-- hidden --><h1>Notice\n period</h1><p>Three <b>mon</b>ths &amp; a day,<br>or less.</p>"
        "<script>alert('x')</script><ul><li>one<li>two</ul><pre>a\nb</pre></body></html>"
    )
    lines = ["Handbook", "Notice period", "Three months & a day,", "or less.", "one", "two", "a", "b"]
    assert read_html(path) == ("\n".join(lines), {})


def test_the_pages_of_a_pdf_begin_at_their_offsets(tmp_path: Path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf_bytes("The first page", "The second page"))
    text, metadata = read_pdf(path)
    assert text == "The first page\n\nThe second page"
    assert metadata == {"pages": 2, "page_offsets": [0, text.index("The second")]}


@pytest.mark.parametrize("content", [b"", b"no PDF at all", pdf_bytes("text")[:60]])
def test_a_damaged_pdf_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "a.pdf"
    path.write_bytes(content)
    with pytest.raises(CorpusFormatError, match="cannot be read as PDF"):
        read_pdf(path)


def test_a_warning_of_pypdf_goes_only_where_logging_was_asked_for(tmp_path: Path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"no PDF at all")
    code = (
        "import sys, logging, pathlib; from colbert_rag.readers.pages import read_pdf\n"
        "if sys.argv[2:]: logging.basicConfig()\n"
        "logger = logging.getLogger('pypdf')\n"
        "try: read_pdf(pathlib.Path(sys.argv[1]))\n"
        "except ValueError: assert (logger.handlers, logger.level, logger.propagate) == ([], 0, True)\n"
        "else: sys.exit('it was read')"
    )
    for asked in ([], ["asked"]):
        command = [sys.executable, "-c", code, path, *asked]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        assert ("EOF marker not found" in said) == bool(asked), said
        assert asked or not said


def test_a_pdf_with_a_password_is_refused(tmp_path: Path):
    pypdf = pytest.importorskip("pypdf")
    (tmp_path / "plain.pdf").write_bytes(pdf_bytes("secret"))
    writer = pypdf.PdfWriter(clone_from=tmp_path / "plain.pdf")
    writer.encrypt("password", algorithm="RC4-40")
    path = tmp_path / "locked.pdf"
    writer.write(path)
    with pytest.raises(CorpusFormatError, match="without a password"):
        read_pdf(path)


@pytest.mark.parametrize(
    ("module", "read", "extra"), [("bs4", read_html, "html"), ("pypdf", read_pdf, "pdf")], ids=["html", "pdf"]
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path: Path, module, read, extra):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "a").write_text("x")
    with pytest.raises(MissingDependencyError, match=rf"pip install 'late-interaction-rag\[{extra}\]'"):
        read(tmp_path / "a")


def test_html_that_the_parser_gives_up_on_is_refused(tmp_path: Path):
    path = tmp_path / "a.html"
    path.write_text("<p>before</p><![CDA[x]]>", encoding="utf-8")
    with pytest.raises(CorpusFormatError, match="cannot be read as HTML"):
        read_html(path)
