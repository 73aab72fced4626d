"""Long documents as one document each, against truncation, passages and BM25; and where the evidence is found.

    python tests/benchmarks/long_documents.py FOLDER [--sections FOLDER] [--cache FOLDER] [--window 512] [--parts …]

FOLDER is a judged collection in BEIR's layout. The built-in model encodes every document whole, its first 512 tokens
alone, and in passages of 256 tokens, each encoded by itself; a document then has the score of its best passage.
--cache keeps these vectors for the next run. All search through the public API at the defaults of an index of 4 bits.

--sections is a collection of sections of the same documents, with the same queries: the section that a query was
annotated with is where its evidence is. Within the right document, the first passage either overlaps it or does not;
beside it the first of BM25 over the same number of sentences in a row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from quality import document_vectors

from colbert_rag import Document, Encoder, Hit, Index, SearchConfig, TokenVectors
from colbert_rag.evaluation import evaluate
from colbert_rag.filters import HasId, HasRef
from colbert_rag.readers import JudgedCorpus, read_judged_corpus
from colbert_rag.search.sentences import sentences
from colbert_rag.types import Float32Array, Mode

K = 10
PLAIN = SearchConfig(passages=0)
TRUNCATED, PASSAGE = 512, 256
# the best passages of all documents that the ten best documents are taken from
PASSAGES_FOUND = 1_000
PARTS = ["bm25", "truncated", "passages", "whole", "evidence"]
SENTENCES = (1, 3, 5)
LOCALITIES = (0.0, 0.5)

Rankings = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class Row:
    setting: str
    ndcg_10: float
    recall_10: float


@dataclass(frozen=True)
class EvidenceRow:
    sentences: int
    ours: float
    ours_characters: float
    bm25: float
    bm25_characters: float
    queries: int


class Bench:
    """A collection, its queries' vectors, and indexes over it."""

    def __init__(self, folder: Path, cache: Path | None, encoder: Encoder) -> None:
        self.data: JudgedCorpus = read_judged_corpus(folder)
        self.encoder = encoder
        self.queries = dict(
            zip(self.data.queries, self.encoder.encode_queries(list(self.data.queries.values())), strict=True)
        )
        self._cache = cache

    def vectors(self, name: str, documents: list[Document]) -> list[TokenVectors]:
        return document_vectors(self.encoder, documents, self._cache and self._cache / f"{name}.npz")

    def pieces(self, n_tokens: int) -> Iterator[Document]:
        """Each document cut into pieces of so many tokens, special tokens included; ref_id is the document."""
        room = n_tokens - 2
        backend = self.encoder._loaded()
        for document in self.data.documents:
            [tokens] = backend.tokenise([document.text], "document")
            spans = tokens.spans[tokens.n_prefix : len(tokens.ids) - tokens.n_suffix]
            for n, start in enumerate(range(0, len(spans), room)):
                stop = min(start + room, len(spans))
                text = document.text[spans[start][0] : spans[stop - 1][1]]
                yield Document(f"{document.id}#{n}", text, ref_id=document.id)

    def row(self, setting: str, rankings: Rankings) -> Row:
        found = evaluate(rankings, self.data.qrels, ["nDCG@10", "R@10"])
        row = Row(setting, found["nDCG@10"], found["R@10"])
        print(f"| {setting} | {row.ndcg_10:.4f} | {row.recall_10:.4f} |", flush=True)
        return row


def main() -> None:
    arguments = _arguments()
    bench = Bench(
        arguments.folder, arguments.cache, Encoder(document_length=arguments.window, window_overlap=arguments.overlap)
    )
    print(f"{len(bench.data.documents):,} documents, {len(bench.queries):,} queries")
    with tempfile.TemporaryDirectory() as folder, Index.create(Path(folder) / "whole", bench.encoder) as index:
        tokens = bench.vectors(f"whole_{arguments.window}_{arguments.overlap}", bench.data.documents)
        print(f"{sum(len(t.vectors) for t in tokens):,} token vectors, at most {max(len(t.vectors) for t in tokens):,}")
        index.add_vectors(zip(bench.data.documents, tokens, strict=True))
        rows = list(documents(bench, index, Path(folder), arguments.parts))
        is_asked = arguments.sections is not None and "evidence" in arguments.parts
        found = list(evidence(bench, index, Path(folder), arguments.sections)) if is_asked else []
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in [*rows, *found]], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sections", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--window", type=int, default=512, help="tokens that the model reads at once")
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def documents(bench: Bench, whole: Index, folder: Path, parts: Sequence[str]) -> Iterator[Row]:
    """How well documents are ranked, a row for each way."""
    print("| documents are | nDCG@10 | R@10 |\n|---|---|---|", flush=True)
    if "bm25" in parts:
        yield bench.row("BM25 (FTS5)", _by_text(bench, whole, "bm25"))
    if "truncated" in parts:
        truncated = [replace(piece, id=piece.ref_id) for piece in bench.pieces(TRUNCATED) if piece.id.endswith("#0")]
        yield bench.row(f"their first {TRUNCATED} tokens", _of_pieces(bench, folder, "truncated", truncated, K))
    if "passages" in parts:
        found = _of_pieces(bench, folder, "passages", list(bench.pieces(PASSAGE)), PASSAGES_FOUND)
        yield bench.row(f"passages of {PASSAGE} tokens, the best counts", found)
    if "whole" in parts:
        for locality in LOCALITIES:
            name = f"whole, locality {locality}" if locality else "whole"
            config = SearchConfig(passages=0, locality=locality)
            yield bench.row(name, _by_text(bench, whole, "maxsim", config))
            yield bench.row(f"{name}, with BM25 (hybrid)", _by_text(bench, whole, "hybrid", config))


