"""Random input for every parser of ours, made from a seed; what came out of it other than an answer or our words."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from colbert_rag.errors import ColbertRagError

__all__ = ["PARSERS", "fuzz"]

# one input; the slowest take some milliseconds
_MOST_SECONDS = 5


def fuzz(parser: str, seed: int, first: int, count: int, place: str) -> dict[str, str]:
    """Give a parser ``count`` inputs, numbered from ``first``; the numbers of those that it took badly, and how.

    What has to be a file is one in a folder that is made in ``place``; on a disk the parsers would wait for it.
    """
    parse = PARSERS[parser]
    bad: dict[str, str] = {}
    signal.signal(signal.SIGALRM, _too_long)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for number in range(first, first + count):
            signal.alarm(_MOST_SECONDS)
            try:
                parse(random.Random(f"{seed} {parser} {number}"), Path(folder))
            except ColbertRagError:
                pass
            except BaseException as err:
                bad[str(number)] = f"{type(err).__name__}: {err}"[:500]
            signal.alarm(0)
    return bad


def _too_long(number: int, frame: Any) -> None:
    raise TimeoutError(f"more than {_MOST_SECONDS} seconds")


def mutated(rng: random.Random, valid: bytes) -> bytes:
    """Bits flipped, pieces repeated, removed, moved, or replaced by what has hurt parsers before."""
    data = bytearray(valid)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        b = min(b, a + rng.choice((1, 4, 64)))
        match rng.randrange(6):
            case 0 if a < len(data):
                data[a] ^= 1 << rng.randrange(8)
            case 1:
                data[a:a] = data[a:b] * rng.choice((1, 2, 50))
            case 2:
                del data[a:b]
            case 3:
                c = rng.randrange(len(data) + 1)
                data[c:c] = data[a:b]
            case _:
                data[a:b] = rng.choice(_NASTY)
    return bytes(data)


_NASTY = (
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"-1", b"1e999", b"NaN", b"null", b"9" * 5000),
    *(
        b"[" * 3000,
        b'{"a":' * 300,
        b'"',
        b"}",
        b"]",
        b"\r",
        b"\n",
        b",",
        b"<div>" * 300,
        b"<!--",
        b"<![CDATA[",
        b"&#x110000;",
    ),
    *(
        b"18446744073709551616",
        b"281474976710657",
        b"true",
        b'{"a":1,"a":2}',
        b"../x",
        b"\xf0\x9f\x98\x80",
        b"\x80" * 9,
    ),
)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that Python can hold in a filter or a record."""
    if depth < 4 and rng.random() < 0.5:
        n = rng.randrange(4)
        match rng.randrange(4):
            case 0:
                return [value(rng, depth + 1) for _ in range(n)]
            case 1:
                return tuple(value(rng, depth + 1) for _ in range(n))
            case _:
                return {_key(rng): value(rng, depth + 1) for _ in range(n)}
    return rng.choice(_SCALARS)


_SCALARS: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63, 2**64, 10**5000, 0.0, -0.0, 1e308, float("nan"), float("inf"), 1j),
    *("", "a", "\ud800", "\x00", "$in", "a" * 70_000, "%", "'; DROP TABLE documents; --", b"bytes", object, {1, 2}),
    *(frozenset({"a"}), range(3), np.int64(3), np.float32("nan"), np.zeros(3), ...),
)


def _key(rng: random.Random) -> Any:
    return rng.choice((*_OPERATORS, "n", "tags", "a.b", "", ".", "\ud800", "x" * 5_000, 3, None, ("n",)))


_OPERATORS = ("$and", "$or", "$nor", "$not", "$id", "$ref_id", "$in", "$nin", "$eq", "$ne", "$gt", "$lte", "$all")
_OPERATORS += ("$exists", "$between", "$contains", "$icontains", "$regex", "$")


def _filters(rng: random.Random, folder: Path) -> None:
    from colbert_rag import filters

    given = value(rng)
    if rng.random() < 0.5:
        given = {_key(rng): value(rng) for _ in range(rng.randrange(1, 4))}
    if rng.random() < 0.05:
        for _ in range(rng.choice((10, 40, 3_000))):
            given = {"$not": given} if rng.random() < 0.5 else {"$and": [given]}
    _ask(filters.parse(given))


