"""The model card: how a model was trained, and what was measured while it was."""

from __future__ import annotations

import json

from colbert_rag.training.record import Record

__all__ = ["CURVES", "DELTA", "write_card"]

CURVES, DELTA = "curves.svg", "delta.safetensors"

_FRONT = """---
library_name: sentence-transformers
tags: [sentence-transformers, multi-vector, late-interaction, ColBERT]
{base}---
"""
_USE = """## Use

```python
from colbert_rag import Encoder, Index

index = Index.create("my.index", encoder=Encoder("this-folder"))
```

`sentence_transformers.MultiVectorEncoder("this-folder")` loads it too.
"""


def write_card(record: Record, *, has_delta: bool) -> str:
    """The card in Markdown; every number in it is of the record.

    Args:
        record: Of the finished training.
        has_delta: Whether a delta lies beside the model.
    """
    settings = record.settings
    base = "" if settings["base"] == "builtin" else f"base_model: {json.dumps(settings['base'])}\n"
    parts = [
        _FRONT.format(base=base),
        f"# A late-interaction model, trained from `{settings['base']}`\n",
        f"Trained on {record.n_train:,} pairs in {len(record.rounds)} round(s), with the loss "
        f"`{settings['loss']}`{_teacher(settings['teacher'])}, in {record.seconds:,.0f} s.\n",
        _quality(record),
        f"![Loss and quality over the steps]({CURVES})\n",
        _rounds(record),
        _USE,
        _delta() if has_delta else "",
        "## Settings\n\n```json\n" + json.dumps(settings, indent=1) + "\n```\n",
    ]
    return "\n".join(part for part in parts if part)


def _teacher(teacher: str | None) -> str:
    return f" and the teacher `{teacher}`" if teacher else ""


def _quality(record: Record) -> str:
    if not record.after:
        return "No pairs were held out, so nothing is known of its quality.\n"
    rows = [f"| {name} | {record.before[name]:.4f} | {value:.4f} |" for name, value in record.after.items()]
    head = f"On {record.n_held_out:,} held-out pairs, by exact MaxSim:\n\n| metric | before | after |\n|---|---|---|\n"
    caveat = "\nThe best checkpoint was chosen on these pairs: expect a little less on others.\n"
    return head + "\n".join(rows) + "\n" + caveat


def _rounds(record: Record) -> str:
    rows = [
        f"| {number} | {finished.n_examples:,} | {finished.n_documents} | {finished.log[-1]['step']:.0f} |"
        for number, finished in enumerate(record.rounds, 1)
    ]
    return "| round | examples | documents each | steps |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _delta() -> str:
    return (
        f"`{DELTA}` is the difference to the base alone, in float16: "
        f"`colbert_rag.encoder.delta.load_delta` adds it to the base again.\n"
    )
