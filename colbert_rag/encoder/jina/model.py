"""sentence-transformers' model and its first module, with Jina's backbones in place of remote code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.util import load_file_path

from colbert_rag.encoder.complete import module_options
from colbert_rag.encoder.jina import alibi, rotary
from colbert_rag.encoder.jina.family import family_of
from colbert_rag.encoder.jina.weights import PROJECTION, TensorFiles, fit
from colbert_rag.encoder.tokenise import check_vocabulary
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["JinaEncoder", "JinaTransformer"]

METADATA = "artifact.metadata"
# jina-colbert-v2's own, by which it was trained; Stanford's defaults are no tokens of its vocabulary
ROTARY_MARKERS = {"query": "[QueryMarker]", "document": "[DocumentMarker]"}


class JinaTransformer(Transformer):
    """A Transformer module that builds and reads its backbone by our code."""

    def _load_config(
        self, model_name_or_path: str, backend: str, config_kwargs: dict[str, Any]
    ) -> tuple[PretrainedConfig, bool]:
        stored = _read_json(model_name_or_path, "config.json", config_kwargs)
        _check_sizes(stored, model_name_or_path)
        return (alibi if family_of(stored) == "alibi" else rotary).config_from(stored), False

    def _load_model(
        self,
        model_name_or_path: str,
        transformer_task: str,
        config: PretrainedConfig,
        backend: str,
        is_peft_model: bool,
        **model_kwargs: Any,
    ) -> PreTrainedModel:
        family = alibi if config.model_type == "bert" else rotary
        return _load_backbone(family, config, TensorFiles.find(model_name_or_path, **_file_options(model_kwargs)))


class JinaEncoder(MultiVectorEncoder):
    """A MultiVectorEncoder for Jina's checkpoints, which needs no remote code.

    It reads the published layout (``HF_ColBERT``) and whatever sentence-transformers or PyLate saved of it.

    Raises:
        ModelUnsupportedError: config.json and the weights are not of one architecture that we have.
    """

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> Any:
        is_backbone = class_ref.rpartition(".")[2] in ("Transformer", "JinaTransformer")
        return JinaTransformer if is_backbone else super()._load_module_class_from_ref(class_ref, *args, **kwargs)

    def _load_default_modules(
        self, model_name_or_path: str, *_: Any, **options: Any
    ) -> tuple[list[torch.nn.Module], dict[str, Any]]:
        same = {key: options[key] for key in ("token", "revision", "local_files_only")}
        place = same | {"cache_dir": options["cache_folder"]}
        metadata = _read_json(model_name_or_path, METADATA, place)
        self._maybe_load_stanford_metadata(model_name_or_path, **same, cache_folder=options["cache_folder"])
        transformer = JinaTransformer(
            model_name_or_path, **module_options(options, place), **self._legacy.transformer_config
        )
        self._correct_settings(model_name_or_path, transformer, metadata)
        stored = TensorFiles.find(model_name_or_path, **_file_options(place))
        modules = [
            transformer,
            _projection(stored, transformer.get_embedding_dimension()),
            MultiVectorMask(skiplist_words=self._legacy.skiplist_words),
            Normalize(module_input_name="token_embeddings"),
        ]
        return modules, {}

    def _correct_settings(self, name: str, transformer: Transformer, metadata: Mapping[str, JsonValue]) -> None:
        """Put the family's settings where the checkpoint has Stanford's defaults, or none."""
        tokenizer, expansion = transformer.tokenizer, transformer.query_expansion
        assert tokenizer is not None
        assert expansion is not None
        check_vocabulary(tokenizer)
        vocabulary = tokenizer.get_vocab()
        stated = {role: prefix.strip() for role, prefix in self._legacy.prefixes.items()}
        is_stated = all(marker in vocabulary for marker in stated.values())
        has_own = all(marker in vocabulary for marker in ROTARY_MARKERS.values())
        if not is_stated and not has_own:
            raise ModelUnsupportedError(
                f"{name}: the markers {' and '.join(stated.values())} are no tokens of the vocabulary. Put the tokens "
                f"that mark queries and documents into artifact.metadata, as query_token_id and doc_token_id."
            )
        if not is_stated:
            for role, marker in ROTARY_MARKERS.items():
                self._legacy.prefixes[role] = self.prompts[role] = f"{marker} "
        if has_own and (not is_stated or metadata.get("attend_to_mask_tokens") is None):
            transformer.query_expansion = expansion | {"attend": True}


def _load_backbone(family: ModuleType, config: PretrainedConfig, stored: TensorFiles) -> PreTrainedModel:
    model_class = family.model_class()
    with torch.device("meta"):
        empty = model_class(config, **family.INIT_OPTIONS)
    wanted = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    tensors = fit(wanted, stored, family.PREFIX, family.source_of)
    model: PreTrainedModel = model_class.from_pretrained(
        None, config=config, state_dict=tensors, dtype=torch.float32, **family.INIT_OPTIONS
    )
    return model


def _check_sizes(stored: Mapping[str, JsonValue], name: str) -> None:
    """Refuse what transformers would stumble over, or compute with, far from the file that is wrong."""
    for key, least in (("hidden_size", 1), ("num_attention_heads", 1), ("pad_token_id", 0)):
        value = stored.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ModelUnsupportedError(
                f"{name}: config.json has {key}={value!r}; expected a whole number of at least {least}."
            )
    width, n_heads = stored.get("hidden_size"), stored.get("num_attention_heads")
    if width is not None and n_heads is not None and width % n_heads:
        raise ModelUnsupportedError(
            f"{name}: config.json has hidden_size={width}, which num_attention_heads={n_heads} does not divide."
        )


def _projection(stored: TensorFiles, hidden_size: int) -> Dense:
    weight = stored.read(PROJECTION)
    if weight.ndim != 2 or weight.shape[1] != hidden_size:
        raise ModelUnsupportedError(
            f"{stored.checkpoint}: the tensor {PROJECTION} has the shape {tuple(weight.shape)}, but config.json asks "
            f"for (dimensions, {hidden_size})."
        )
    return Dense(
        in_features=hidden_size,
        out_features=weight.shape[0],
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=weight,
        module_input_name="token_embeddings",
    )


def _read_json(name: str, filename: str, options: Mapping[str, Any]) -> dict[str, JsonValue]:
    path = load_file_path(name, filename, **_file_options(options))
    try:
        content: JsonValue = {} if path is None else json.loads(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise ModelUnsupportedError(f"{name}: {filename} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnsupportedError(
            f"{name}: {filename} holds a {type(content).__name__}; expected an object. Fetch it again."
        )
    return content


def _file_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers calls ``cache_dir`` is ``cache_folder`` to sentence-transformers."""
    same = {key: options[key] for key in ("subfolder", "token", "revision", "local_files_only") if key in options}
    return {**same, "cache_folder": options.get("cache_dir")}
