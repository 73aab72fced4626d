"""The context of a language model: the evidence of found documents within a budget of tokens."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

from colbert_rag.errors import InvalidArgumentError, InvalidQueryError
from colbert_rag.types import Hit, Passage

__all__ = ["Context", "Excerpt", "build_context", "estimate_tokens", "passages_to_fill"]

_log = logging.getLogger(__name__)

_GAP = " … "
# what LangChain and LlamaIndex put between the documents of a prompt
_BETWEEN_DOCUMENTS = "\n\n"
# a short sentence has as many
_SENTENCE_TOKENS = 16
# the most passages that a search gives of one document
_MOST_PASSAGES = 100
_COUNTED = re.compile(r"[A-Za-z]+|\n+| {2,}|[^ \n]")
# an excerpt that would take this many times the room that is left is not counted
_HOPELESS = 2


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The evidence of one document that stands in a context.

    Attributes:
        hit: The document, whole.
        passages: In text order, neighbours made one; offsets count in ``hit.text``.
        text: What the language model reads: the evidence, as ``render`` wrote it.
        n_tokens: Tokens of ``text`` and of the blank line after it.
        left_out: Passages of this document for which there was no room, best first.
    """

    hit: Hit
    passages: tuple[Passage, ...]
    text: str
    n_tokens: int
    left_out: tuple[Passage, ...] = ()

    @property
    def evidence(self) -> str:
        """The passages, with " … " where text between them is left out."""
        return _joined(self.passages)


@dataclass(frozen=True, slots=True)
class Context:
    """Evidence that fits a budget.

    Attributes:
        excerpts: One of each document of which something fits, in the order of the hits.
        n_tokens: Of all excerpts, at most the budget.
        left_out: What did not fit, best first: the document's id and the passage.
    """

    excerpts: tuple[Excerpt, ...]
    n_tokens: int
    left_out: tuple[tuple[str, Passage], ...]

    @property
    def text(self) -> str:
        """All excerpts, a blank line between them."""
        return _BETWEEN_DOCUMENTS.join(excerpt.text for excerpt in self.excerpts)


