"""The report of ``colbert-rag explain``: one HTML file that needs nothing else."""

from __future__ import annotations

from colbert_rag.report.page import report_page

__all__ = ["report_page"]
