"""``python -m colbert_rag`` is the command ``colbert-rag``."""

from __future__ import annotations

from colbert_rag.cli import main

if __name__ == "__main__":
    main()
