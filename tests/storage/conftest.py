from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resigning
from stored_rows import ROWS

from colbert_rag.storage import Catalog, IndexSettings, create_catalog
from colbert_rag.storage.files import write_array
from colbert_rag.types import Document


@pytest.fixture(scope="session")
def settings() -> IndexSettings:
    known = {"dim": 4, "bits": 4, "exact_tokens": 100, "probe_tokens": 1_000, "seed": 0, "model": {"model": None}}
    return IndexSettings(**known, word_pairs=True)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, settings: IndexSettings) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "index"
    create_catalog(folder, settings)
    return folder


@pytest.fixture
def folder(tmp_path: Path, empty: Path) -> Path:
    """An empty index."""
    return shutil.copytree(empty, tmp_path / "index")


@pytest.fixture
def catalog(folder: Path) -> Iterator[Catalog]:
    catalog = Catalog(folder, lock_timeout_s=0.05)
    yield catalog
    catalog.close()


@pytest.fixture
def store(catalog: Catalog) -> Callable[[dict[str, str]], None]:
    """``store({id: text})``: one committed write."""

    def store(texts: dict[str, str]) -> None:
        with catalog.writing() as writing:
            keys = writing.take_keys(len(texts))
            documents = (Document(i, text) for i, text in texts.items())
            writing.add_documents((key, d, 1) for key, d in zip(keys, documents, strict=True))

    return store


@pytest.fixture
def tamper(folder: Path) -> Callable[..., None]:
    """``tamper(sql, *values)``: what somebody else does to the catalog, who makes its checksums fit."""

    return partial(resigning.tamper, folder)


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """``rewrite(path, array)``: other numbers in an array file, header and size as they were."""

    def rewrite(path: Path, array: Any) -> None:
        content = path.read_bytes()
        data = np.ascontiguousarray(array).tobytes()
        assert len(content) == 128 + len(data)
        path.write_bytes(content[:128] + data)

    return rewrite


@pytest.fixture
def stored(tmp_path):
    """A folder with ROWS in ``rows.npy``, and its record."""
    folder = tmp_path / "segment"
    folder.mkdir()
    return folder, write_array(folder / "rows.npy", ROWS)
