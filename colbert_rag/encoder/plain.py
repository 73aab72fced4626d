"""A plain text encoder: its backbone and prompts, without what makes one vector of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from colbert_rag.encoder.loading import (
    Checkpoint,
    explained,
    is_late_interaction,
    read_json,
    read_modules,
    without_progress_bars,
)
from colbert_rag.encoder.tokenise import check_ids, check_vocabulary, table_size
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer

__all__ = ["load_plain"]


def load_plain(checkpoint: Checkpoint) -> tuple[Transformer, dict[str, str]]:
    """Load the backbone of a sentence-embedding model or of a Hugging Face encoder, and its two prompts.

    Pooling, heads and normalisation of a sentence-embedding model are left out.

    Args:
        checkpoint: Which one; its weights are read from safetensors files alone.

    Returns:
        The backbone, and the prompts by the names "query" and "document", empty where there are none.

    Raises:
        ModelNotFoundError: there is no such model, or it could not be fetched.
        ModelUnsupportedError: the model is a late-interaction model already, is no text encoder, lacks weights, or
            needs code that it is not trusted to run.
    """
    if is_late_interaction(checkpoint):
        raise ModelUnsupportedError(
            f"{checkpoint.name} is a late-interaction model already, with a trained projection. Use "
            f"Encoder({checkpoint.name!r})."
        )
    settings = read_json(checkpoint, "config_sentence_transformers.json") or {}
    prompts = _prompts(settings.get("prompts"), checkpoint.name)
    with explained(checkpoint, " (weights are read from safetensors files alone)"), without_progress_bars():
        transformer = _load_transformer(checkpoint)
        _check_is_encoder(transformer, checkpoint.name)
    return transformer, prompts


def _load_transformer(checkpoint: Checkpoint) -> Transformer:
    from colbert_rag.encoder.complete import CompleteTransformer

    modules = read_modules(checkpoint)
    hub: dict[str, Any] = {
        "subfolder": "" if modules is None else _first_folder(modules, checkpoint.name),
        "revision": checkpoint.revision,
        "trust_remote_code": checkpoint.trust_remote_code,
        "local_files_only": checkpoint.local_files_only,
        "token": checkpoint.token,
    }
    weights = hub | {"use_safetensors": True}
    transformer: Transformer
    if modules is None:
        transformer = CompleteTransformer(
            checkpoint.name, model_kwargs=weights, processor_kwargs=hub, config_kwargs=hub
        )
    else:
        transformer = CompleteTransformer.load(checkpoint.name, model_kwargs=weights, **hub)
    return transformer


def _first_folder(modules: list[dict[str, JsonValue]], name: str) -> str:
    """Where the first module of a sentence-embedding model lies, which must be a Transformer."""
    kind = str(modules[0]["type"])
    if not kind.endswith("Transformer"):
        raise ModelUnsupportedError(
            f"{name} starts with {kind}; expected a Transformer over text. Name a BERT-like text encoder."
        )
    return str(modules[0]["path"])


def _check_is_encoder(transformer: Transformer, name: str) -> None:
    """Refuse what gives no vector per token of a text, or one that knows only the text before it."""
    if transformer.tokenizer is None or transformer.module_output_name != "token_embeddings":
        raise ModelUnsupportedError(
            f"{name} gives no vector per token of a text: it reads {' and '.join(map(str, transformer.modalities))}. "
            f"Name a BERT-like text encoder."
        )
    if hasattr(transformer.auto_model, "decoder") or not _looks_ahead(transformer):
        raise ModelUnsupportedError(
            f"{name} reads from left to right, as generative models do: a token's vector would know nothing of what "
            f"follows it. Name a BERT-like text encoder."
        )


def _looks_ahead(transformer: Transformer) -> bool:
    """Whether the first token's vector changes with a later token."""
    import torch

    tokenizer, backbone = transformer.tokenizer, transformer.auto_model
    assert tokenizer is not None
    check_vocabulary(tokenizer)
    ids = torch.tensor([tokenizer("Where is the Moon?")["input_ids"]])
    check_ids(int(ids.max()), table_size(transformer))
    other = ids.clone()
    other[0, -2] = ids[0, 0]
    with torch.inference_mode():
        first, changed = (
            backbone(input_ids=row, attention_mask=torch.ones_like(row)).last_hidden_state[0, 0] for row in (ids, other)
        )
    return not torch.allclose(first, changed, rtol=0, atol=1e-5)


def _prompts(stated: JsonValue, name: str) -> dict[str, str]:
    """The prompts for queries and documents under the names that sentence-transformers looks for."""
    named: Mapping[str, str | None] = {} if stated is None else stated
    if not isinstance(named, dict) or not all(isinstance(prompt, str | None) for prompt in named.values()):
        raise ModelUnsupportedError(
            f"{name}: the prompts in config_sentence_transformers.json are {stated!r}; expected texts by name."
        )
    document = next((prompt for name in ("document", "passage", "corpus") if (prompt := named.get(name))), "")
    return {"query": named.get("query") or "", "document": document}
