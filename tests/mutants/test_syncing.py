"""A folder that is synced again by whatever follows it, in every run that the power-loss test makes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from colbert_rag.codec import Codec
from colbert_rag.merging import save_codec


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the names of descriptors in /proc")
def test_the_name_of_a_codec_is_durable_when_its_record_is_given(tmp_path, monkeypatch):
    """Where no document is alive, no segment's files follow that would sync the index folder too."""
    synced = []
    fsync = os.fsync

    def noting(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    codec = Codec(np.eye(8, dtype=np.float32), np.eye(8, dtype=np.float32), 4)
    folder = tmp_path / save_codec(tmp_path, codec, 8).name
    assert synced == [str(folder / "centroids.npy"), str(folder / "rotation.npy"), str(folder), str(tmp_path)]
