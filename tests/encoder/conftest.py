"""The built-in model once per session, and a tiny model with random weights in several file layouts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny_models

from colbert_rag.encoder import Encoder, precision

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from transformers import BertModel, PreTrainedTokenizerFast


@pytest.fixture(autouse=True)
def documents_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """With "auto", what a test compares to many digits would depend on the CPU."""
    monkeypatch.setattr(precision, "_cpu_gains", lambda: False)


@pytest.fixture(scope="session")
def builtin() -> Encoder:
    return Encoder(device="cpu")


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return tiny_models.tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_bert(tiny_tokenizer: PreTrainedTokenizerFast) -> BertModel:
    return tiny_models.tiny_bert(tiny_tokenizer)


@pytest.fixture(scope="session")
def bert_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: BertModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    tiny_bert.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def projection():
    return tiny_models.tiny_projection()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, bert_folder: Path, projection) -> Path:
    """A native sentence-transformers checkpoint with prompts, skiplist and query expansion."""
    folder = tmp_path_factory.mktemp("native")
    tiny_models.tiny_encoder(bert_folder, projection, strategy="fixed").save(str(folder))
    return folder


@pytest.fixture
def make_tiny(bert_folder: Path, projection) -> Callable[..., MultiVectorEncoder]:
    return partial(tiny_models.tiny_encoder, bert_folder, projection)


@pytest.fixture
def tiny_model(make_tiny) -> MultiVectorEncoder:
    return make_tiny(strategy="fixed")
