"""What a filter may hold, and the error that names the place of what it may not."""

from __future__ import annotations

import datetime
import difflib
import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from colbert_rag.errors import InvalidFilterError
from colbert_rag.filters.attributes import comparable
from colbert_rag.filters.tree import Scalar

__all__ = ["found", "items", "quoted", "refs_of", "refusal", "scalar", "text", "texts", "unknown_operator"]

_SHOWN = 60


def texts(values: object, place: str) -> tuple[str, ...]:
    """Ids.

    Raises:
        InvalidFilterError: no list of str.
    """
    return tuple(text(value, f"{place}[{n}]") for n, value in enumerate(items(values, place)))


def refs_of(values: object, place: str) -> tuple[str | None, ...]:
    """Ids of sources; None stands for documents without one.

    Raises:
        InvalidFilterError: no list of str and None.
    """
    given = enumerate(items(values, place))
    return tuple(None if value is None else text(value, f"{place}[{n}]") for n, value in given)


def items(values: object, place: str) -> Collection[Any]:
    """What is given where a list is expected.

    Raises:
        InvalidFilterError: neither a list, a tuple nor a set.
    """
    if not isinstance(values, list | tuple | set | frozenset):
        raise refusal(place, f"expected a list, found {found(values)}. Write [value], or list(values).")
    return values


def scalar(value: object, place: str) -> Scalar:
    """A value as it is compared.

    Raises:
        InvalidFilterError: neither a str nor a finite number.
    """
    if isinstance(value, str):
        return text(value, place)
    if not isinstance(value, int | float):
        raise refusal(place, f"expected a str or a number, found {found(value)}. {_advice(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal(place, f"expected a finite number, found {value}. To find missing values use $exists.")
    return comparable(value)


def _advice(value: object) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return "Compare dates as ISO strings, as in the metadata: value.isoformat()."
    if isinstance(value, bytes):
        return "Decode it: value.decode()."
    if value is None:
        return "To find missing values use $exists."
    if isinstance(value, list | tuple | set | frozenset):
        return "Several values go with $in or $all."
    if isinstance(value, Mapping):
        return 'A field of an object is named with a dot: "object.field".'
    return "Convert it first: dates to ISO strings, other types to str, int or float."


def text(value: object, place: str) -> str:
    """A field's name, an id, or a value that is a str.

    Raises:
        InvalidFilterError: no str, or not Unicode text.
    """
    if not isinstance(value, str):
        raise refusal(place, f"expected a str, found {found(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as err:
        problem = f"expected Unicode text, found a lone surrogate at character {err.start}."
        raise refusal(place, f"{problem} text.encode('utf-8', 'replace').decode() replaces it.") from err
    return str.__str__(value)


def unknown_operator(name: object, place: str, allowed: Collection[str], advice: str = "") -> InvalidFilterError:
    """The error for an operator that there is not; without advice it names the closest that there is."""
    close = difflib.get_close_matches(name.lower(), allowed, n=1) if isinstance(name, str) else []
    hint = advice or (f"Did you mean {close[0]}?" if close else "")
    shown = quoted(name) if isinstance(name, str) else found(name)
    return refusal(place, f"unknown operator {shown}. Allowed here: {', '.join(sorted(allowed))}. {hint}".rstrip())


def refusal(place: str, problem: str) -> InvalidFilterError:
    """The error for a wrong filter; ``place`` reads as Python, such as ``filter["year"]["$gte"]``."""
    return InvalidFilterError(f"{place}: {problem}")


def found(value: object) -> str:
    """What was given, for a message: its type, and a short text itself."""
    if isinstance(value, str):
        return f"the str {quoted(value)}"
    kind = type(value)
    if value is None or kind.__module__ == "builtins":
        return "None" if value is None else kind.__name__
    return f"{kind.__module__}.{kind.__qualname__}"


def quoted(text: str) -> str:
    """Text in double quotes, at most 60 characters of it, printable everywhere."""
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return json.dumps(short, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
