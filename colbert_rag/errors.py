"""Every error that colbert_rag raises on purpose.

    ColbertRagError
    ├── InvalidDocumentError   (ValueError)     a document, an id or metadata is refused
    ├── InvalidVectorsError    (ValueError)     token vectors are refused
    ├── InvalidQueryError      (ValueError)     a query or a search option is refused
    ├── InvalidFilterError     (ValueError)     a metadata filter is refused
    ├── InvalidArgumentError   (TypeError)      an argument of a name or kind that a call does not take
    ├── DuplicateIdError       (ValueError)     an id is in the index already, or twice in one batch
    ├── IndexExistsError       (FileExistsError)
    ├── IndexNotFoundError     (FileNotFoundError)
    ├── CorruptIndexError      (OSError)        a file or a record is not what was committed
    ├── UnsupportedFormatError (OSError)        written by a newer version
    ├── StorageError           (OSError)        the disk is full or failing
    ├── IndexLockedError       (TimeoutError)   another writer holds the index
    ├── ReadOnlyIndexError     (PermissionError)
    ├── IndexClosedError       (RuntimeError)   used after close() or across a fork
    ├── ModelMismatchError     (ValueError)     another model than the index was built with
    ├── ModelNotFoundError     (FileNotFoundError)
    ├── ModelUnsupportedError  (ValueError)     a model that this library cannot use
    ├── CorpusFormatError      (ValueError)     a corpus, queries or qrels file cannot be read
    ├── DeviceError            (RuntimeError)   a device that was named is not there, fails, or scores differently
    ├── InvalidTrainingError   (ValueError)     settings, pairs or examples of a training are refused
    └── MissingDependencyError (ImportError)    an optional package is not installed

Each also inherits the built-in class that a caller would think of, so ``except ValueError`` works.
"""

from __future__ import annotations

__all__ = [
    "ColbertRagError",
    "CorpusFormatError",
    "CorruptIndexError",
    "DeviceError",
    "DuplicateIdError",
    "IndexClosedError",
    "IndexExistsError",
    "IndexLockedError",
    "IndexNotFoundError",
    "InvalidArgumentError",
    "InvalidDocumentError",
    "InvalidFilterError",
    "InvalidQueryError",
    "InvalidTrainingError",
    "InvalidVectorsError",
    "MissingDependencyError",
    "ModelMismatchError",
    "ModelNotFoundError",
    "ModelUnsupportedError",
    "ReadOnlyIndexError",
    "StorageError",
    "UnsupportedFormatError",
]


class ColbertRagError(Exception):
    """Root of all errors of this library."""

    def __str__(self) -> str:
        # OSError subclasses with one argument print it as it is; KeyError-like quoting is not wanted
        return str(self.args[0]) if self.args else ""


class InvalidDocumentError(ColbertRagError, ValueError):
    """A document is refused; nothing of its batch was written."""


class InvalidVectorsError(ColbertRagError, ValueError):
    """Token vectors are refused: wrong shape, not finite, or all zero."""


class InvalidQueryError(ColbertRagError, ValueError):
    """A query or a search option is refused."""


class InvalidFilterError(ColbertRagError, ValueError):
    """A metadata filter is refused."""


class InvalidArgumentError(ColbertRagError, TypeError):
    """An argument of a name or a kind that a call does not take."""


class DuplicateIdError(ColbertRagError, ValueError):
    """An id is in the index already, or occurs twice in one batch."""


class IndexExistsError(ColbertRagError, FileExistsError):
    """The folder that an index or a model should be written to is not empty."""


class IndexNotFoundError(ColbertRagError, FileNotFoundError):
    """The folder is no index."""


class CorruptIndexError(ColbertRagError, OSError):
    """A file or a record of the index is not what was committed."""


class UnsupportedFormatError(ColbertRagError, OSError):
    """The index was written in a format that this version does not know."""


class StorageError(ColbertRagError, OSError):
    """The disk is full or failing; what was committed before stands."""


class IndexLockedError(ColbertRagError, TimeoutError):
    """Another writer held the index for longer than the timeout."""


class ReadOnlyIndexError(ColbertRagError, PermissionError):
    """A write was asked of an index that is open for reading only."""


class IndexClosedError(ColbertRagError, RuntimeError):
    """The index object was used after close(), or in a forked child of its process."""


class ModelMismatchError(ColbertRagError, ValueError):
    """The given encoder is not the one that the index was built with."""


class ModelNotFoundError(ColbertRagError, FileNotFoundError):
    """No model could be found under the given name or path."""


class ModelUnsupportedError(ColbertRagError, ValueError):
    """The model exists, but this library cannot use it."""


class CorpusFormatError(ColbertRagError, ValueError):
    """A corpus, queries or qrels file cannot be read."""


class DeviceError(ColbertRagError, RuntimeError):
    """A device that was named is not there, fails, or gives other scores than the processor."""


class InvalidTrainingError(ColbertRagError, ValueError):
    """Settings, pairs or examples of a training are refused, or it diverges; no model is written."""


class MissingDependencyError(ColbertRagError, ImportError):
    """An optional package is needed and not installed; the message names the extra."""
