"""The report in a real browser: what is marked, that nothing is loaded, that nothing is complained of."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from colbert_rag.report import report_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed (Debian: apt-get install chromium)")

BEFORE, AFTER = "one two three. " * 4000, " four five six." * 4000
HOSTILE = "</script><b>bold</b> \x00 \u202egnp.exe & \"a\" 'b' \x1b[2J <!-- "
TEXT = f"{BEFORE}The notice is long. {HOSTILE}<img src=ORIGIN/escaped>A period of months.{AFTER}"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., tuple[str, list[str]]]:
    """Load a page: what its elements have become, and the messages of its console."""

    def load(html: str, *options: str) -> tuple[str, list[str]]:
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        common = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        command = [str(CHROMIUM), *common, profile, "--enable-logging=stderr", "--virtual-time-budget=2000", *options]
        run = subprocess.run([*command, path.as_uri()], capture_output=True, encoding="utf-8", timeout=120, check=True)
        return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]

    return load


def test_the_browser_shows_the_whole_text_with_the_marks_on_what_was_matched(browse, explained, read, server):
    text = TEXT.replace("ORIGIN", server[0])
    start = text.index("The notice")
    explanation = explained(text, id=HOSTILE, metadata={HOSTILE: HOSTILE}, passages=((start, start + 19),))
    dom, messages = browse(report_page(HOSTILE, [explanation]), "--dump-dom")
    page = read(dom)
    assert page.document == text.translate({0: "\u2400", 0x1B: "\u241b", 0x202E: "\ufffd"})
    assert (page.by_id["d1-m0"], page.by_id["d1-m1"]) == ("notice", "period")
    assert dom.count("<details") == 5  # how to read, metadata, tokens of no word, and the text before and after
    assert '<span class="passage" title="evidence 1, score 1.25">The <mark' in dom
    assert messages == []
    assert server[1] == []


def test_even_markup_that_was_not_escaped_could_load_and_run_nothing(browse, explained, server):
    origin, asked = server
    injected = (
        f'<img src="{origin}/image"><link rel=stylesheet href="{origin}/style"><script src="{origin}/script"></script>'
        f"<iframe src='{origin}/frame'></iframe><script>document.title = 'run'</script>"
        f"<style>body {{ background: url({origin}/background) }}</style>"
    )
    dom, messages = browse(
        report_page("notice", [explained("notice")]).replace("<main>", f"{injected}<main>"), "--dump-dom"
    )
    assert asked == []
    assert "<title>notice</title>" in dom
    assert messages
    control, _ = browse(f"<!DOCTYPE html><title>notice</title>{injected}", "--dump-dom")
    assert {"/image", "/style", "/script", "/frame"} <= set(asked)
    assert "<title>run</title>" in control


BLOCKS = "#d1 .text, #d1 .heading, #d1 h2, #d1 dl div, #d1 td, nav li:first-child a"


@pytest.mark.parametrize("is_contained", [True, False])
def test_what_is_piled_on_a_letter_is_painted_over_no_other_text(browse, explained, tmp_path, is_contained):
    """Under covers on its own blocks a hostile document cannot be seen: the picture is the same when it is hidden."""
    piled, short = "n" + "\u0301" * 2000 + "otice", "i" + "\u030d" * 200
    hostile = explained(
        f"{piled} notice {piled} period", id=short, heading=piled, metadata={piled: piled}, ref_id=piled
    )
    page = report_page("notice period?", [hostile, explained("The notice is long. A period of months.", id="b")])
    page = page.replace(page[page.index("<meta http-equiv") : page.index("<meta name=viewport")], "")
    if not is_contained:
        page = page.replace("contain: paint", "")
    covers = ", ".join(f"{block}::after" for block in BLOCKS.split(", "))
    covered = (
        f"<style>{BLOCKS} {{ position: relative }}"
        f"{covers} {{ content: ''; position: absolute; inset: 0; background: #fff; visibility: visible }}</style>"
    )
    hidden = f"<style>{BLOCKS} {{ visibility: hidden }}</style>"
    pictures = []
    for n, style in enumerate((covered, covered + hidden)):
        picture = tmp_path / f"{n}.png"
        browse(page.replace("</body>", f"{style}</body>"), f"--screenshot={picture}", "--window-size=900,1400")
        pictures.append(picture.read_bytes())
    assert (pictures[0] == pictures[1]) == is_contained


@pytest.mark.parametrize("width", [500, 1200])
def test_no_text_makes_the_page_wider_than_the_window(browse, explained, width):
    """A script that only this test adds measures the page; chromium makes no narrower window than 500."""
    long = "notice " + "x" * 3000 + " period"
    page = report_page(long, [explained(long, id="i" * 500, metadata={"k" * 300: "v" * 3000}, heading="h" * 999)])
    policy = page[page.index("<meta http-equiv") : page.index("<meta name=viewport")]
    measure = (
        "<script>document.querySelectorAll('details').forEach(fold => { fold.open = true });"
        "const root = document.documentElement; document.title = root.scrollWidth - root.clientWidth</script></body>"
    )
    dom, _ = browse(page.replace(policy, "").replace("</body>", measure), f"--window-size={width},900", "--dump-dom")
    assert "<title>0</title>" in dom
