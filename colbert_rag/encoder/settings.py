"""What a user may set on an encoder, checked before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from colbert_rag.encoder.precision import PRECISIONS, Precision
from colbert_rag.errors import InvalidDocumentError, InvalidQueryError, ModelUnsupportedError

__all__ = ["EncoderSettings", "check_least", "check_texts", "checked_dim"]

_GPU = re.compile(r"cuda:\d{1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSettings:
    """The options of ``Encoder`` that do not name the model and are no secret; see there."""

    device: str | None
    dim: int | None
    document_length: int | None
    query_length: int | None
    batch_tokens: int | None
    precision: Precision
    window_overlap: int
    trust_remote_code: bool
    revision: str | None
    local_files_only: bool

    def __post_init__(self) -> None:
        for name, least in (("dim", 1), ("document_length", 1), ("query_length", 1), ("batch_tokens", 1)):
            if getattr(self, name) is not None:
                check_least(name, getattr(self, name), least)
        check_least("window_overlap", self.window_overlap, 0)
        _check_device(self.device)
        if self.precision not in PRECISIONS:
            raise ModelUnsupportedError(f"precision must be one of {', '.join(PRECISIONS)}, found {self.precision!r}.")

    @property
    def first_device(self) -> str | None:
        """The only device, or the first of several; None for the best there is."""
        return None if self.device is None else str(self.device).split(",")[0]

    @property
    def other_devices(self) -> tuple[str, ...]:
        """Those behind the first."""
        return tuple(str(self.device).split(",")[1:])


def _check_device(device: str | None) -> None:
    # what a single name may be is torch's to say
    if "," in str(device):
        names = str(device).split(",")
        if len(set(names)) < len(names) or not all(map(_GPU.fullmatch, names)):
            msg = f'device={device!r} is not possible: several are named such as "cuda:0,cuda:1", each once.'
            raise ModelUnsupportedError(msg)


def check_least(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        ModelUnsupportedError: naming the option.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ModelUnsupportedError(f"{name}={value!r} is not possible: at least {least} expected, a whole number.")


def checked_dim(dim: int | None, full: int) -> int:
    """The dimensions that are kept of a model that has ``full``.

    Raises:
        ModelUnsupportedError: more are asked for.
    """
    if dim is not None and not 1 <= dim <= full:
        raise ModelUnsupportedError(f"dim={dim} is not possible: the model's vectors have {full} dimensions.")
    return dim or full


def check_texts(
    texts: Sequence[str], kind: str, error_class: type[InvalidDocumentError] | type[InvalidQueryError]
) -> None:
    """Refuse what is not a sequence of strings that UTF-8 can hold, naming the position.

    Raises:
        InvalidDocumentError: or the other class that was given.
    """
    if isinstance(texts, str):
        raise error_class(f"A sequence of texts was expected, found one string. Pass [text] for a single {kind}.")
    if not isinstance(texts, Sequence):
        raise error_class(
            f"A sequence of texts was expected, found a {type(texts).__name__}. Pass a list of them: list(texts)."
        )
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise error_class(f"{kind} {position}: a string was expected, found {type(text).__name__}.")
        if not text.isascii():
            _check_encodable(text, f"{kind} {position}", error_class)


def _check_encodable(text: str, where: str, error_class: type[InvalidDocumentError] | type[InvalidQueryError]) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise error_class(
            f"{where}: character {error.start} is half of a surrogate pair, which no text may hold. Decode the text "
            f"again from its source."
        ) from error