def _trees(rng: random.Random, folder: Path) -> None:
    from colbert_rag import filters

    kinds = [filters.And, filters.Or, filters.Not, filters.HasId, filters.HasRef, filters.Exists, filters.In]

    def tree(depth: int) -> Any:
        if depth > 3 or rng.random() < 0.2:
            return value(rng)
        kind = rng.choice((*kinds, filters.Compare, filters.Between))
        inner = tuple(tree(depth + 1) for _ in range(rng.randrange(3)))
        if kind in (filters.And, filters.Or, filters.HasId, filters.HasRef):
            return kind(inner if rng.random() < 0.8 else value(rng))
        if kind in (filters.Compare, filters.Between):
            return kind(_key(rng), rng.choice(("eq", "gt", "contains", 5, None)), value(rng))
        return kind(_key(rng), inner) if kind is filters.In else kind(tree(depth + 1))

    _ask(filters.parse(tree(0)))


def _ask(condition: Any) -> None:
    """What is accepted must be a question that SQLite takes, and the same one in Python."""
    from colbert_rag import Document, filters

    hash(condition)
    sql, values = filters.to_sql(condition)
    _empty_catalog().execute(f"SELECT d.key FROM documents d WHERE {sql}", values).fetchall()
    filters.matches(condition, Document("a", "text", {"n": [1, "x"], "a": {"b": 2**70}}))


@cache
def _empty_catalog() -> sqlite3.Connection:
    from colbert_rag.storage.schema import SCHEMA

    connection = sqlite3.connect(":memory:")
    connection.create_function("casefold", 1, str.casefold)
    connection.executescript(SCHEMA)
    return connection


_FILE = {"name": "doc_keys.npy", "size": 136, "sha256": "0" * 64}
_RECORDS: dict[str, dict[str, Any]] = {
    "IndexSettings": {
        **{"dim": 16, "bits": 4, "exact_tokens": 5, "probe_tokens": 5, "seed": 0, "model": {"model": None}},
        "pool_factor": 2,
    },
    "CodecRecord": {
        **{"name": "codec-1", "n_centroids": 16, "trained_on": 9, "files": {"centroids": _FILE}},
        "on_trellis": True,
    },
    "SegmentRecord": {
        **{"name": "segment-1", "codec": "codec-1", "n_documents": 1, "n_tokens": 2, "n_escapes": 0},
        **{"posting_bytes": None, "files": {"doc_keys": _FILE}},
    },
}