def estimate_tokens(text: str) -> int:
    """How many tokens a language model makes of a text: an estimate without a tokeniser.

    A word of ASCII letters counts one for every three of them; one for every two where it is in capitals or has more
    than nine, and one for each where it has more than twenty. Each digit, sign and tab counts one, and so do line
    breaks in a row, and every four of several blanks in a row. Of other scripts, a Cyrillic letter counts one, a
    Chinese, Japanese or Korean one counts one and a half, and everything else one for each byte of UTF-8.

    For prose and code that is mostly more than a tokeniser makes of it, often by half. Strings of random letters, and
    scripts that a tokeniser has hardly seen, can take more. The tokeniser of your model counts exactly.
    """
    return -(-sum(_half_tokens_of(part) for part in _COUNTED.findall(text)) // 2)


def _half_tokens_of(part: str) -> int:
    if part.isascii() and part.isalpha():
        return 2 * -(-len(part) // _letters_of_a_token(part))
    if part.isascii():
        return 2 if part[0] != " " else 2 * -(-len(part) // 4)
    if "\u0400" <= part < "\u0530":
        return 2
    if "\u2e80" <= part < "\ud800" or "\uff00" <= part <= "\uffef":
        return 3
    return 2 * len(part.encode("utf-8", "surrogatepass"))


def _letters_of_a_token(word: str) -> int:
    if len(word) > 20:
        return 1
    return 2 if len(word) > 9 or not (word[1:].islower() or len(word) == 1) else 3


def passages_to_fill(max_tokens: int, passage_sentences: int = 1, passages: int | None = None) -> int:
    """How many passages of each document to ask a search for, so that a budget is filled where there is evidence.

    Args:
        max_tokens: The budget.
        passage_sentences: Sentences of a passage.
        passages: How many the caller wants; None for as many as may fill the budget.

    Raises:
        InvalidQueryError: the budget or ``passage_sentences`` is no whole number of 1 or more, or ``passages`` is 0.
    """
    budget = _checked_budget(max_tokens)
    if not _is_whole(passage_sentences) or passage_sentences < 1:
        msg = f"passage_sentences must be a whole number, at least 1, found {passage_sentences!r}."
        raise InvalidQueryError(msg)
    if passages is None:
        return min(_MOST_PASSAGES, max(1, budget // (_SENTENCE_TOKENS * int(passage_sentences))))
    if passages == 0:
        msg = "passages=0 leaves no evidence to fill a context with; leave it out, or leave the budget out."
        raise InvalidQueryError(msg)
    return passages


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _checked_budget(max_tokens: int) -> int:
    if not _is_whole(max_tokens) or max_tokens < 1:
        msg = f"the budget of a context must be a whole number of tokens, at least 1, found {max_tokens!r}."
        raise InvalidQueryError(msg)
    return int(max_tokens)


def build_context(
    hits: Iterable[Hit],
    max_tokens: int,
    *,
    count_tokens: Callable[[str], int] = estimate_tokens,
    render: Callable[[Hit, str], str] | None = None,
) -> Context:
    """Choose the evidence that a language model gets to read.

    The passages of all hits are taken best first, by their own score; of equal ones that of the better hit. A passage
    that does not fit is left out whole, and a smaller one after it may still fit. The text of a hit without passages
    is one passage with a score of 0. A hit that is there again, with the same id and text, is one with the first.
    Documents are counted one by one, each with the blank line after it.

    ``count_tokens`` is called at most once for each passage, with the excerpt that it would make. A passage is left out
    uncounted where no room is left, or where its length says that it would take more than twice the room, by the
    fewest tokens for a character that have been counted so far.

    Args:
        hits: Of one query, best first, as the search gave them.
        max_tokens: The budget; at least 1.
        count_tokens: The number of tokens of a text, such as that of the language model; by default an estimate.
        render: How the excerpt of a hit stands in the prompt, for example with its title ahead of it; by default the
            excerpt alone. What it adds counts too.

    Returns:
        The context; empty where there are no hits.

    Raises:
        InvalidQueryError: the budget is no whole number of 1 or more, or so small that no passage fits.
        InvalidArgumentError: ``count_tokens`` gives something else than a whole number of 0 or more, ``render`` no str,
            or there is no list of hits, or a passage that is not in the text of its hit, as where a hit has been cut
            to its evidence already.
    """
    budget = _checked_budget(max_tokens)
    found = _united(hits)
    room = _Room(found, budget, count_tokens, render or _text_alone)
    left_out = [(n, passage) for n, passage in _best_first(found) if not room.take(n, passage)]
    if left_out and not room.taken:
        raise InvalidQueryError(_nothing_fits(room, left_out))
    if left_out:
        absent = [hit.id for n, hit in enumerate(found) if n not in room.taken]
        _log.info("%d passages had no room in %d tokens; documents left out: %s", len(left_out), max_tokens, absent)
    excerpts = tuple(
        Excerpt(found[n], *room.taken[n], tuple(passage for other, passage in left_out if other == n))
        for n in sorted(room.taken)
    )
    return Context(excerpts, room.used, tuple((found[n].id, passage) for n, passage in left_out))


def _united(hits: object) -> list[Hit]:
    """Each document once, at its best rank, with all of its passages."""
    if not isinstance(hits, Iterable):
        msg = f"build_context takes the hits of a search, found {type(hits).__name__}."
        raise InvalidArgumentError(msg)
    found: dict[tuple[str, str], Hit] = {}
    for n, hit in enumerate(hits):
        _check_hit(n, hit)
        known = found.get((hit.id, hit.text), hit)
        if known is not hit:
            ranked = sorted([*known.passages, *hit.passages], key=lambda passage: -passage.score)
            best = {(passage.start, passage.end): passage for passage in reversed(ranked)}.values()
            known = replace(known, passages=tuple(sorted(best, key=lambda passage: -passage.score)))
        found[hit.id, hit.text] = known
    return list(found.values())


def _check_hit(n: int, hit: object) -> None:
    if not isinstance(hit, Hit):
        msg = f"build_context takes the hits of one query, found {type(hit).__name__} at position {n}."
        raise InvalidArgumentError(msg)
    for passage in hit.passages:
        if hit.text[passage.start : passage.end] != passage.text:
            msg = (
                f"hit {hit.id!r}: its text has {hit.text[passage.start : passage.end][:40]!r} from {passage.start} to "
                f"{passage.end}, its passage {passage.text[:40]!r}. Offsets count in the whole text: give the hit as "
                "the search gave it, not one that has been cut to its evidence."
            )
            raise InvalidArgumentError(msg)


class _Room:
    """What has been taken of each hit, and how many tokens that is."""

    def __init__(
        self,
        hits: Sequence[Hit],
        max_tokens: int,
        count_tokens: Callable[[str], int],
        render: Callable[[Hit, str], str],
    ) -> None:
        self._hits = hits
        self.max_tokens = max_tokens
        self._count_tokens = count_tokens
        self._render = render
        self._counts: dict[str, int] = {}
        self._fewest_per_character = 0.0
        self.taken: dict[int, tuple[tuple[Passage, ...], str, int]] = {}
        self.used = 0

    def take(self, n: int, passage: Passage) -> bool:
        """Take a passage of hit ``n``, if it fits."""
        before, text_before, freed = self.taken.get(n, ((), "", 0))
        passages = tuple(_merged(self._hits[n].text, [*before, passage]))
        text = self.rendered(n, passages)
        if self._is_hopeless(len(text) - len(text_before)):
            return False
        n_tokens = self.counted(text)
        used = self.used - freed + n_tokens
        if used > self.max_tokens:
            return False
        self.taken[n], self.used = (passages, text, n_tokens), used
        return True

    def _is_hopeless(self, n_more: int) -> bool:
        if not self.taken or n_more <= 0:
            return False
        left = self.max_tokens - self.used
        return not left or n_more * self._fewest_per_character > _HOPELESS * left

    def rendered(self, n: int, passages: Sequence[Passage]) -> str:
        """The excerpt of hit ``n`` that these passages make."""
        text: object = self._render(self._hits[n], _joined(passages))
        if not isinstance(text, str):
            msg = f"render must give the text of a hit, a str, found {type(text).__name__}."
            raise InvalidArgumentError(msg)
        return text

    def counted(self, text: str) -> int:
        """The tokens of an excerpt and of the blank line after it."""
        counted = text + _BETWEEN_DOCUMENTS
        if counted not in self._counts:
            n_tokens = _whole_number(self._count_tokens(counted))
            rate = n_tokens / len(counted)
            self._fewest_per_character = min(rate, self._fewest_per_character or rate)
            self._counts[counted] = n_tokens
        return self._counts[counted]


def _whole_number(n_tokens: int) -> int:
    if not _is_whole(n_tokens):
        msg = (
            f"count_tokens must give the number of tokens, an int, found {type(n_tokens).__name__}. "
            "With a tokenizer write count_tokens=lambda text: len(tokenize(text))."
        )
        raise InvalidArgumentError(msg)
    if n_tokens < 0:
        msg = f"count_tokens must give 0 tokens or more, found {n_tokens}."
        raise InvalidArgumentError(msg)
    return int(n_tokens)


def _joined(passages: Sequence[Passage]) -> str:
    return _GAP.join(passage.text for passage in passages)


def _text_alone(hit: Hit, text: str) -> str:
    return text


def _best_first(hits: Sequence[Hit]) -> list[tuple[int, Passage]]:
    pairs = [(n, passage) for n, hit in enumerate(hits) for passage in hit.passages or [_whole(hit)]]
    return sorted(pairs, key=lambda pair: -pair[1].score)


def _whole(hit: Hit) -> Passage:
    return Passage(0, len(hit.text), hit.text, 0.0)


def _merged(text: str, passages: Sequence[Passage]) -> Iterator[Passage]:
    """Passages in text order; those with nothing but blanks between them become one, with the better score."""
    first, *rest = sorted(passages, key=lambda passage: (passage.start, passage.end))
    for passage in rest:
        if text[first.end : passage.start].strip():
            yield first
            first = passage
        else:
            start, end = first.start, max(first.end, passage.end)
            matches = tuple(sorted({*first.matches, *passage.matches}))
            first = Passage(start, end, text[start:end], max(first.score, passage.score), matches)
    yield first


def _nothing_fits(room: _Room, passages: Sequence[tuple[int, Passage]]) -> str:
    needed = [room.counted(room.rendered(n, [passage])) for n, passage in passages]
    return (
        f"a context of {room.max_tokens} tokens has no room for any of {len(needed)} passages: the best takes "
        f"{needed[0]} tokens, the smallest {min(needed)}. Allow at least {needed[0]}, or search for shorter passages."
    )
