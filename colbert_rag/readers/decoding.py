"""Bytes become text: UTF-8 only, and an error says where a file is not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from colbert_rag.errors import CorpusFormatError

__all__ = ["read_lines", "read_text"]

_BOM = b"\xef\xbb\xbf"


def read_text(path: Path) -> str:
    """Read a whole UTF-8 file; a byte order mark at its start is dropped.

    Raises:
        CorpusFormatError: the file is not UTF-8; the message names the offset of the first wrong byte.
    """
    data = path.read_bytes()
    bom = len(_BOM) if data.startswith(_BOM) else 0
    return _decode(data[bom:], path, bom)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Stream the lines of a UTF-8 file, gzip-compressed where its name ends in ``.gz``.

    Yields:
        Line number from 1, and the line with its end.

    Raises:
        CorpusFormatError: the file is not UTF-8, or not the gzip file that its name promises.
    """
    offset = 0
    with _open(path) as file:
        try:
            for number, line in enumerate(file, 1):
                bom = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
                yield number, _decode(line[bom:], path, offset + bom)
                offset += len(line)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CorpusFormatError(f"{path}: not a complete gzip file ({error}); compress it again") from error


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _decode(data: bytes, path: Path, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = offset + error.start
        raise CorpusFormatError(
            f"{path}: expected UTF-8, found byte 0x{data[error.start]:02x} at byte offset {at:,}; "
            f"convert it first, for example: iconv -f LATIN1 -t UTF-8"
        ) from error
