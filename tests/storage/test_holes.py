from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage.holes import check_filled


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="this system does not say where holes are")
def test_data_that_the_file_system_has_not_counted_yet_is_no_hole(tmp_path, monkeypatch):
    monkeypatch.setattr("colbert_rag.storage.holes._MOST_HOLES", 1 << 20)
    full, hollow = tmp_path / "full", tmp_path / "hollow"
    full.write_bytes(b"x" * (2 << 20))
    hollow.write_bytes(b"x" * 4096)
    os.truncate(hollow, 64 << 20)
    if hollow.stat().st_blocks * 512 >= 1 << 20:
        pytest.skip("this file system has no holes")

    def uncounted(path):
        """As ZFS says between an fsync and the writing of its transaction group."""
        status = path.stat()
        return SimpleNamespace(st_size=status.st_size, st_blocks=1, st_mode=status.st_mode)

    check_filled(tmp_path, {full: uncounted(full)})
    with pytest.raises(CorruptIndexError, match="67,108,864 bytes in files, 4,096 of them on the disk"):
        check_filled(tmp_path, {hollow: uncounted(hollow)})
