"""Records that the catalog keeps as JSON, checked when they are read: a catalog is untrusted input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["CodecRecord", "FileRecord", "IndexSettings", "SegmentRecord"]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
# folders that are replaced are removed, so no other folder of an index may go by these names
SegmentName = Annotated[str, StringConstraints(pattern=r"^segment-[0-9a-f]{1,32}$")]
CodecName = Annotated[str, StringConstraints(pattern=r"^codec-[0-9a-f]{1,32}$")]
Count = Annotated[int, Field(ge=0, le=2**48)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileRecord(_Record):
    """A file as it was committed."""

    name: Name
    size: Count
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CodecRecord(_Record):
    """A codec: its folder, its shape, the number of tokens that the corpus had when it was trained.

    ``on_trellis`` says how one and two bits are to be read, ``group_size`` how many centroids in a row resemble one
    another. Both came later than the format, as the settings below.
    """

    name: CodecName
    n_centroids: Annotated[int, Field(ge=1, le=2**18)]
    trained_on: Annotated[int, Field(ge=1, le=2**48)]
    files: dict[Name, FileRecord]
    on_trellis: bool = False
    group_size: Annotated[int, Field(ge=1, le=2**18)] = 1


class SegmentRecord(_Record):
    """A segment: its folder, the codec that packed it (None: plain float16 vectors), its size."""

    name: SegmentName
    codec: CodecName | None
    n_documents: Count
    n_tokens: Count
    n_escapes: Count
    posting_bytes: Count | None
    files: dict[Name, FileRecord]


class IndexSettings(_Record):
    """What is fixed when an index is created.

    A setting with a default came later than the format: it is stored only where it differs, so that an older index
    can be read, and a newer one that does without it can be read by an older version.
    """

    dim: Annotated[int, Field(ge=1, le=1024)]
    bits: Literal[1, 2, 4, 8]
    exact_tokens: Count
    probe_tokens: Count
    seed: Annotated[int, Field(ge=0, lt=2**31 - 1)]
    model: dict[str, Any]
    pool_factor: Annotated[int, Field(ge=1, le=4)] = 1
    word_pairs: bool = False
