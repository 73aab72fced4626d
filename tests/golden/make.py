"""Make the golden indexes of the current format: small ones that every later version must open with the same hits.

Run: python tests/golden/make.py

Each is made once and never again: a change that makes the tests of tests/golden fail breaks what users have on their
disks. What is new in a format gets a kind of its own; a new format version gets a folder of its own beside the old.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from colbert_rag import Document, Index, SearchConfig
from colbert_rag.storage.schema import FORMAT_VERSION
from colbert_rag.testing import HashEncoder

FOLDER = Path(__file__).parent / f"v{FORMAT_VERSION}"
ENCODER = HashEncoder(dim=16)
PLACES = ["harbor", "meadow", "river", "valley", "island", "forest", "desert", "glacier", "canyon", "lagoon"]
ANIMALS = ["heron", "otter", "badger", "falcon", "lizard", "salmon", "beaver"]
QUERIES = ("otter of the river", "falcon glacier", "a lizard sleeps in the desert", "Ünïcode wörds")
KINDS = {
    "exact": {"exact_tokens": 50_000},
    # two bits as they were before there was a trellis
    "compressed": {"exact_tokens": 300, "probe_tokens": 500, "bits": 2},
    "trellis": {"exact_tokens": 300, "probe_tokens": 500, "bits": 2},
}
MODES = ("maxsim", "bm25", "hybrid")


def documents() -> list[Document]:
    """Seventy documents, each of one place and one animal, with all that a document can have."""
    found = []
    for n in range(70):
        place, animal = PLACES[n % len(PLACES)], ANIMALS[n % len(ANIMALS)]
        text = f"The {animal} number {n} lives near the {place}. It sleeps at noon. Ünïcode wörds {n % 5}."
        metadata = {"n": n, "place": place, "even": n % 2 == 0, "deep": {"half": n / 2}, "tags": [animal, None]}
        extra = {"page": n} if n % 3 == 0 else None
        heading = animal.title() if n % 4 == 0 else ""
        ref_id = f"book-{n % 6}" if n % 2 else None
        found.append(Document(f"d{n:02}", text, metadata, heading=heading, ref_id=ref_id, extra=extra))
    return found


def build(path: Path, kind: str) -> None:
    """An index with several segments, replaced and deleted documents."""
    first, second = documents()[:40], documents()[40:]
    with Index.create(path, ENCODER, **KINDS[kind]) as index:
        index.add(first)
        index.add(second)
        index.upsert([Document("d03", "The replaced one: an otter of the river.", {"n": 3})])
        index.delete(["d05", "d17", "d44"])


def answers(index: Index) -> dict[str, object]:
    """What a later version must find again."""
    filtered = {"even": True, "deep.half": {"$gte": 5}}
    ranked = {
        f"{mode}: {query}": [asdict(hit) for hit in index.search(query, 5, mode=mode)]
        for mode in MODES
        for query in QUERIES
    }
    ranked["filtered"] = [asdict(hit) for hit in index.search(QUERIES[0], 5, filter=filtered)]
    ranked["exactly"] = [asdict(hit) for hit in index.search(QUERIES[0], 5, config=SearchConfig(exact=True))]
    return {"ids": list(index.ids()), "documents": [asdict(document) for document in index.find()], "hits": ranked}


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    missing = [kind for kind in KINDS if not (FOLDER / f"{kind}.zip").exists()]
    print(f"making {', '.join(missing) or 'nothing: golden indexes are never made again'}")
    for kind in missing:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / kind
            build(path, kind)
            with Index.open(path, ENCODER, read_only=True) as index:
                expected = answers(index)
            # an empty catalog has a page for each table: packed, it is a few kilobytes
            shutil.make_archive(str(FOLDER / kind), "zip", path)
            (FOLDER / f"{kind}.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
