"""``colbert-rag mine``: pairs into training examples with hard negatives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from colbert_rag.cli.encoders import chosen_encoder
from colbert_rag.cli.files import check_output, write_whole
from colbert_rag.cli.indexing import report_skipped
from colbert_rag.cli.output import counted, emit_json, say
from colbert_rag.cli.progress import progress_bars
from colbert_rag.cli.training_data import CorpusOption, texts_by_id
from colbert_rag.errors import InvalidTrainingError
from colbert_rag.readers import Corpus, SkippedFile
from colbert_rag.types import Progress

if TYPE_CHECKING:
    from colbert_rag.training.examples import Example

__all__ = ["mine_negatives"]


_PairsFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="PAIRS", exists=True, dir_okay=False, help="JSON Lines with query and positive.")
]
_Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The examples: .jsonl.")]
_Model: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="Model to search with: a hub name or a folder.")
]
_Teacher: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Scores the documents: a cross-encoder, or wide for MaxSim of the built-in backbone."
    ),
]
_Margin: TypeAlias = Annotated[
    float, typer.Option(min=0, max=0.99, help="The share of the positive's score that a negative stays below it.")
]


def mine_negatives(
    pairs_file: _PairsFile,
    *,
    output: _Output,
    corpus: CorpusOption = None,
    model: _Model = None,
    teacher: _Teacher = None,
    negatives: Annotated[int, typer.Option(metavar="N", min=1, help="Negatives of an example.")] = 7,
    depth: Annotated[int, typer.Option(min=1, help="Documents of a ranking that negatives are drawn from.")] = 100,
    margin: _Margin = 0.05,
    any_score: Annotated[bool, typer.Option("--any-score", help="Take negatives of any score.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds draw equal negatives.")] = 0,
    keep_short: Annotated[bool, typer.Option("--keep-short", help="Write examples with fewer negatives, too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Find hard negatives for training pairs: what a search finds for a query and what is not its answer.

    Left out are the query's own positives, their near-duplicates, documents with the same passage_id, and what scores
    nearly as high as the positive. A line of the output has a query, its documents (the positive first), and the
    teacher's scores of them. An interrupt writes nothing.

    Try:

    - `colbert-rag mine pairs.jsonl --corpus handbook/ --output examples.jsonl`

    - `colbert-rag mine pairs.jsonl --output examples.jsonl --teacher cross-encoder/ms-marco-MiniLM-L6-v2`
    """
    from colbert_rag.training.example_files import as_json_lines
    from colbert_rag.training.mining import check_options

    _check_name(output)
    check_output(output, is_forced=force)
    limit = None if any_score else margin
    check_options(negatives, depth, limit)
    options = {"n_negatives": negatives, "depth": depth, "margin": limit, "seed": seed}
    with progress_bars(is_quiet=quiet or as_json) as progress:
        examples, mined = _mine(pairs_file, corpus, model, teacher, options, keep_short, progress)
    write_whole(output, as_json_lines(examples), is_forced=force)
    if as_json:
        emit_json({"path": str(output), **asdict(mined)})
    else:
        _report(output, mined, negatives, depth, is_quiet=quiet)


@dataclass(frozen=True, slots=True)
class _Mined:
    """How many pairs there were, how many examples are written, and how many had too few negatives."""

    pairs: int
    examples: int
    short: int
    skipped: list[SkippedFile]


def _mine(
    pairs_file: Path,
    paths: list[Path] | None,
    model: str | None,
    teacher: str | None,
    options: dict[str, Any],
    is_short_kept: bool,
    progress: Progress | None,
) -> tuple[list[Example], _Mined]:
    from colbert_rag.training.mining import complete, mine
    from colbert_rag.training.pairs import read_pairs
    from colbert_rag.training.rescoring import load_teacher, rescore

    pairs = read_pairs(pairs_file)
    # a name that is misspelt is found before the long part
    scoring = None if teacher is None else load_teacher(teacher)
    corpus = None if paths is None else Corpus(paths)
    texts = None if corpus is None else texts_by_id(corpus)
    mined = mine(pairs, texts, chosen_encoder(model), **options, progress=progress)
    full = complete(mined, options["n_negatives"])
    examples = mined if is_short_kept else full
    if not examples:
        raise InvalidTrainingError(
            f"{pairs_file}: no pair has {options['n_negatives']} negatives among the first {options['depth']} "
            f"documents; nothing was written. Take fewer, search deeper or lower the margin."
        )
    if scoring is not None:
        examples = rescore(examples, scoring, progress)
    skipped = [] if corpus is None else corpus.skipped
    return examples, _Mined(len(pairs), len(examples), len(mined) - len(full), skipped)


def _report(output: Path, mined: _Mined, n_negatives: int, depth: int, *, is_quiet: bool) -> None:
    if not is_quiet:
        say(f"{output}: {counted(mined.examples, 'example')} of {counted(mined.pairs, 'pair')}")
    if mined.short:
        what = f"{counted(mined.short, 'example')} with fewer than {n_negatives} negatives among the first {depth}"
        say(f"left out: {what}" if mined.examples < mined.pairs else f"kept: {what}")
    report_skipped(mined.skipped)


def _check_name(output: Path) -> None:
    if output.suffix.lower() != ".jsonl":
        raise typer.BadParameter(f"{output} must be named as what it will be, JSON Lines; expected a name in .jsonl")
