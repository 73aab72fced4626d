"""Encoding: speed beside plain sentence-transformers, and the memory that documents of 8,192 tokens take.

    python tests/benchmarks/encoding.py FOLDER [FOLDER …] [--tokens 60000] [--rounds 3] [--memory] [--json FILE]
    python tests/benchmarks/encoding.py FOLDER --questions [--rounds 3]

The folders are collections in BEIR's layout. Documents of all of them that fit the built-in model's context are drawn
at random up to --tokens and mixed; plain MultiVectorEncoder.encode_document would cut off longer ones. Both sides get
the same model object and take turns; no speed is printed unless their vectors are the same. Tokens per second are
medians; only their ratio means something on a machine that others use too.

--questions takes the first 100 questions of the first folder instead, one by one and all together, in turns with
MultiVectorEncoder.encode_query; ours does not use torch for them.

--memory encodes 32 documents of 8,192 tokens into an index in a process of its own, searches it, and prints the most
memory that the process held after each step.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from colbert_rag import Document, Encoder, Index
from colbert_rag.readers import read_judged_corpus

N_LONG, LONG = 32, 8_192
N_QUESTIONS = 100


def main() -> None:
    arguments = _arguments()
    if arguments.long_documents:
        _hold_long_documents()
        return
    results = {}
    if arguments.questions:
        results |= _questions(arguments.folders[0], arguments.rounds)
    elif arguments.folders:
        results |= _speed(arguments.folders, arguments.tokens, arguments.rounds)
    if arguments.memory:
        command = [sys.executable, __file__, "--long-documents"]
        results |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(json.dumps(results, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--long-documents", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _speed(folders: list[Path], n_tokens: int, n_rounds: int) -> dict[str, object]:
    encoder = Encoder()
    model = encoder._loaded()
    texts, lengths = _mixed(folders, n_tokens, encoder)
    ours, theirs = encoder.encode_documents(texts), model.model.encode_document(texts, show_progress_bar=False)
    furthest = max(
        float(np.abs(a.vectors.astype(np.float32) - b.cpu().numpy()).max()) for a, b in zip(ours, theirs, strict=True)
    )
    if furthest > 0.01:
        raise SystemExit(f"the vectors differ by {furthest}: no speed is printed")
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(n_rounds):
        for name, run in (
            ("ours", lambda: encoder.encode_documents(texts)),
            ("theirs", lambda: model.model.encode_document(texts, show_progress_bar=False)),
        ):
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    total = sum(lengths)
    rates = {name: total / statistics.median(times) for name, times in seconds.items()}
    return {
        "documents": len(texts),
        "tokens": total,
        "longest": max(lengths),
        "median length": statistics.median(lengths),
        "greatest difference": furthest,
        "tokens per second, ours": round(rates["ours"]),
        "tokens per second, encode_document": round(rates["theirs"]),
        "ratio": round(rates["ours"] / rates["theirs"], 2),
        "ratio of each round": [round(b / a, 2) for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)],
    }


def _questions(folder: Path, n_rounds: int) -> dict[str, object]:
    encoder = Encoder()
    model = encoder._loaded().model
    questions = list(read_judged_corpus(folder).queries.values())[:N_QUESTIONS]
    # what is remembered is not encoded
    engines = {
        "ours": lambda texts: list(encoder._encode_new_queries(texts).values()),
        "encode_query": lambda texts: [v.cpu().numpy() for v in model.encode_query(texts, show_progress_bar=False)],
    }
    answers = [run(questions) for run in engines.values()]
    furthest = max(float(np.abs(a - b).max()) for a, b in zip(*answers, strict=True))
    if furthest > 1e-4:
        raise SystemExit(f"the vectors differ by {furthest}: no speed is printed")
    results: dict[str, object] = {"questions": len(questions), "greatest difference": furthest}
    for how, parts in {"one by one": [[q] for q in questions], f"{len(questions)} together": [questions]}.items():
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(n_rounds):
            for name, run in engines.items():
                for part in parts:
                    begin = time.perf_counter()
                    run(part)
                    seconds[name].append(time.perf_counter() - begin)
        results |= {f"median ms, {how}, {name}": 1000 * statistics.median(seconds[name]) for name in engines}
    return results


def _mixed(folders: list[Path], n_tokens: int, encoder: Encoder) -> tuple[list[str], list[int]]:
    model = encoder._loaded()
    chosen: list[tuple[str, int]] = []
    for folder in folders:
        texts = [document.text for document in read_judged_corpus(folder).documents]
        random.Random(0).shuffle(texts)
        held = 0
        for text in texts:
            [tokens] = model.tokenise([text], "document")
            if len(tokens.ids) <= model.context:
                chosen.append((text, len(tokens.ids)))
                held += len(tokens.ids)
            if held >= n_tokens / len(folders):
                break
    random.Random(0).shuffle(chosen)
    return [text for text, _ in chosen], [length for _, length in chosen]


def _hold_long_documents() -> None:
    rng = random.Random(0)
    # each of these words is one token
    words = ["the", "of", "and", "in", "that", "he", "was", "for", "with", "his", "they", "have", "from"]
    documents = [Document(f"d{n}", " ".join(rng.choices(words, k=LONG - 2))) for n in range(N_LONG)]
    held = {}
    encoder = Encoder()
    encoder.encode_documents(["warm"])
    with tempfile.TemporaryDirectory() as folder, Index.create(Path(folder) / "index", encoder) as index:
        held["GiB with the model loaded"] = _gib()
        index.add(documents)
        held["GiB after 32 documents of 8,192 tokens"] = _gib()
        assert index.info().n_tokens == N_LONG * LONG
        before = time.perf_counter()
        index.search("they have it from you", k=10)
        held["first search, seconds"] = round(time.perf_counter() - before, 2)
        held["GiB after a search"] = _gib()
    print(json.dumps(held))


def _gib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


if __name__ == "__main__":
    main()
