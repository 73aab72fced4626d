"""The context of a language model: the evidence of found documents within a budget of tokens."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
_COUNTED = re.compile(r"[A-Za-z]+|[^\x00-\x7f\s]+|\n\s*|\S")


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
    """How many tokens a language model makes of a text, rather too many than too few.

    One for every three ASCII letters of a word, for each ASCII digit and sign, and for each line break with the blanks
    after it; one for every two bytes of UTF-8 of everything else. Tokenisers differ: the one of your model counts
    exactly.
    """
    return sum(_tokens_of(part) for part in _COUNTED.findall(text))


def _tokens_of(part: str) -> int:
    if not part.isascii():
        return -(-len(part.encode("utf-8", "surrogatepass")) // 2)
    return -(-len(part) // 3) if part.isalpha() else 1


def passages_to_fill(max_tokens: int, passage_sentences: int = 1) -> int:
    """How many passages of each document to ask a search for, so that a budget is filled where there is evidence.

    Args:
        max_tokens: The budget.
        passage_sentences: Sentences of a passage.

    Raises:
        InvalidQueryError: the budget is no whole number of 1 or more.
    """
    _check_budget(max_tokens)
    return min(_MOST_PASSAGES, max(1, max_tokens // (_SENTENCE_TOKENS * max(1, passage_sentences))))


def _check_budget(max_tokens: int) -> None:
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        msg = f"the budget of a context must be a whole number of tokens, at least 1, found {max_tokens!r}."
        raise InvalidQueryError(msg)


def build_context(
    hits: Sequence[Hit],
    max_tokens: int,
    *,
    count_tokens: Callable[[str], int] = estimate_tokens,
    render: Callable[[Hit, str], str] | None = None,
) -> Context:
    """Choose the evidence that a language model gets to read.

    The passages of all hits are taken best first, by their own score; of equal ones that of the better hit. A passage
    that does not fit is left out whole, and a smaller one after it may still fit. The text of a hit without passages
    is one passage with a score of 0. Documents are counted one by one, each with the blank line after it.

    Args:
        hits: Of one query, best first.
        max_tokens: The budget; at least 1.
        count_tokens: The number of tokens of a text, such as that of the language model; by default an estimate.
        render: How the excerpt of a hit stands in the prompt, for example with its title ahead of it; by default the
            excerpt alone. What it adds counts too.

    Returns:
        The context; empty where there are no hits.

    Raises:
        InvalidQueryError: the budget is no whole number of 1 or more, or so small that no passage fits.
        InvalidArgumentError: ``count_tokens`` gives something else than a whole number.
    """
    _check_budget(max_tokens)
    room = _Room(hits, max_tokens, count_tokens, render or _text_alone)
    left_out = [(n, passage) for n, passage in _best_first(hits) if not room.take(n, passage)]
    if left_out and not room.taken:
        raise InvalidQueryError(_nothing_fits(room, left_out))
    if left_out:
        absent = [hit.id for n, hit in enumerate(hits) if n not in room.taken]
        _log.info("%d passages had no room in %d tokens; documents left out: %s", len(left_out), max_tokens, absent)
    excerpts = tuple(
        Excerpt(hits[n], *room.taken[n], tuple(passage for other, passage in left_out if other == n))
        for n in sorted(room.taken)
    )
    return Context(excerpts, room.used, tuple((hits[n].id, passage) for n, passage in left_out))


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
        self.taken: dict[int, tuple[tuple[Passage, ...], str, int]] = {}
        self.used = 0

    def take(self, n: int, passage: Passage) -> bool:
        """Take a passage of hit ``n``, if it fits."""
        before, _, freed = self.taken.get(n, ((), "", 0))
        passages = tuple(_merged(self._hits[n].text, [*before, passage]))
        text, n_tokens = self.counted(n, passages)
        used = self.used - freed + n_tokens
        if used > self.max_tokens:
            return False
        self.taken[n], self.used = (passages, text, n_tokens), used
        return True

    def counted(self, n: int, passages: Sequence[Passage]) -> tuple[str, int]:
        """The excerpt of hit ``n`` that these passages make, and its tokens."""
        text = self._render(self._hits[n], _joined(passages))
        n_tokens: object = self._count_tokens(text + _BETWEEN_DOCUMENTS)
        if not isinstance(n_tokens, int):
            msg = (
                f"count_tokens must give the number of tokens, an int, found {type(n_tokens).__name__}. "
                "With a tokenizer write count_tokens=lambda text: len(tokenize(text))."
            )
            raise InvalidArgumentError(msg)
        return text, n_tokens


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
    needed = [room.counted(n, [passage])[1] for n, passage in passages]
    return (
        f"a context of {room.max_tokens} tokens has no room for any of {len(needed)} passages: the best takes "
        f"{needed[0]} tokens, the smallest {min(needed)}. Allow at least {needed[0]}, or search for shorter passages."
    )
