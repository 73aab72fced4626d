"""Whether an index is what was committed, to the last byte that means anything; see docs/index-format.md."""

from __future__ import annotations

from colbert_rag.verifying.report import verify_folder, verify_index

__all__ = ["verify_folder", "verify_index"]
