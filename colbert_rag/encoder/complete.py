"""sentence-transformers' modules, refused where a checkpoint lacks weights that would be drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

from colbert_rag.errors import ModelUnsupportedError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["CompleteEncoder", "CompleteTransformer", "module_options"]


class CompleteTransformer(Transformer):
    """A Transformer module whose backbone comes from the checkpoint to the last parameter.

    Once loaded it is a Transformer, so that a saved model names no class of ours.

    Raises:
        ModelUnsupportedError: the checkpoint lacks parameters of the backbone.
    """

    def _load_model(
        self,
        model_name_or_path: str,
        transformer_task: str,
        config: PretrainedConfig,
        backend: str,
        is_peft_model: bool,
        **model_kwargs: Any,
    ) -> PreTrainedModel:
        inherited: Any = super()._load_model  # its signature knows nothing of the report
        load = partial(inherited, model_name_or_path, transformer_task, config, backend, is_peft_model)
        model: PreTrainedModel
        if is_peft_model:  # the report would be of the adapter alone
            model = load(**model_kwargs)
        else:
            model, report = load(output_loading_info=True, **model_kwargs)
            _check_is_complete(model, report["missing_keys"], model_name_or_path)
        self.__class__ = Transformer
        return model


class CompleteEncoder(MultiVectorEncoder):
    """A MultiVectorEncoder that starts with a ``CompleteTransformer``."""

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> Any:
        module_class = super()._load_module_class_from_ref(class_ref, *args, **kwargs)
        return CompleteTransformer if module_class is Transformer else module_class

    def _load_default_modules(
        self, model_name_or_path: str, *_: Any, **options: Any
    ) -> tuple[list[torch.nn.Module], dict[str, Any]]:
        """The modules of Stanford's layout, the only one without a modules.json that has a projection."""
        files = {key: options[key] for key in ("token", "cache_folder", "revision", "local_files_only")}
        self._maybe_load_stanford_metadata(model_name_or_path, **files)
        hub = {key: options[key] for key in ("token", "trust_remote_code", "revision", "local_files_only")}
        transformer = CompleteTransformer(
            model_name_or_path,
            cache_dir=options["cache_folder"],
            **module_options(options, hub),
            **self._legacy.transformer_config,
        )
        modules = [
            transformer,
            self._build_stanford_projection(model_name_or_path, **files),
            MultiVectorMask(skiplist_words=self._legacy.skiplist_words),
            Normalize(module_input_name="token_embeddings"),
        ]
        return modules, {}


def module_options(options: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the caller gave for the model, its tokenizer and its configuration, each on top of where they are."""
    return {kind: {**place, **(options[kind] or {})} for kind in ("model_kwargs", "processor_kwargs", "config_kwargs")}


def _check_is_complete(model: PreTrainedModel, missing: Iterable[str], name: str) -> None:
    # buffers are computed, and what pools is not used: checkpoints trained on masked words leave it out
    parameters = {parameter for parameter, _ in model.named_parameters() if "pooler" not in parameter}
    if needed := sorted(parameters.intersection(missing)):
        raise ModelUnsupportedError(
            f"{name}: {len(needed)} tensors of the backbone are not in the checkpoint, {needed[0]} first, and would be "
            f"random. Where the checkpoint brings code of its own (auto_map in config.json) that you have read, pass "
            f"trust_remote_code=True; otherwise fetch it again or name another model."
        )
