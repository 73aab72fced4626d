"""A plain text encoder: its backbone and prompts, without what makes one vector of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from colbert_rag.encoder.loading import (
    Checkpoint,
    is_late_interaction,
    not_found,
    read_json,
    without_progress_bars,
)
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
    from safetensors import SafetensorError

    if is_late_interaction(checkpoint):
        raise ModelUnsupportedError(
            f"{checkpoint.name} is a late-interaction model already, with a trained projection. Use "
            f"Encoder({checkpoint.name!r})."
        )
    try:
        with without_progress_bars():
            transformer, missing = _load_transformer(checkpoint)
    except OSError as error:
        raise not_found(checkpoint, f"{error} (weights are read from safetensors files alone)") from error
    except (ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelUnsupportedError(f"{checkpoint.name} cannot be loaded: {error}") from error
    _check_is_encoder(transformer, checkpoint.name)
    _check_is_complete(missing, checkpoint.name)
    settings = read_json(checkpoint, "config_sentence_transformers.json") or {}
    return transformer, _prompts(settings.get("prompts") or {})


def _load_transformer(checkpoint: Checkpoint) -> tuple[Transformer, list[str]]:
    """The backbone, and its tensors that the checkpoint does not hold."""
    from sentence_transformers.base.modules import Transformer

    modules = read_json(checkpoint, "modules.json")
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
        transformer = Transformer(checkpoint.name, model_kwargs=weights, processor_kwargs=hub, config_kwargs=hub)
    else:
        transformer = Transformer.load(checkpoint.name, model_kwargs=weights, **hub)
    # once more, as only this way transformers says what it drew at random
    backbone: Any = type(transformer.auto_model)
    _, report = backbone.from_pretrained(
        checkpoint.name, config=transformer.config, output_loading_info=True, **weights
    )
    return transformer, sorted(report["missing_keys"])


def _first_folder(modules: JsonValue, name: str) -> str:
    """Where the first module of a sentence-embedding model lies, which must be a Transformer."""
    kind = str(modules[0].get("type", "")) if modules else "nothing"
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


def _check_is_complete(missing: Sequence[str], name: str) -> None:
    # what pools is not used, and left out by checkpoints that were trained on masked words
    if needed := [tensor for tensor in missing if "pooler" not in tensor]:
        raise ModelUnsupportedError(
            f"{name}: {len(needed)} tensors of the backbone are not in the checkpoint, {needed[0]} first, and would be "
            f"random. Where the checkpoint brings code of its own (auto_map in config.json) that you have read, pass "
            f"trust_remote_code=True; otherwise name another model."
        )


def _looks_ahead(transformer: Transformer) -> bool:
    """Whether the first token's vector changes with a later token."""
    import torch

    tokenizer, backbone = transformer.tokenizer, transformer.auto_model
    assert tokenizer is not None
    ids = torch.tensor([tokenizer("Where is the Moon?")["input_ids"]])
    other = ids.clone()
    other[0, -2] = ids[0, 0]
    with torch.inference_mode():
        first, changed = (
            backbone(input_ids=row, attention_mask=torch.ones_like(row)).last_hidden_state[0, 0] for row in (ids, other)
        )
    return not torch.allclose(first, changed, rtol=0, atol=1e-5)


def _prompts(named: Mapping[str, str | None]) -> dict[str, str]:
    """The prompts for queries and documents under the names that sentence-transformers looks for."""
    document = next((prompt for name in ("document", "passage", "corpus") if (prompt := named.get(name))), "")
    return {"query": named.get("query") or "", "document": document}
