from __future__ import annotations

import math

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from colbert_rag.encoder import Encoder
from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.interrupting import InterruptFlag
from colbert_rag.training.pairs import Pair
from colbert_rag.training.passages import group_texts
from colbert_rag.training.watching import HeldOutEvaluator, Watcher


def maxsim(query, document):
    return (query @ document.vectors.astype("float32").T).max(axis=1).sum()


def test_held_out_queries_are_ranked_by_exact_maxsim_among_all_passages(make_model, pairs):
    # queries of their neighbours' words, so that not every answer is found first
    swapped = [Pair(pairs[i - 1].query, pairs[i].positive) for i in range(6)]
    model, held_out, others = make_model(), swapped, pairs[6:]
    found = HeldOutEvaluator(held_out, others, group_texts(pairs), n_distractors=1000, seed=0)(model)
    encoder = Encoder(model, precision="float32")
    documents = encoder.encode_documents([pair.positive for pair in pairs])
    ranks = []
    for position, query in enumerate(encoder.encode_queries([pair.query for pair in held_out])):
        scores = [maxsim(query, document) for document in documents]
        ranks.append(sum(score > scores[position] for score in scores))
    assert found["nDCG@10"] == pytest.approx(sum(1 / math.log2(r + 2) for r in ranks if r < 10) / 6)
    assert found["R@10"] == pytest.approx(sum(r < 10 for r in ranks) / 6)
    assert 0 < found["nDCG@10"] < 1


def test_distractors_are_a_sample_and_every_answer_stays(pairs):
    evaluator = HeldOutEvaluator(pairs[:6], pairs[6:], group_texts(pairs), n_distractors=5, seed=0)
    assert len(evaluator.passages) == 11
    assert {pair.positive for pair in pairs[:6]} <= set(evaluator.passages.values())


def test_progress_is_told_in_tokens_of_the_passages(make_model, pairs):
    seen = []
    evaluator = HeldOutEvaluator(
        pairs[:6],
        pairs[6:],
        group_texts(pairs),
        n_distractors=5,
        seed=0,
        progress=lambda *said: seen.append(said),
    )
    evaluator(make_model())
    stages, done, totals = zip(*seen, strict=True)
    assert {*stages} == {"evaluate"}
    assert done[-1] == totals[-1] > 11


def step(watcher, number, is_due=False):
    state, control = TrainerState(global_step=number, max_steps=4), TrainerControl(should_evaluate=is_due)
    return watcher.on_step_end(None, state, control)


def test_the_last_step_is_evaluated_and_saved():
    watcher = Watcher("train", None, InterruptFlag(), is_evaluated=True)
    assert not step(watcher, 3).should_save
    assert (step(watcher, 4).should_save, step(watcher, 4).should_evaluate) == (True, True)
    assert not step(Watcher("train", None, InterruptFlag(), is_evaluated=False), 4).should_evaluate


def test_an_interrupt_saves_and_stops_and_leaves_an_evaluation_that_is_due():
    flag, seen = InterruptFlag(), []
    watcher = Watcher("train", lambda *said: seen.append(said), flag, is_evaluated=True)
    assert not step(watcher, 1).should_training_stop
    flag.is_set = True
    for due in (True, False):
        control = step(watcher, 2, is_due=due)
        assert (control.should_save, control.should_training_stop, control.should_evaluate) == (True, True, due)
    assert seen == [("train", 1, 4), ("train", 2, 4), ("train", 2, 4)]


def logged(logs, folder):
    arguments = TrainingArguments(output_dir=str(folder), learning_rate=0.5)
    watcher = Watcher("train, round 1", None, InterruptFlag(), is_evaluated=True)
    watcher.on_log(arguments, TrainerState(global_step=7), TrainerControl(), logs=logs)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, loss):
    with pytest.raises(InvalidTrainingError, match=rf"round 1, step 7: the loss is {loss}.* below 0.5 .*--learn"):
        logged({"loss": loss}, tmp_path)


@pytest.mark.parametrize("logs", [{"loss": 1e30}, {"eval_nDCG@10": 0.5}, None])
def test_what_is_logged_beside_a_finite_loss_ends_nothing(tmp_path, logs):
    logged(logs, tmp_path)
