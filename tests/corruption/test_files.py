"""T7: a file of an index is cut, grown, emptied, taken away, or another one stands in its place."""

from __future__ import annotations

import random

from damage import Damage

CATALOG = "catalog.sqlite"


def damages_of(originals, rng, count):
    """Damages of every sort, that change something."""
    kinds = ("exact", "compressed", "lists")
    contents = {
        (kind, str(p.relative_to(originals[kind]))): p.read_bytes()
        for kind in kinds
        for p in sorted(originals[kind].rglob("*"))
        if p.is_file()
    }
    catalogs = [key for key in contents if key[1] == CATALOG]
    made = 0
    while made < count:
        # one damage in five is of a catalog, which is one file of many
        kind, name = rng.choice(catalogs if made % 5 == 0 else list(contents))
        damage = _random_damage(rng, kind, name, contents, originals)
        if damage is not None:
            made += 1
            yield damage


def _random_damage(rng, kind, name, contents, originals):
    content = contents[kind, name]
    how = rng.choice(["truncate", "extend", "zero", "delete", "folder", "link", "swap", "replace"])
    if how == "truncate":
        return Damage(
            kind, name, how, at=rng.choice([0, 1, len(content) // 2, len(content) - 1, rng.randrange(len(content))])
        )
    if how == "extend":
        return Damage(kind, name, how, at=rng.choice([1, 512, 16_384]), bit=rng.choice([0, 255]))
    if how == "zero":
        at, log = rng.randrange(len(content)), rng.randrange(16)
        return Damage(kind, name, how, at=at, bit=log) if any(content[at : at + (1 << log)]) else None
    if how in ("delete", "folder", "link"):
        return Damage(kind, name, how)
    if how == "swap":
        others = [other for k, other in contents if k == kind and contents[k, other] != content]
        return Damage(kind, name, how, other=rng.choice(others))
    others = [str(originals[k] / other) for k, other in contents if k != kind and contents[k, other] != content]
    return Damage(kind, name, how, other=rng.choice(others))


def is_found(damage, outcome):
    if not outcome.problems:
        # bytes of the catalog that nothing is kept in
        return (
            damage.how == "zero" and damage.file == CATALOG and outcome.is_same_content and all(outcome.same.values())
        )
    if damage.how == "replace" and damage.other.endswith(CATALOG) and damage.file == CATALOG:
        # another index's catalog is a whole one: it is its files that are not there
        return True
    return any(name in line for line in outcome.problems for name in (damage.file, damage.other) if name)


def test_a_file_that_is_not_what_was_committed_is_found_and_named(attempt, originals, figures):
    damages = list(damages_of(originals, random.Random(figures.seed), figures.size(500, 20_000)))
    wrong = [
        f"{damage}: {outcome}"
        for damage, outcome in attempt(damages)
        if not (outcome.is_typed and is_found(damage, outcome))
    ]
    assert not wrong, wrong[0]
    figures.add("files truncated, extended, zeroed, deleted, replaced or swapped", len(damages))


def test_every_file_is_missed(attempt, originals):
    """Each file of an index with inverted lists, the catalog too, in every way."""
    root = originals["lists"]
    names = [str(p.relative_to(root)) for p in sorted(root.rglob("*")) if p.is_file()]
    damages = [
        Damage("lists", name, how, at=1) for name in names for how in ("truncate", "extend", "delete", "folder", "link")
    ]
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        # what has the same bytes is no other file
        if (root / name).read_bytes() != (root / other).read_bytes():
            damages.append(Damage("lists", name, "swap", other=other))
    wrong = [f"{d}: {outcome}" for d, outcome in attempt(damages) if not (outcome.is_typed and is_found(d, outcome))]
    assert not wrong, wrong[0]
