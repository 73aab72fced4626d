"""What a user's word for a device stands for on this machine."""

from __future__ import annotations

import logging
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.errors import ColbertRagError, DeviceError, InvalidQueryError, MissingDependencyError
from colbert_rag.search.ranker import ProcessorRanker, Ranker

if TYPE_CHECKING:
    import torch

__all__ = ["check_device", "ranker_for"]

_log = logging.getLogger(__name__)

_NAME = re.compile(r"auto|cpu|cuda|cuda:\d{1,3}(,cuda:\d{1,3})*")
# what NVIDIA's driver puts there, on Linux and in Windows' Linux
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def check_device(device: object) -> str:
    """The word, checked for its form.

    Raises:
        InvalidQueryError: none of the words that there are, or a device is named twice.
    """
    names = device.split(",") if isinstance(device, str) and _NAME.fullmatch(device) else []
    if not names or len(set(names)) < len(names):
        msg = f'device must be "auto", "cpu", "cuda", "cuda:1" or several such as "cuda:0,cuda:1", found {device!r}.'
        raise InvalidQueryError(msg)
    return ",".join(names)


def ranker_for(device: str) -> Ranker:
    """What ranks on a device.

    "auto" is the GPU where one can be used, and else the processor; a machine without a driver is known as such
    without an import of torch.

    Args:
        device: Checked by :func:`check_device`.

    Raises:
        DeviceError: a device is named that is not there.
        MissingDependencyError: it is there, and Triton is not.
    """
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return ProcessorRanker(device)
    try:
        found = _cuda_devices("cuda" if device == "auto" else device)
    except ColbertRagError as err:
        if device != "auto":
            raise
        _log.info("Searches run on the processor. %s", err)
        return ProcessorRanker(device)
    from colbert_rag.search.device.cards import Card
    from colbert_rag.search.device.ranker import DeviceRanker

    return DeviceRanker([Card(each) for each in found], wanted=device)


def _may_have_gpu() -> bool:
    # in Triton's interpreter a search on a GPU would take minutes
    is_interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return not is_interpreted and any(path.exists() for path in _DRIVERS)


def _cuda_devices(device: str) -> list[torch.device]:
    import torch

    if not torch.cuda.is_available():
        raise DeviceError(_why_there_is_no_cuda(device, torch.version.cuda))
    if find_spec("triton") is None:
        msg = (
            f"device={device!r} needs Triton, which comes with torch for CUDA on Linux. Install it: pip install triton"
        )
        raise MissingDependencyError(msg)
    found = [torch.device(name) for name in device.split(",")]
    found = [each if each.index is not None else torch.device("cuda", torch.cuda.current_device()) for each in found]
    count = torch.cuda.device_count()
    if missing := [str(each) for each in found if each.index >= count]:
        msg = (
            f"device={device!r}: there is no {missing[0]} here; torch sees {count} GPU(s), cuda:0 to cuda:{count - 1}."
        )
        raise DeviceError(msg)
    return found


def _why_there_is_no_cuda(device: str, built_for: str | None) -> str:
    if built_for is None:
        why = "this torch was built without CUDA. Install one with it (https://pytorch.org/get-started)"
    else:
        why = f"torch was built for CUDA {built_for} and finds no GPU. Look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    return f'device={device!r}: {why}, or take device="cpu".'
