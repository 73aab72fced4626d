from __future__ import annotations

import base64
import hashlib
import re

import pytest

from colbert_rag.report import report_page

TEXT = "The notice is long. A period of months."
HOSTILE = "</script></style><img src=x onerror=alert(1)> \x00 \u202egnp.exe <b>notice</b> & \"a\" 'b' \x1b[2J period"


def test_the_page_shows_the_question_and_the_facts_of_each_hit(explained):
    first = explained(
        TEXT, id="handbook", ref_id="files/a.pdf", heading="Leaving", metadata={"year": 2024, "tags": ["a"]}
    )
    html = report_page("notice period?", [first, explained("other", id="b", score=1.0)], "hybrid")
    assert html.startswith("<!DOCTYPE html>\n<html lang=en>")
    text = re.sub("<[^>]*>", " ", html[html.index("<body>") :])
    for fact in (
        "notice period?",
        "handbook",
        "1.85",
        "0.46",
        "files/a.pdf",
        "Leaving",
        "2024",
        "&quot;a&quot;",
        "1.00",
    ):
        assert fact in text
    assert "late interaction and words together" in text


@pytest.mark.parametrize("mode", ["maxsim", "bm25", "hybrid"])
def test_every_link_leads_to_a_place_on_the_page(explained, read, mode):
    page = read(report_page("notice period?", [explained(TEXT, passages=((0, 19),)), explained("nothing")], mode))
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.by_id)


def test_nothing_is_loaded_and_no_script_may_run(explained, read):
    html = report_page("notice period?", [explained(TEXT)])
    [style] = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = re.findall(r'http-equiv=Content-Security-Policy content="([^"]*)"', html)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not {"script", "img", "link", "iframe", "object", "base"} & set(read(html).tags)
    assert not re.search(r"https?:|url\(|@import|style=", html)


def test_hostile_texts_stay_texts_wherever_they_stand(explained, read):
    plain = read(report_page("q", [explained("x" * 9, id="b", heading="h", ref_id="r", metadata={"k": "v"})]))
    given = {"id": HOSTILE, "heading": HOSTILE, "ref_id": HOSTILE, "metadata": {HOSTILE: HOSTILE}}
    html = report_page(HOSTILE, [explained(HOSTILE, **given)])
    assert set(read(html).tags) == set(plain.tags) | {"mark"}
    assert not set(html) & set("\x00\x1b\u202e")
    assert html.count("alert(1)&gt;") == html.count("alert(1)") > 8
    html.encode()


def test_relevance_is_left_out_where_no_maxsim_was_computed(explained):
    html = {mode: report_page("notice", [explained(TEXT)], mode) for mode in ("maxsim", "bm25", "hybrid")}
    assert {mode: "relevance" in page for mode, page in html.items()} == {"maxsim": True, "bm25": False, "hybrid": True}


@pytest.mark.parametrize("mode", ["maxsim", "bm25", "hybrid"])
def test_with_locality_the_page_does_not_say_that_similarities_add_up_to_the_score(explained, mode):
    whole, local = (report_page("notice", [explained(TEXT)], mode, locality=share) for share in (0.0, 0.25))
    assert "similarities is the document's MaxSim" in whole
    assert "locality" not in whole
    is_local = mode != "bm25"
    assert ("locality 0.25" in local) == ("not its score" in local) == is_local
    assert ("similarities is the document's MaxSim" in local) != is_local


def test_no_documents_are_said(read):
    assert "No document was found." in report_page("notice", [])
