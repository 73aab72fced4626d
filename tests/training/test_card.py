from __future__ import annotations

from dataclasses import asdict

from colbert_rag.training.card import write_card
from colbert_rag.training.record import FinishedRound, Record
from colbert_rag.training.settings import TrainingSettings


def record(**options):
    settings = asdict(TrainingSettings(**{"base": "someone/base", "loss": "in-batch", **options}))
    measured = {"nDCG@10": 0.25}, {"nDCG@10": 0.5}
    return Record(settings, "digest", 1234, 10, *measured, [FinishedRound(1230, 8, [{"step": 40, "loss": 1.0}])], 61.2)


def test_the_card_says_what_was_measured():
    card = write_card(record(), has_delta=True)
    assert 'base_model: "someone/base"\n' in card
    assert "Trained on 1,234 pairs in 1 round(s), with the loss `in-batch`, in 61 s." in card
    assert "On 10 held-out pairs" in card
    assert "| nDCG@10 | 0.2500 | 0.5000 |" in card
    assert "| 1 | 1,230 | 8 | 40 |" in card
    assert "delta.safetensors" in card
    assert '"learning_rate": null' in card


def test_the_card_names_the_teacher_and_only_what_is_there():
    card = write_card(record(base="builtin", loss="distil", teacher="a/teacher"), has_delta=False)
    assert "`distil` and the teacher `a/teacher`" in card
    assert "base_model" not in card
    assert "delta" not in card


def test_without_held_out_pairs_no_quality_is_claimed():
    unknown = record()
    unknown.after = {}
    card = write_card(unknown, has_delta=True)
    assert "nothing is known of its quality" in card
    assert "0.25" not in card
