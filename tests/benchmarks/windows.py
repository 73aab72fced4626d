"""What the seams between windows cost, on a model that takes 8,192 tokens at once.

    python tests/benchmarks/windows.py FOLDER [--documents 100] [--window 2048] [--json FILE]

FOLDER is a judged collection in BEIR's layout; its first --documents that answer a query are taken, with these queries.
The built-in model reads 512 tokens. Here its table of positions is repeated sixteen times (recurrent positions:
Zhu et al. 2024, arXiv 2404.12096), which makes a model of 8,192 with real weights; it was never trained at that length.
Its own quality is not the point: each document is encoded in one pass, in windows of --window tokens, and the two
rankings by exact MaxSim are compared, with plain windows of 512 beside them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from pooling import exact_search

from colbert_rag import Encoder
from colbert_rag.encoder.builtin import load_builtin
from colbert_rag.evaluation import evaluate
from colbert_rag.readers import read_judged_corpus

CONTEXT = 8_192


def main() -> None:
    arguments = _arguments()
    data = read_judged_corpus(arguments.folder)
    judged = set().union(*data.qrels.values())
    documents = [document for document in data.documents if document.id in judged][: arguments.documents]
    names = {document.id for document in documents}
    queries = {name: text for name, text in data.queries.items() if names.issuperset(data.qrels[name])}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        _save_long(folder)
        print(f"{len(documents):,} documents, {len(queries):,} queries")
        print("| window | overlap | tokens | nDCG@10 | s |\n|---|---|---|---|---|")
        for length, overlap in (
            (CONTEXT, 128),
            (arguments.window, 128),
            (arguments.window, arguments.window // 4),
            (512, 128),
        ):
            encoder = Encoder(folder, document_length=length, window_overlap=overlap)
            begin = time.perf_counter()
            tokens = encoder.encode_documents([document.text for document in documents])
            seconds = time.perf_counter() - begin
            found = exact_search(
                [t.vectors for t in tokens], encoder.encode_queries(list(queries.values())), [d.id for d in documents]
            )
            ndcg = evaluate(dict(zip(queries, found, strict=True)), {q: data.qrels[q] for q in queries}, ["nDCG@10"])
            rows.append({"window": length, "overlap": overlap, "tokens": sum(len(t.vectors) for t in tokens), **ndcg})
            print(
                f"| {length:,} | {overlap} | {rows[-1]['tokens']:,} | {ndcg['nDCG@10']:.4f} | {seconds:.0f} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--window", type=int, default=2_048)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _save_long(folder: str) -> None:
    model = load_builtin("cpu")
    backbone = model[0].auto_model
    table = backbone.embeddings.position_embeddings
    repeated = table.weight.detach().repeat(CONTEXT // table.num_embeddings, 1)
    backbone.embeddings.position_embeddings = torch.nn.Embedding.from_pretrained(repeated)
    backbone.config.max_position_embeddings = CONTEXT
    model[0].max_seq_length = CONTEXT
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