def _records(rng: random.Random, folder: Path) -> None:
    """Through the catalog, as a search reads them; accepted records are mapped."""
    from contextlib import closing

    from hostile_index import seal

    from colbert_rag.search import open_snapshot
    from colbert_rag.storage import Catalog, IndexSettings, create_catalog

    root = folder / "index"
    if not root.exists():
        create_catalog(root, IndexSettings(**_RECORDS["IndexSettings"]))
    texts = {name: json.dumps(record).encode() for name, record in _RECORDS.items()}
    chosen = rng.choice(sorted(texts))
    if rng.random() < 0.5:
        texts[chosen] = mutated(rng, texts[chosen])
    else:
        record = dict(_RECORDS[chosen])
        record[rng.choice([*record, "more"])] = _written(value(rng))
        texts[chosen] = json.dumps(record, default=repr, skipkeys=True).encode("utf-8", "surrogatepass")
    with closing(sqlite3.connect(root / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("DELETE FROM segments")
        if rng.random() < 0.7:
            connection.execute("INSERT INTO segments VALUES ('segment-1', CAST(? AS TEXT))", (texts["SegmentRecord"],))
        state = (texts["IndexSettings"], texts["CodecRecord"])
        connection.execute("UPDATE state SET settings = CAST(? AS TEXT), codec = CAST(? AS TEXT)", state)
        seal(connection)
    catalog = Catalog(root)
    try:
        with catalog.reading() as reading:
            open_snapshot(root, catalog.state(reading), reading.tombstones(), None)
    finally:
        catalog.close()


def _documents(rng: random.Random, folder: Path) -> None:
    from colbert_rag.storage.rows import document_of

    valid = json.dumps({"a": [1, {"b": "\u00e9"}], "c": None}).encode()
    columns = [mutated(rng, valid).decode("utf-8", "replace") if rng.random() < 0.8 else _cell(rng) for _ in range(2)]
    names = [_cell(rng) if rng.random() < 0.3 else "id" for _ in range(4)]
    found = document_of(*names, *columns)  # type: ignore[arg-type]
    json.dumps([found.metadata, found.extra], ensure_ascii=False).encode()
    assert all(isinstance(text, str) for text in (found.id, found.text, found.heading, found.ref_id or ""))


def _cell(rng: random.Random) -> Any:
    """What SQLite can give."""
    return rng.choice((None, 0, 5, 2**63 - 1, 0.5, b"", b"x", "", "\x00", "[" * 5_000, "1" * 5_000, '"\\ud800"', "{}"))


def _written(given: Any) -> Any:
    """Without what ``json.dumps`` itself refuses to write."""
    if isinstance(given, dict):
        return {str(key): _written(item) for key, item in given.items()}
    if isinstance(given, list | tuple):
        return [_written(item) for item in given]
    return 2**70 if isinstance(given, int) and given > 2**70 else given


def _arrays(rng: random.Random, folder: Path) -> None:
    from colbert_rag.storage import FileRecord
    from colbert_rag.storage.files import write_array
    from colbert_rag.storage.mapping import map_array

    path = folder / "array.npy"
    path.unlink(missing_ok=True)
    array = np.arange(rng.randrange(12), dtype=rng.choice(("int64", "uint8", "float16"))).repeat(4).reshape(-1, 4)
    record = write_array(path, array)
    content = path.read_bytes()
    path.write_bytes(mutated(rng, content[:128]) + content[128:] if rng.random() < 0.7 else mutated(rng, content))
    if rng.random() < 0.7:
        record = record.model_copy(update={"size": path.stat().st_size})
    if rng.random() < 0.2:
        record = FileRecord.model_construct(name=rng.choice(("../array.npy", "", "array.npy\n")), size=1, sha256="")
    rows = len(array) if rng.random() < 0.7 else rng.choice((0, 1, 2**40, 2**62))
    found = map_array(folder, record, array.dtype.name, (4,), rows)
    assert np.array_equal(found.view(np.uint8).reshape(-1), np.frombuffer(path.read_bytes()[128:], np.uint8))


def _postings(rng: random.Random, folder: Path) -> None:
    from colbert_rag.kernels import cpu
    from colbert_rag.storage.lists import build_lists

    n, k = rng.randrange(1, 400), 4
    ids = np.array([rng.randrange(k) for _ in range(3 * n)], np.uint16)
    bounds, packed = build_lists(ids, np.arange(0, 3 * n + 1, 3), k)
    data = np.frombuffer(mutated(rng, packed.tobytes()), np.uint8)
    bounds = np.minimum(bounds, len(data))
    bounds[-1] = len(data)
    seen, totals = np.zeros(n, np.uint32), np.zeros(n, np.uint32)
    out, scores = np.empty(n, np.int64), np.empty(n, np.uint32)
    chosen, gains = np.arange(k)[:, None], np.ones((k, 1), np.uint8)
    # the bytes around the lists are no part of them: a kernel that reads on shows itself there
    count = cpu.probe(bounds, data, chosen, gains, seen, totals, out, scores)
    expected = _decoded_lists(bounds.tolist(), data.tolist(), n)
    assert not seen.any()
    assert not totals.any()
    assert (count < 0) == (expected is None), "one calls the lists damaged and the other does not"
    assert expected is None or sorted(out[:count].tolist()) == sorted(expected)


def _decoded_lists(bounds: list[int], packed: list[int], n: int) -> set[int] | None:
    """Postings as docs/index-format.md describes them; None where they are not so."""
    found: set[int] = set()
    for start, stop in pairwise(bounds):
        position, number, shift, is_first = 0, 0, 0, True
        for byte in packed[start:stop]:
            number |= (byte & 127) << shift
            shift += 7
            if byte & 128:
                if shift >= 35:
                    return None
                continue
            position += number
            if position >= n or (number == 0 and not is_first):
                return None
            found.add(position)
            number, shift, is_first = 0, 0, False
        if shift:
            return None
    return found


def _spans(rng: random.Random, folder: Path) -> None:
    from colbert_rag.search import passages_of_all
    from colbert_rag.storage import Segment, SegmentRecord
    from colbert_rag.storage.spans import pack_spans

    counts = [rng.randrange(1, 30) for _ in range(rng.randrange(1, 5))]
    good = [np.cumsum([[rng.choice((0, 1, 90)), rng.choice((1, 40))] for _ in range(n)]).reshape(n, 2) for n in counts]
    packed = [pack_spans(spans.astype(np.int32)) for spans in good]
    first = np.cumsum([0, *counts])
    escapes = np.concatenate([part[1] + [[start, 0, 0]] for part, start in zip(packed, first[:-1], strict=True)])
    data = np.frombuffer(mutated(rng, b"".join(part[0].tobytes() for part in packed))[: first[-1]], np.uint8)
    data = np.concatenate([data, np.zeros(first[-1] - len(data), np.uint8)])
    wild = np.array(escapes[:, 1:], np.int32)
    if len(wild) and rng.random() < 0.7:
        wild[rng.randrange(len(wild)), rng.randrange(2)] = rng.choice((-1, 2**31 - 1, -(2**31), 0, 5_000))
    record = SegmentRecord(
        name="segment-1",
        codec=None,
        n_documents=len(counts),
        n_tokens=int(first[-1]),
        n_escapes=len(wild),
        posting_bytes=None,
        files={},
    )
    keys = np.arange(len(counts))
    segment = Segment(record, keys, first.astype(np.int64), {}, None, data, escapes[:, 0].astype(np.int64), wild)
    spans = segment.spans(keys.tolist())
    texts = ["word and word. " * 400] * len(counts)
    if int(spans.max()) <= len(texts[0]):
        likeness = np.ones((len(spans), 2), np.float32)
        passages_of_all(texts, spans, counts, likeness, 3, rng.choice((1, 3)))


_FILES: dict[str, tuple[str, bytes]] = {
    "jsonl": (
        "corpus.jsonl",
        b'{"id": "a", "text": "one", "metadata": {"n": [1, 2]}}\n{"_id": 5, "title": "t", "text": "2"}\n',
    ),
    "csv": ("corpus.csv", b'id,text,lang\na,"one, ""two""",en\nb,"line\nbreak",de\n'),
    "plain": ("corpus.md", "# Title\n\nText \u00e9 \U0001f600.".encode()),
    "html": ("page.html", b"<html><title>T</title><body><p>One <b>two</b><pre> x </pre></p><ul><li>a</ul>"),
}


def _corpus(kind: str) -> Callable[[random.Random, Path], None]:
    def parse(rng: random.Random, folder: Path) -> None:
        from colbert_rag.readers import Corpus

        name, valid = _FILES[kind]
        path = folder / name
        path.write_bytes(mutated(rng, valid))
        for document in Corpus([path]):
            assert isinstance(document.text, str)

    return parse


def _judged(rng: random.Random, folder: Path) -> None:
    from colbert_rag.readers import read_qrels, read_queries

    path = folder / "queries.jsonl"
    path.write_bytes(mutated(rng, b'{"_id": "q1", "text": "what"}\n{"_id": "q2", "text": "who"}\n'))
    with suppress(ColbertRagError):
        read_queries(path)
    path.write_bytes(mutated(rng, b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n"))
    read_qrels(path)


def _pdf(rng: random.Random, folder: Path) -> None:
    from colbert_rag.readers import Corpus

    path = folder / "page.pdf"
    path.write_bytes(mutated(rng, _PDF))
    list(Corpus([path]))


_PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj
4 0 obj<</Length 36>>stream
BT /F 12 Tf 9 9 Td (Hello pages) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
"""

PARSERS: dict[str, Callable[[random.Random, Path], None]] = {
    "filters": _filters,
    "filter trees": _trees,
    "records": _records,
    "documents": _documents,
    "arrays": _arrays,
    "postings": _postings,
    "spans": _spans,
    **{kind: _corpus(kind) for kind in _FILES},
    "queries and judgements": _judged,
    "pdf": _pdf,
}
"""Every parser of what a stranger may have written."""
