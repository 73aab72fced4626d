from __future__ import annotations

import builtins
import inspect
import re

import pytest

from colbert_rag import errors
from colbert_rag.errors import ColbertRagError

CLASSES = {name: getattr(errors, name) for name in errors.__all__}
# lines such as "    ├── InvalidDocumentError   (ValueError)     a document is refused"
TREE = dict(re.findall(r"[├└]── (\w+)\s+\((\w+)\)", errors.__doc__))


def test_every_error_class_is_public_and_in_the_tree_of_the_docstring():
    defined = {n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)}
    assert defined == set(errors.__all__) == {"ColbertRagError", *TREE}


@pytest.mark.parametrize("name", sorted(TREE))
def test_each_error_has_our_root_and_the_builtin_of_the_tree(name):
    assert CLASSES[name].__bases__ == (ColbertRagError, getattr(builtins, TREE[name]))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_says_what_it_is_and_prints_its_message_as_it_is(name):
    assert CLASSES[name].__doc__
    assert str(CLASSES[name]("the 'message'")) == "the 'message'"
    assert str(CLASSES[name]()) == ""


def test_callers_may_catch_the_builtin_or_the_root():
    with pytest.raises(ValueError, match="k must"):
        raise errors.InvalidQueryError("k must be an int")
    with pytest.raises(ColbertRagError):
        raise errors.CorruptIndexError("a file")
