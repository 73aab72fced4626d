"""What the seams between windows cost, on a model that takes 8,192 tokens at once.

    python tests/benchmarks/windows.py FOLDER [--attention local] [--documents 100] [--window 2048] [--json FILE]

FOLDER is a judged collection in BEIR's layout; its first --documents that answer a query are taken, with these queries.
The built-in model reads 512 tokens. Here it becomes a model of 8,192 with the same weights, which was never trained at
that length; its own quality is not the point. Each document is encoded in one pass and in windows of --window tokens,
and the rankings by exact MaxSim are compared, with plain windows of 512 beside them. Two conversions:

local: transformers' Longformer, converted as in Beltagy et al. 2020 (arXiv 2004.05150), section 5: the table of
positions is repeated and a token sees 256 tokens to either side in each layer.
full: the table of positions is repeated (Zhu et al. 2024, arXiv 2404.12096) and a token sees all 8,192.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from pooling import exact_search
from transformers import LongformerConfig, LongformerModel

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
        _save_long(folder, arguments.attention)
        # a query is so short that both conversions leave its vectors as they are
        asked = Encoder().encode_queries(list(queries.values()))
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
            found = exact_search([t.vectors for t in tokens], asked, [d.id for d in documents])
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
    parser.add_argument("--attention", choices=["local", "full"], default="local")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--window", type=int, default=2_048)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _save_long(folder: str, attention: str) -> None:
    model = load_builtin("cpu")
    backbone = model[0].auto_model
    table = backbone.embeddings.position_embeddings
    repeated = table.weight.detach().repeat(CONTEXT // table.num_embeddings, 1)
    if attention == "local":
        model[0].model = _longformer(backbone, repeated)
    else:
        backbone.embeddings.position_embeddings = torch.nn.Embedding.from_pretrained(repeated)
        backbone.config.max_position_embeddings = CONTEXT
    model[0].max_seq_length = CONTEXT
    model.save_pretrained(folder)


def _longformer(backbone: torch.nn.Module, positions: torch.Tensor) -> LongformerModel:
    config = backbone.config.to_dict()
    kept = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act")
    long = LongformerConfig(
        **{name: config[name] for name in (*kept, "layer_norm_eps", "type_vocab_size", "pad_token_id")},
        max_position_embeddings=CONTEXT + 1,
        attention_window=512,
    )
    weights = dict(backbone.state_dict())
    # Longformer counts positions from one beyond the padding's
    weights["embeddings.position_embeddings.weight"] = torch.cat([positions[:1], positions])
    for name in list(weights):
        if ".attention.self." in name:
            head, kind = name.rsplit(".", 1)
            weights[f"{head}_global.{kind}"] = weights[name]
    model = LongformerModel(long)
    found = model.load_state_dict(weights, strict=False)
    assert not found.missing_keys, found.missing_keys
    return model


if __name__ == "__main__":
    main()
