"""T6: one bit of an index is changed."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

from damage import Damage

_HEADER_BYTES = 128
# of a row around its texts: header, types, numbers
_ROW_BYTES = 48


def files_of(original):
    """Every file of an index with its size, by its path inside the index."""
    found = {str(p.relative_to(original)): p.stat().st_size for p in sorted(original.rglob("*")) if p.is_file()}
    return {name: size for name, size in found.items() if not name.endswith("-shm")}


def own_records(original):
    """Where the catalog's file holds the state and the records of the segments."""
    content = (original / "catalog.sqlite").read_bytes()
    with closing(sqlite3.connect(f"{(original / 'catalog.sqlite').as_uri()}?mode=ro&immutable=1", uri=True)) as catalog:
        texts = [t for row in catalog.execute("SELECT settings, codec FROM state") for t in row if t is not None]
        texts += [name + record for name, record in catalog.execute("SELECT name, record FROM segments")]
    places = set()
    for text in texts:
        start = content.find(text.encode())
        assert start > 0
        places.update(range(start - _ROW_BYTES, start + len(text.encode()) + _ROW_BYTES))
    return sorted(places)


def report(outcomes, is_fine):
    """The cases that are not fine, as lines to be read."""
    return [f"{damage}: {outcome}" for damage, outcome in outcomes if not is_fine(damage, outcome)]


def test_every_byte_of_every_array_header_is_found_and_refused(attempt, originals, figures):
    rng = random.Random(figures.seed)
    bits = figures.size(1, 8)
    arrays = [
        (kind, name) for kind in ("lists", "exact") for name in files_of(originals[kind]) if name.endswith(".npy")
    ]
    if not figures.is_torture:
        # one file of each array: its header says the same in every segment
        arrays = list({Path(name).name: (kind, name) for kind, name in reversed(arrays)}.values())
    damages = [
        Damage(kind, name, at=at, bit=bit)
        for kind, name in arrays
        for at in range(_HEADER_BYTES)
        for bit in rng.sample(range(8), bits)
    ]

    def is_fine(damage, outcome):
        return any(damage.file in line for line in outcome.problems) and outcome.error and outcome.is_typed

    wrong = report(attempt(damages), is_fine)
    assert not wrong, wrong[:3]
    figures.add("flipped bytes of array headers", len(damages))


def test_every_byte_of_the_catalogs_own_records_is_found_and_never_believed(attempt, originals, figures):
    """The everyday size takes every third byte."""
    rng = random.Random(figures.seed)
    bits = figures.size(1, 8)
    places = own_records(originals["lists"])
    damages = [
        Damage("lists", "catalog.sqlite", at=at, bit=bit)
        for at in (places if figures.is_torture else places[figures.seed % 3 :: 3])
        for bit in rng.sample(range(8), bits)
    ]

    def is_fine(damage, outcome):
        # around the rows there may be room that nothing is kept in
        return outcome.is_typed and all(outcome.same.values()) and (outcome.problems or outcome.is_same_content)

    wrong = report(attempt(damages), is_fine)
    assert not wrong, wrong[:3]
    figures.add("flipped bytes of the catalog's own records", len(damages))


def random_flips(originals, rng, count):
    """Half of them anywhere, half where there is something: most of a small catalog is empty pages."""
    contents = {
        (kind, name): (original / name).read_bytes()
        for kind, original in originals.items()
        for name in files_of(original)
    }
    weights = [len(content) for content in contents.values()]
    for number, (kind, name) in enumerate(rng.choices(list(contents), weights, k=count)):
        content = contents[kind, name]
        at = rng.randrange(len(content))
        while number % 2 and not content[at]:
            at = rng.randrange(len(content))
        yield Damage(kind, name, at=at, bit=rng.randrange(8))


def test_a_flipped_bit_is_found_or_changes_nothing(attempt, originals, figures):
    """What verify does not find is proved to change no row and no answer: it lies in room that nothing is kept in."""
    rng = random.Random(figures.seed)
    damages = list(random_flips(originals, rng, figures.size(1_000, 1_000_000)))
    counts = {"found": 0, "without any effect": 0, "at the end of a log, told as unfinished": 0}

    def is_fine(damage, outcome):
        # what an answer of late interaction is made of in the catalog is checked when it is read
        is_right = bool(outcome.problems) if damage.file.endswith(".npy") else outcome.same.get("maxsim", True)
        if outcome.problems:
            counts["found"] += 1
        elif outcome.is_same_content:
            counts["without any effect"] += 1
            is_right = is_right and outcome.same == {"maxsim": True, "bm25": True}
        else:
            counts["at the end of a log, told as unfinished"] += 1
            is_right = damage.file.endswith("-wal") and any(damage.file in line for line in outcome.leftovers)
        return outcome.is_typed and is_right

    wrong = report(attempt(damages), is_fine)
    assert not wrong, wrong[:3]
    figures.add("random flips", len(damages))
    for what, count in counts.items():
        figures.add(f"random flips {what}", count)
