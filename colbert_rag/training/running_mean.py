"""The running mean of the weights that are trained (Polyak averaging), and how it takes their place for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["RunningMean", "averaged"]

# steps until the mean keeps half, where it may keep more: at first it must not hold on to the start
_WARMUP = 20


class RunningMean(TrainerCallback):
    """Moves with each step towards the weights, by ``1 - decay`` of the way.

    Args:
        weights: By name; the mean starts as they are.
        decay: What a step keeps of the mean at most, 0 to below 1; of the first steps less, ``n / (n + 20)``.
    """

    def __init__(self, weights: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        self._weights = dict(weights)
        self._decay = decay
        self._mean = {name: weight.detach().clone() for name, weight in weights.items()}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Called by transformers after each step, before it evaluates and saves."""
        decay = min(self._decay, state.global_step / (state.global_step + _WARMUP))
        with torch.no_grad():
            for name, weight in self._weights.items():
                self._mean[name].lerp_(weight, 1 - decay)
        return control

    def take_over(self) -> None:
        """Become the weights as they are."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                self._mean[name].copy_(weight)

    def put(self) -> None:
        """Make the weights the mean."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self._mean[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the mean in the place of the weights within the block; they are what they were after it."""
        kept = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._weights.items():
                    weight.copy_(kept[name])


@contextmanager
def averaged(mean: RunningMean | None) -> Iterator[None]:
    """``mean.in_place()``, and nothing where there is no mean."""
    if mean is None:
        yield
        return
    with mean.in_place():
        yield
