"""The first query of a fresh process, by text or with given vectors; prints the numbers of the documents it found.

python first_query.py INDEX --text QUESTION
python first_query.py INDEX --vectors FILE.npy
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("index", type=Path)
    parser.add_argument("--text")
    parser.add_argument("--vectors", type=Path)
    given = parser.parse_args()
    from colbert_rag import Index

    index = Index.open(given.index)
    if given.text:
        hits = index.search(given.text)
    else:
        import numpy as np

        [hits] = index.search_vectors([np.load(given.vectors)])
    print(json.dumps([int(hit.id) for hit in hits]), flush=True)


if __name__ == "__main__":
    main()
