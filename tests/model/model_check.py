"""An index against a dictionary: any order of writes, crashes and searches gives what brute force gives (T10)."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import traceback
import uuid
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from children import join, running
from figures import Figures
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lifeline import end_with_parent
from stored_index import bm25_scores, maxsim, stored_vectors

from colbert_rag import Document, Index, SearchConfig
from colbert_rag.errors import DuplicateIdError
from colbert_rag.ingest import write_session
from colbert_rag.testing import HashEncoder

ENCODER = HashEncoder(dim=64)
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord"]
SOURCES = ["s0", "s1", "s2"]
# float32 sums of at most 4 dot products against float64; a compressed query is rounded to 14 bits
TOLERANCE = {"exact": 1e-5, "compressed": 2e-3, "lists": 2e-3}
# by bits: how near a compressed vector stays to its own, also where it is packed anew
LEAST_NEAR = {2: 0.7, 4: 0.95}
OPTIONS = {
    "exact": {"exact_tokens": 10**9},
    "compressed": {"exact_tokens": 40, "probe_tokens": 10**9},
    "lists": {"exact_tokens": 40, "probe_tokens": 1},
}
EVERYTHING = 1_000

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join)
ids = st.integers(0, 24).map(lambda n: f"d{n:02}")
documents = st.lists(
    st.builds(lambda i, text, source: Document(i, text, {"source": source}), ids, texts, st.sampled_from(SOURCES)),
    min_size=1,
    max_size=4,
    unique_by=lambda document: document.id,
)
queries = st.lists(st.sampled_from([*WORDS, "unknown"]), min_size=1, max_size=4).map(" ".join)
filters = st.none() | st.sampled_from([{"source": "s0"}, {"source": {"$in": ["s1", "s2"]}}, {"source": "nobody"}])


class IndexModel(RuleBasedStateMachine):
    """Rules for one index folder; ``kept`` is what it must hold."""

    folder: Path
    figures: Figures
    counts_path: Path

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Document] = {}

    @initialize(kind=st.sampled_from(sorted(OPTIONS)), bits=st.sampled_from([2, 4]))
    def create(self, kind, bits):
        self.tolerance = TOLERANCE[kind]
        self.least_near = 0.999 if kind == "exact" else LEAST_NEAR[bits]
        self.index = Index.create(self.folder / uuid.uuid4().hex, ENCODER, bits=bits, **OPTIONS[kind])

    def teardown(self):
        if not hasattr(self, "index"):
            return
        report = self.index.verify()
        self.index.close()
        assert (report.problems, report.documents) == ((), len(self.kept))
        self.figures.add("runs of the model")
        unfinished = self.counts_path.with_suffix(".new")
        unfinished.write_text(json.dumps(self.figures.counts))
        unfinished.replace(self.counts_path)

    @rule(new=documents)
    def add(self, new):
        known = [document.id for document in new if document.id in self.kept]
        if known:
            with pytest.raises(DuplicateIdError, match=known[0]):
                self.index.add(new)
        else:
            assert self.index.add(new) == len(new)
            self.kept |= {document.id: document for document in new}

    @rule(new=documents)
    def upsert(self, new):
        assert self.index.upsert(new) == sum(self.kept.get(document.id) != document for document in new)
        self.kept |= {document.id: document for document in new}

    @rule(new=documents, source=st.sampled_from(SOURCES))
    def replace_a_source(self, new, source):
        self.kept = {i: document for i, document in self.kept.items() if document.metadata["source"] != source}
        assert self.index.upsert(new, replacing={"source": source}) == sum(self.kept.get(d.id) != d for d in new)
        self.kept |= {document.id: document for document in new}

    @rule(unwanted=st.lists(ids, max_size=6))
    def delete(self, unwanted):
        assert self.index.delete(unwanted) == len(self.kept.keys() & set(unwanted))
        self.kept = {i: document for i, document in self.kept.items() if i not in unwanted}

    @rule(source=st.sampled_from(SOURCES))
    def delete_a_source(self, source):
        before = len(self.kept)
        self.kept = {i: document for i, document in self.kept.items() if document.metadata["source"] != source}
        assert self.index.delete(filter={"source": source}) == before - len(self.kept)

    @rule()
    def compact(self):
        self.index.compact()

    @rule(is_closed=st.booleans())
    def reopen(self, is_closed):
        """Or abandon: the old object is dropped as it is."""
        if is_closed:
            self.index.close()
        self.index = Index.open(self.index.path, ENCODER)

    @precondition(lambda _: hasattr(os, "fork"))
    @rule(new=documents, stage=st.sampled_from(["added", "train", "pack", "finished"]), compacts=st.booleans())
    def crash(self, new, stage, compacts):
        """A writer dies in the middle; where it comes that far it has not committed."""
        child = os.fork()
        if not child:
            write_and_die(self.index.path, new, stage, compacts=compacts)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), status
        assert os.WTERMSIG(status) == signal.SIGKILL
        self.figures.add("crashes of the model")

    @rule(query=queries, k=st.sampled_from([1, 3, EVERYTHING]), chosen=filters)
    def search(self, query, k, chosen):
        expected = self.expected_maxsim(query, chosen)
        hits = self.index.search(query, k, filter=chosen, config=SearchConfig(exact=True, passages=0))
        self.check_ranking(hits, expected, k)

    @rule(query=queries, k=st.sampled_from([1, 3, EVERYTHING]), chosen=filters)
    def search_words(self, query, k, chosen):
        scores = bm25_scores(query, {document.id: document.text for document in self.kept.values()})
        expected = {i: score for i, score in scores.items() if self.is_chosen(self.kept[i], chosen)}
        self.check_ranking(self.index.search(query, k, mode="bm25", filter=chosen), expected, k, 1e-9)

    @rule(query=queries, k=st.sampled_from([1, 3, EVERYTHING]), chosen=filters)
    def search_both(self, query, k, chosen):
        """The fusion as the documentation states it, of the two rankings that the other rules check."""
        vectors, words = (
            {hit.id: hit.score for hit in self.index.search(query, EVERYTHING, mode=mode, filter=chosen)}
            for mode in ("maxsim", "bm25")
        )
        low, high = min(vectors.values(), default=0), max(vectors.values(), default=0)
        most = max(words.values(), default=1)
        expected = {
            i: 0.7 * ((score - low) / (high - low) if high > low else 1.0) + 0.3 * words.get(i, 0.0) / most
            for i, score in vectors.items()
        }
        self.check_ranking(self.index.search(query, k, mode="hybrid", filter=chosen), expected, k, 1e-6)

    @rule(query=queries, chosen=filters)
    def search_pruned(self, query, chosen):
        """What pruning leaves is scored a little lower at most, and is what the filter allows."""
        expected = self.expected_maxsim(query, chosen)
        hits = self.index.search(query, 1, filter=chosen, config=SearchConfig(n_candidates=1, n_probe=1))
        assert len(hits) == min(1, len(expected))
        for hit in hits:
            self.check_document(hit)
            assert hit.score <= expected[hit.id] + self.tolerance

    @invariant()
    def holds_what_was_committed(self):
        if hasattr(self, "index"):
            assert list(self.index.ids()) == sorted(self.kept)
            assert {d.id: d for d in self.index.get_many(self.kept)} == self.kept
            self.figures.add("steps of the model")

    def expected_maxsim(self, query, chosen):
        [asked], vectors = ENCODER.encode_queries([query]), stored_vectors(self.index.path)
        self.check_vectors(vectors)
        return {i: maxsim(asked, vectors[i]) for i, d in self.kept.items() if self.is_chosen(d, chosen)}

    def check_vectors(self, stored):
        """That a document has its own vectors: those of different words are far apart."""
        assert stored.keys() == self.kept.keys()
        for document, made in zip(self.kept.values(), self.encoded(), strict=True):
            near = (stored[document.id] * made.vectors.astype("f4")).sum(axis=1)
            assert len(near) == len(made.vectors)
            assert near.min() > self.least_near, (
                f"{document.id}: its vectors are as near as {near.tolist()} to those stored"
            )

    def encoded(self):
        return ENCODER.encode_documents([document.text for document in self.kept.values()])

    @staticmethod
    def is_chosen(document, chosen):
        if chosen is None:
            return True
        wanted = chosen["source"]
        return document.metadata["source"] in (wanted["$in"] if isinstance(wanted, dict) else [wanted])

    def check_document(self, hit):
        document = self.kept[hit.id]
        assert (hit.text, hit.metadata) == (document.text, document.metadata)

    def check_ranking(self, hits, expected, k, tolerance=None):
        """The best ``k``, each with its score; equal scores by id, and no better document left out."""
        tolerance = self.tolerance if tolerance is None else tolerance
        assert len(hits) == min(k, len(expected))
        for hit in hits:
            self.check_document(hit)
            assert abs(hit.score - expected[hit.id]) <= tolerance
        order = [(-hit.score, hit.id) for hit in hits]
        assert order == sorted(order)
        found = {hit.id for hit in hits}
        assert len(found) == len(hits)
        if hits:
            assert max((expected[i] for i in expected.keys() - found), default=-math.inf) <= hits[-1].score + tolerance
        self.figures.add("searches compared with brute force")


def encode(documents):
    return ENCODER.encode_documents([document.text for document in documents])


def write_and_die(path, documents, stage, *, compacts):
    """In a forked child: writes until a stage is reached, and dies there or right before the commit."""

    def die(at=None, *_):
        if at in (None, stage):
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        index = Index.open(path, ENCODER)
        with write_session(path, index._catalog, die) as session:
            wanted = session.wanted(documents, replace=True)
            session.write(wanted, encode(wanted), replace=True)
            die("added")
            session.compact() if compacts else session.finish()
            die()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def run_part(folder, figures, n_runs, part):
    """Some of the runs; what they counted lies in a file, also where they are killed."""
    counted = Figures(figures.scale, figures.seed)
    attributes = {"folder": folder, "figures": counted, "counts_path": folder / f"counts-{part}"}
    # children then do not copy what is already there
    gc.freeze()
    n_steps, n_next = n_runs * figures.size(50, 100), n_runs
    # Hypothesis ends some runs early; further ones make up for them
    while counted.counts["steps of the model"] < n_steps:
        machine = type("IndexModel", (IndexModel,), attributes)
        run_state_machine_as_test(
            seed(f"{figures.seed} {part} {counted.counts}")(machine),
            settings=settings(
                max_examples=n_next,
                stateful_step_count=figures.size(50, 100),
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
        n_next = max(1, n_runs // 10)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_any_order_of_writes_crashes_and_searches_is_as_of_a_dictionary(fast_folder, figures):
    """In at least 200 runs of at most 50 steps and 10,000 steps in all; the long size in 5,000 and 500,000."""
    end_with_parent()
    n_runs, n_steps = figures.size(200, 5_000), figures.size(50, 100)
    n_parts = min(2, figures.processes) if hasattr(os, "fork") else 1
    parts = [partial(run_part, fast_folder, figures, n_runs // n_parts, part) for part in range(n_parts)]
    try:
        if n_parts == 1:
            parts[0]()
        else:
            with running(*parts, most_seconds=0) as processes:
                assert join(*processes) == [0] * n_parts, "the processes have printed why"
    finally:
        tried = Counter()
        for path in fast_folder.glob("counts-?"):
            tried.update(json.loads(path.read_text()))
        figures.counts.update(tried)
    assert tried["runs of the model"] >= n_runs
    assert tried["steps of the model"] >= n_runs * n_steps
