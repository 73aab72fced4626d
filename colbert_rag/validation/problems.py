"""What is wrong with one value, in words."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["is_int", "listed", "surrogate_problem", "text_problem"]

_NAMED = 5


def text_problem(value: object, most: int) -> str | None:
    """What is wrong with a text of at most so many bytes of UTF-8; None for nothing."""
    if not isinstance(value, str):
        return f"the text must be a str, found {type(value).__name__}"
    if not value.strip():
        return "the text is blank"
    problem = surrogate_problem(value)
    if problem:
        return f"the text {problem}"
    if len(value) > most or len(value.encode()) > most:
        return f"the text has {len(value.encode()):,} bytes of UTF-8, at most {most:,} are allowed"
    return None


def surrogate_problem(value: str) -> str | None:
    """Where a str is not Unicode text; None for nowhere."""
    try:
        value.encode()
    except UnicodeEncodeError as err:
        fix = "text.encode('utf-8', 'replace').decode() replaces it"
        return f"has a lone surrogate at character {err.start}, which is not Unicode text; {fix}"
    return None


def listed(problems: Sequence[str], end: str) -> str:
    """One message of the first problems and a closing sentence."""
    more = f" (and {len(problems) - _NAMED} more)" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more + ". " + end


def is_int(value: object, least: int, most: int) -> bool:
    """Whether a value is an int, not a bool, in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
