"""``colbert-rag train``: a model for the user's own texts and questions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from colbert_rag.cli.indexing import report_skipped
from colbert_rag.cli.output import counted, emit_json, make_table, output_console, say
from colbert_rag.cli.progress import progress_bars
from colbert_rag.cli.training_data import CorpusOption, check_against_tests, texts_by_id
from colbert_rag.readers import Corpus
from colbert_rag.types import Progress

if TYPE_CHECKING:
    from colbert_rag.training import Record

__all__ = ["train_model"]

_Pairs: TypeAlias = Annotated[
    Path, typer.Argument(metavar="PAIRS", exists=True, dir_okay=False, help="JSON Lines with query and positive.")
]
_Output: TypeAlias = Annotated[Path, typer.Option(metavar="DIR", help="Where the model is written: a new folder.")]
_Base: TypeAlias = Annotated[str, typer.Option(metavar="MODEL", help="What to train: a hub name or a folder.")]
_Tests: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--test",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="A test in BEIR's layout: pairs that it is in are refused. May be repeated.",
    ),
]
_Teacher: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="CROSS_ENCODER", help='Learn from its scores of mined negatives; "wide": the plain base\'s.'),
]
_Rounds: TypeAlias = Annotated[int, typer.Option(help="How often to mine, rescore and train.")]
_Negatives: TypeAlias = Annotated[
    int | None, typer.Option(help="Mined hard negatives for each query. Default: 7 where they are needed, else 0.")
]
_Loss: TypeAlias = Annotated[
    str | None,
    typer.Option(help="in-batch, cached, pairwise, distil, in-batch-distil, margin-mse. Default: in-batch, or distil."),
]
_BatchSize: TypeAlias = Annotated[int, typer.Option(help="Pairs in a step.")]
_MiniBatchSize: TypeAlias = Annotated[int, typer.Option(help="Texts encoded at a time, with --loss cached.")]
_Rate: TypeAlias = Annotated[float | None, typer.Option(help="The highest. Default: 5e-4, with --full 2e-5.")]
_Epochs: TypeAlias = Annotated[float, typer.Option(help="Passes over the pairs in each round.")]
_Steps: TypeAlias = Annotated[int | None, typer.Option("--steps", help="Steps of each round, instead of --epochs.")]
_Rank: TypeAlias = Annotated[int, typer.Option(help="Of the LoRA matrices.")]
_Full: TypeAlias = Annotated[bool, typer.Option("--full", help="Train all weights, without LoRA.")]
_Dim: TypeAlias = Annotated[int, typer.Option(help="Dimensions that a plain text encoder is projected to.")]
_Matryoshka: TypeAlias = Annotated[str, typer.Option(metavar="DIMS", help="Leading dimensions to train too: 64,32.")]
_MovedBy: TypeAlias = Annotated[
    float,
    typer.Option(help="Share of the way from the base to the trained weights; below 1 it keeps more of the base."),
]
_Temperature: TypeAlias = Annotated[float, typer.Option(help="Scores are divided by it in the loss.")]
_WeighQueries: TypeAlias = Annotated[
    bool | None, typer.Option(help="Learn how much each token of a query counts. Default: as the base does.")
]
_Bf16: TypeAlias = Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16.")]
_Seed: TypeAlias = Annotated[int, typer.Option(help="Of all random choices.")]
_HeldOut: TypeAlias = Annotated[
    int, typer.Option("--held-out", help="Pairs to evaluate on, at most; never more than a tenth.")
]
_EvalEvery: TypeAlias = Annotated[int, typer.Option(help="Steps between evaluations, and between checkpoints.")]
_Device: TypeAlias = Annotated[str | None, typer.Option(help="cpu, cuda, ... Default: the best there is.")]
_Resume: TypeAlias = Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")]
_Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
_Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def train_model(
    pairs_file: _Pairs,
    *,
    output: _Output,
    base: _Base = "builtin",
    corpus: CorpusOption = None,
    tests: _Tests = None,
    teacher: _Teacher = None,
    rounds: _Rounds = 1,
    negatives: _Negatives = None,
    loss: _Loss = None,
    batch_size: _BatchSize = 32,
    mini_batch_size: _MiniBatchSize = 8,
    learning_rate: _Rate = None,
    epochs: _Epochs = 1.0,
    max_steps: _Steps = None,
    rank: _Rank = 16,
    full: _Full = False,
    dim: _Dim = 128,
    matryoshka: _Matryoshka = "",
    weigh_queries: _WeighQueries = None,
    moved_by: _MovedBy = 1.0,
    temperature: _Temperature = 1.0,
    bf16: _Bf16 = False,
    seed: _Seed = 0,
    n_held_out: _HeldOut = 200,
    eval_every: _EvalEvery = 100,
    device: _Device = None,
    resume: _Resume = False,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Train a late-interaction model on pairs of a query and a text that answers it.

    A line of PAIRS has `query`, `positive` and optionally `passage_id` and `source`. The folder holds the model, its
    card, the curves of the training as a picture, and with LoRA a delta of a few megabytes.

    An interrupt leaves a checkpoint beside the folder: run the command again with --resume.

    Try:

    - `colbert-rag train pairs.jsonl --output my-model`

    - `colbert-rag train pairs.jsonl --output my-model --teacher cross-encoder/ms-marco-MiniLM-L6-v2 --rounds 2`

    - `colbert-rag train pairs.jsonl --output my-model --test my-test/`

    - `colbert-rag index handbook/ --into handbook.index --model my-model`
    """
    options: dict[str, Any] = {
        **{"base": base, "teacher": teacher, "rounds": rounds, "n_negatives": negatives, "loss": loss, "dim": dim},
        **{"batch_size": batch_size, "mini_batch_size": mini_batch_size, "learning_rate": learning_rate},
        **{"epochs": epochs, "max_steps": max_steps, "rank": None if full else rank, "bf16": bf16, "seed": seed},
        **{"n_held_out": n_held_out, "eval_every": eval_every, "device": device},
        **{"matryoshka_dims": _parse_dims(matryoshka), "weigh_queries": weigh_queries},
        **{"moved_by": moved_by, "temperature": temperature},
    }
    with progress_bars(is_quiet=quiet or as_json) as progress:
        record = _train(pairs_file, output, options, corpus, tests or [], resume, progress)
    if as_json:
        emit_json({"path": str(output), **asdict(record)})
    elif not quiet:
        _print(record, output)


