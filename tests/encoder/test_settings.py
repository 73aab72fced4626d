from __future__ import annotations

import pytest

from colbert_rag.encoder.settings import check_texts
from colbert_rag.errors import InvalidDocumentError, InvalidQueryError


def test_texts_of_any_script_pass():
    check_texts(["plain", "", "日本語 🙂"], "document", InvalidDocumentError)


def test_error_is_of_the_class_that_was_asked_for():
    with pytest.raises(InvalidQueryError, match="query 1: a string was expected, found bytes"):
        check_texts(["a", b"b"], "query", InvalidQueryError)