def _of_pieces(bench: Bench, folder: Path, name: str, pieces: list[Document], k: int) -> Rankings:
    with Index.create(folder / name, bench.encoder) as index:
        index.add_vectors(zip(pieces, bench.vectors(name, pieces), strict=True))
        return _by_vectors(bench, index, k)


def _by_text(bench: Bench, index: Index, mode: Mode, config: SearchConfig = PLAIN) -> Rankings:
    found = index.search_many(list(bench.data.queries.values()), K, mode=mode, config=config)
    return dict(zip(bench.queries, map(_ranking, found), strict=True))


def _by_vectors(bench: Bench, index: Index, k: int) -> Rankings:
    found = index.search_vectors(list(bench.queries.values()), k, config=SearchConfig(passages=0, n_candidates=k))
    return dict(zip(bench.queries, map(_ranking, found), strict=True))


def _ranking(hits: Sequence[Hit]) -> list[tuple[str, float]]:
    """Documents in rank order, each once: by its best passage where it has several."""
    best: dict[str, float] = {}
    for hit in hits:
        best.setdefault(hit.ref_id or hit.id, hit.score)
    return list(best.items())[:K]


def evidence(bench: Bench, index: Index, folder: Path, sections: Path) -> Iterator[EvidenceRow]:
    """How often the first passage of the right document overlaps the annotated section."""
    places = annotated(bench.data, read_judged_corpus(sections))
    print(
        f"| sentences | ours | its characters | BM25 | its characters | ({len(places)} queries)\n|---|---|---|---|---|"
    )
    for n in SENTENCES:
        config = SearchConfig(passage_sentences=n)
        ours = [first_passage(index, bench.queries[query], document, config) for query, (document, _) in places.items()]
        theirs = bm25_passages(bench, folder / f"bm25_{n}", places, n)
        row = EvidenceRow(n, *_rate(ours, places), *_rate(theirs, places), len(places))
        print(
            f"| {n} | {row.ours:.3f} | {row.ours_characters:.0f} | {row.bm25:.3f} | {row.bm25_characters:.0f} |",
            flush=True,
        )
        yield row


Places = dict[str, tuple[str, list[tuple[int, int]]]]


def annotated(data: JudgedCorpus, sections: JudgedCorpus) -> Places:
    """For each query its document, and where in it the annotated sections stand."""
    texts = {document.id: document.text for document in data.documents}
    parts = {document.id: document for document in sections.documents}
    by_text = {text: query for query, text in sections.queries.items()}
    places: Places = {}
    for query, text in data.queries.items():
        [document] = list(data.qrels[query])[:1]
        wanted = sections.qrels.get(by_text.get(text, ""), {})
        found = [_place(texts[document], parts[name].text) for name in wanted]
        if found and all(place is not None for place in found):
            places[query] = document, [place for place in found if place is not None]
    return places


def _place(text: str, section: str) -> tuple[int, int] | None:
    # a section begins with the title of its story
    body = section.split("\n", 1)[-1]
    start = text.find(body)
    return None if start < 0 else (start, start + len(body))


def first_passage(index: Index, query: Float32Array, document: str, config: SearchConfig) -> tuple[int, int]:
    [[hit]] = index.search_vectors([query], 1, filter=HasId((document,)), config=config)
    return hit.passages[0].start, hit.passages[0].end


def bm25_passages(bench: Bench, path: Path, places: Places, n_sentences: int) -> list[tuple[int, int] | None]:
    """The place of BM25's first run of sentences in the right document; None where no word is found."""
    bounds: dict[str, tuple[int, int]] = {}
    with Index.create(path, dim=1) as index:
        for document in bench.data.documents:
            cuts = sentences(document.text)
            # ours may begin at any sentence too
            runs = [cuts[n : n + n_sentences] for n in range(max(1, len(cuts) - n_sentences + 1))]
            for n, run in enumerate(runs):
                bounds[f"{document.id}#{n}"] = int(run[0][0]), int(run[-1][1])
        one = TokenVectors(np.ones((1, 1), np.float16), np.zeros((1, 2), np.int32))
        texts = {document.id: document.text for document in bench.data.documents}
        index.add_vectors(
            (Document(name, texts[ref][start:end], ref_id=ref), one)
            for name, (start, end) in bounds.items()
            for ref in (name.rsplit("#", 1)[0],)
        )
        found: list[tuple[int, int] | None] = []
        for query, (document, _) in places.items():
            hits = index.search(bench.data.queries[query], 1, mode="bm25", filter=HasRef((document,)))
            found.append(bounds[hits[0].id] if hits else None)
        return found


def _rate(found: Sequence[tuple[int, int] | None], places: Places) -> tuple[float, float]:
    """Share that overlaps an annotated section, and the mean length in characters."""
    overlaps = [
        passage is not None and any(passage[0] < end and start < passage[1] for start, end in sections)
        for passage, (_, sections) in zip(found, places.values(), strict=True)
    ]
    return float(np.mean(overlaps)), float(np.mean([end - start for start, end in filter(None, found)]))


if __name__ == "__main__":
    main()