def _parse_dims(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise typer.BadParameter(f"--matryoshka takes whole numbers such as 64,32; found {text!r}") from error


def _train(
    pairs_file: Path,
    output: Path,
    options: dict[str, Any],
    corpus: list[Path] | None,
    tests: list[Path],
    is_resumed: bool,
    progress: Progress | None,
) -> Record:
    from colbert_rag.training import TrainingSettings, read_pairs, rounds

    settings = TrainingSettings(**options)
    texts = None if corpus is None else _texts(corpus)
    pairs = read_pairs(pairs_file)
    check_against_tests(pairs_file, pairs, tests)
    try:
        return rounds.train(pairs, output, settings, corpus=texts, resume=is_resumed, progress=progress)
    except KeyboardInterrupt as error:
        work = rounds.working_folder(output)
        if work.is_dir():
            say(f"interrupted; {work} holds what is done; run the command again with --resume")
        raise typer.Exit(130) from error


def _texts(paths: list[Path]) -> dict[str, str]:
    corpus = Corpus(paths)
    texts = texts_by_id(corpus)
    report_skipped(corpus.skipped)
    return texts


def _print(record: Record, output: Path) -> None:
    learnt = f"{counted(record.n_train, 'pair')} in {counted(len(record.rounds), 'round')}"
    say(f"{output}: trained on {learnt}, in {record.seconds:.0f} s")
    if not record.after:
        say("nothing was held out: how good it is was not measured")
        return
    rows = [[name, f"{record.before[name]:.4f}", f"{after:.4f}"] for name, after in record.after.items()]
    title = f"{counted(record.n_held_out, 'held-out pair')}"
    output_console().print(make_table(title, ["metric", "before", "after"], rows))
