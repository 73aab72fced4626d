from __future__ import annotations

import numpy as np
import pytest

from colbert_rag import Document, DuplicateIdError, Index, InvalidVectorsError, TokenVectors
from colbert_rag.codec import n_centroids_for
from colbert_rag.testing import HashEncoder

NEVER = 10**9


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing here is about durability, and disks are slow to promise it."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def make(path):
    """``make(exact_tokens=…)``: an empty index, closed at the end."""
    made = []

    def make(encoder=None, **options):
        made.append(Index.create(path, encoder or HashEncoder(16), **({"exact_tokens": NEVER} | options)))
        return made[-1]

    yield make
    for index in made:
        index.close()


def documents(start, end, version=0):
    return [Document(f"d{n}", f"word{n} alpha{n % 7} beta{version}", {"n": n}) for n in range(start, end)]


def folders(path):
    """Folders of segments and codecs on disk."""
    return {p.name for p in path.iterdir() if p.is_dir()}


def assert_holds(index, path, expected):
    """The index holds these documents, is sound, and its folder holds nothing else."""
    assert set(index.ids()) == {d.id for d in expected}
    assert {d.id: d for d in index.get_many(index.ids())} == {d.id: d for d in expected}
    assert index.verify().problems == ()
    assert len(folders(path)) == index.info().n_segments + index.info().is_compressed


class TestAdding:
    def test_a_stream_is_encoded_in_chunks_and_never_held_whole(self, make, path):
        ahead = []

        class Encoder(HashEncoder):
            encoded = 0

            def encode_documents(self, texts, *, progress=None):
                ahead.append(produced - self.encoded)
                self.encoded += len(texts)
                return super().encode_documents(texts, progress=progress)

        produced = 0

        def stream():
            nonlocal produced
            for document in documents(0, 1_000):
                produced += 1
                yield document

        index = make(Encoder(16))
        assert index.add(stream()) == 1_000
        assert ahead == [256, 256, 256, 232]
        assert index.info().n_segments == 1
        assert_holds(index, path, documents(0, 1_000))

    def test_an_id_that_occurs_again_in_a_later_chunk_rolls_everything_back(self, make, path, monkeypatch):
        monkeypatch.setattr("colbert_rag.writing._CHUNK_DOCUMENTS", 10)
        index = make()
        index.add(documents(0, 5))
        repeated = [*documents(5, 40), Document("d7", "another text")]
        for write in (index.add, index.upsert):
            with pytest.raises(DuplicateIdError, match=r"'d7'"):
                write(iter(repeated))
            assert_holds(index, path, documents(0, 5))

    def test_an_id_that_is_in_the_index_is_refused_with_what_to_do(self, make, path):
        index = make()
        index.add(documents(0, 5))
        with pytest.raises(DuplicateIdError, match=r"'d4' are in the index already; upsert\(\) replaces documents"):
            index.add(documents(4, 9))
        assert_holds(index, path, documents(0, 5))

    def test_unusable_vectors_of_an_encoder_write_nothing(self, make, path):
        class Broken(HashEncoder):
            def encode_documents(self, texts, *, progress=None):
                found = super().encode_documents(texts)
                return [*found[:-1], TokenVectors(found[-1].vectors * np.float16(3), found[-1].spans)]

        index = make(Broken(16))
        with pytest.raises(InvalidVectorsError, match="document 'd8': vector 0 has length"):
            index.add(documents(0, 9))
        assert_holds(index, path, [])

    def test_documents_that_are_the_same_are_not_encoded_again(self, make):
        seen = []

        class Encoder(HashEncoder):
            def encode_documents(self, texts, *, progress=None):
                seen.extend(texts)
                return super().encode_documents(texts)

        index = make(Encoder(16))
        index.add(documents(0, 10))
        seen.clear()
        changed = [*documents(0, 9), Document("d9", "new text"), Document("d10", "and one more")]
        assert index.upsert(changed) == 2
        assert seen == ["new text", "and one more"]
        assert index.upsert(changed) == 0
        assert index.upsert([Document("d0", documents(0, 1)[0].text, {"n": "new"})]) == 1


class TestCompression:
    def test_an_index_is_compressed_when_it_reaches_exact_tokens(self, make, path):
        index = make(exact_tokens=30)
        index.add(documents(0, 9))
        assert (index.info().n_tokens, index.info().is_compressed) == (27, False)
        index.add(documents(9, 10))
        info = index.info()
        assert (info.n_tokens, info.is_compressed, info.codec_tokens, info.n_segments) == (30, True, 30, 1)
        assert_holds(index, path, documents(0, 10))
        for n in range(10):
            assert index.search(f"word{n}", k=1)[0].id == f"d{n}"

    def test_an_index_of_no_exact_tokens_is_compressed_at_once(self, make, path):
        index = make(exact_tokens=0)
        index.add(documents(0, 1))
        assert index.info().is_compressed
        assert index.search("word0", k=5)[0].id == "d0"
        assert_holds(index, path, documents(0, 1))

    def test_one_large_call_is_compressed_on_the_way(self, make, path, monkeypatch):
        monkeypatch.setattr("colbert_rag.writing._CHUNK_DOCUMENTS", 10)
        monkeypatch.setattr("colbert_rag.ingest._MOST_PLAIN_TOKENS", 90)
        index = make(exact_tokens=60)
        index.add(iter(documents(0, 100)))
        info = index.info()
        assert (info.codec_tokens, info.n_centroids) == (90, n_centroids_for(4 * 90))
        assert_holds(index, path, documents(0, 100))
        assert index.search("word99", k=1)[0].id == "d99"

    @pytest.mark.parametrize("write", ["add", "compact"])
    def test_an_index_that_has_grown_by_four_is_trained_again(self, make, path, monkeypatch, write):
        """By the write that makes it so, with centroids for four times as much; where it is large, by compact()."""
        monkeypatch.setattr("colbert_rag.ingest._MOST_RETRAINED_TOKENS", 1_200 if write == "add" else 1_199)
        index = make(exact_tokens=300)
        index.add(documents(0, 100))
        index.add(documents(100, 399))
        index.compact()
        assert index.info().codec_tokens == 300
        index.add(documents(399, 400))
        assert index.info().codec_tokens == (1_200 if write == "add" else 300)
        index.compact()
        info = index.info()
        expected = n_centroids_for(4 * 1_200 if write == "add" else 1_200)
        assert (info.codec_tokens, info.n_tokens, info.n_centroids) == (1_200, 1_200, expected)
        assert_holds(index, path, documents(0, 400))
        assert index.search("word399", k=1)[0].id == "d399"

    def test_deleted_documents_are_no_growth_that_trains_again(self, make, path):
        index = make(exact_tokens=300)
        index.add(documents(0, 200))
        index.delete([f"d{n}" for n in range(1, 200, 2)])
        index.add(documents(200, 899))
        index.compact()
        info = index.info()
        assert (info.codec_tokens, info.n_tokens, info.n_segments) == (600, 2_397, 1)
        index.add(documents(899, 900))
        assert index.info().codec_tokens == 2_400
        assert_holds(index, path, [*documents(0, 200)[::2], *documents(200, 900)])

    def test_compacting_drops_deleted_documents(self, make, path):
        index = make(exact_tokens=60)
        index.add(documents(0, 50))
        index.delete([f"d{n}" for n in range(0, 50, 3)])
        assert index.info().n_deleted == 17
        index.compact()
        assert (index.info().n_deleted, index.info().n_segments) == (0, 1)
        assert_holds(index, path, [d for n, d in enumerate(documents(0, 50)) if n % 3])
        index.delete(index.ids())
        index.compact()
        assert (index.info().n_segments, len(index)) == (0, 0)
        index.add(documents(0, 2))
        assert_holds(index, path, documents(0, 2))


class TestPooling:
    """A pooled index keeps about one of ``pool_factor`` token vectors, however its documents came in."""

    @pytest.fixture(params=[NEVER, 20], ids=["plain", "compressed"])
    def index(self, request, make):
        return make(pool_factor=2, exact_tokens=request.param)

    def test_documents_are_pooled_and_queries_are_not(self, index, path):
        index.add(documents(0, 20))
        # three words each
        assert (index.info().pool_factor, index.info().n_tokens) == (2, 40)
        assert_holds(index, path, documents(0, 20))
        hit = index.search("word7 alpha0 beta0 word7", k=1)[0]
        assert hit.id == "d7"
        assert hit.score > 2.5
        assert hit.relevance == pytest.approx(hit.score / 4)

    def test_vectors_made_elsewhere_are_pooled_as_those_of_the_encoder_are(self, index, path, tmp_path):
        index.add(documents(0, 20))
        texts = [document.text for document in documents(0, 20)]
        vectors = HashEncoder(16).encode_documents(texts)
        exact = 20 if index.info().is_compressed else NEVER
        with Index.create(tmp_path / "other", dim=16, pool_factor=2, exact_tokens=exact) as other:
            other.add_vectors(zip(documents(0, 20), vectors, strict=True))
            query = HashEncoder(16).encode_queries(["word3 alpha3 beta0"])
            assert other.search_vectors(query) == index.search_vectors(query)

    def test_evidence_points_at_whole_words(self, index, path):
        text = "one two three four five six seven eight nine ten"
        index.add([Document("a", text), *documents(0, 20)])
        passage = index.search("one two three four five six seven eight nine ten", k=1)[0].passages[0]
        assert passage.text == text
        assert passage.matches
        edges = {0, len(text), *(n for n, c in enumerate(text) if c == " "), *(text.find(w) for w in text.split())}
        assert {edge for match in passage.matches for edge in match} <= edges

    def test_upsert_leaves_unchanged_documents_alone(self, index, path):
        index.add(documents(0, 20))
        assert index.upsert(documents(0, 20)) == 0
        assert index.upsert([*documents(0, 19), Document("d19", "a b c d e f")]) == 1
        assert index.info().n_tokens == 19 * 2 + 3
        assert index.verify().problems == ()

    def test_the_factor_is_known_again_and_compacting_pools_nothing_twice(self, index, path):
        index.add(documents(0, 20))
        index.delete(["d0"])
        with Index.open(path, HashEncoder(16)) as again:
            again.add(documents(20, 30))
            again.compact()
            assert (again.info().pool_factor, again.info().n_tokens) == (2, 29 * 2)
            assert again.verify().problems == ()


class TestInterruption:
    """After any interruption the index is at its last commit; the next write leaves no stray folder."""

    @pytest.fixture(params=[NEVER, 60], ids=["plain", "compressed"])
    def index(self, request, make, monkeypatch):
        monkeypatch.setattr("colbert_rag.writing._CHUNK_DOCUMENTS", 10)
        index = make(exact_tokens=request.param)
        index.add(documents(0, 30))
        return index

    def assert_unharmed(self, index, path):
        assert_holds(index, path, documents(0, 30))
        index.add(documents(90, 91))
        assert_holds(index, path, documents(0, 30) + documents(90, 91))

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
    @pytest.mark.parametrize("write", ["add", "upsert"])
    def test_by_the_encoder(self, index, path, monkeypatch, error, write):
        encode = HashEncoder.encode_documents

        def interrupted(self, texts, *, progress=None):
            if any("word45" in text for text in texts):
                raise error
            return encode(self, texts)

        monkeypatch.setattr(HashEncoder, "encode_documents", interrupted)
        with pytest.raises(error):
            getattr(index, write)(iter(documents(30, 60)))
        self.assert_unharmed(index, path)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_by_the_stream_of_documents(self, index, path, error):
        def stream():
            yield from documents(30, 55)
            raise error

        with pytest.raises(error):
            index.add(stream())
        self.assert_unharmed(index, path)

    def test_by_progress_while_documents_are_added(self, index, path):
        def progress(stage, done, total):
            if done >= 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.upsert(documents(10, 40, version=1), progress=progress)
        self.assert_unharmed(index, path)

    @pytest.mark.parametrize("stage", ["train", "pack"])
    def test_by_progress_while_an_index_is_compressed(self, make, path, stage):
        index = make(exact_tokens=60)
        index.add(documents(0, 15))
        assert not index.info().is_compressed

        def progress(now, done, total):
            if now == stage:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.add(documents(15, 30), progress=progress)
        assert set(index.ids()) == {d.id for d in documents(0, 15)}
        index.add(documents(15, 30))
        self.assert_unharmed(index, path)

    def test_by_progress_while_an_index_is_compacted(self, index, path):
        index.delete(["d29"])

        def progress(now, done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.compact(progress=progress)
        assert index.info().n_deleted == 1
        index.add(documents(29, 30))
        self.assert_unharmed(index, path)

    def test_commits_on_the_way_are_kept(self, index):
        def stream():
            yield from documents(30, 55)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.add(stream(), commit_every=10)
        assert set(index.ids()) == {d.id for d in documents(0, 50)}

    def test_only_folders_of_ours_are_swept(self, index, path):
        for name in ("segment-0123", "codec-0123", "notes"):
            (path / name).mkdir()
            (path / name / "file").touch()
        (path / "segment-file").touch()
        (path / "segment-link").symlink_to(path / "notes")
        index.add(documents(30, 31))
        left = {p.name for p in path.iterdir()}
        assert {"notes", "segment-file", "segment-link"} <= left
        assert not {"segment-0123", "codec-0123"} & left
        assert (path / "notes" / "file").exists()


def size_of(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


@pytest.mark.slow
def test_300_upserts_of_20_documents_stay_under_three_times_a_fresh_index(make, path, tmp_path):
    index = make(exact_tokens=40)
    for version in range(300):
        index.upsert(documents(0, 20, version))
    assert_holds(index, path, documents(0, 20, 299))
    # while the index is open SQLite's log stands beside it, up to 4 MiB and one commit
    assert (path / "catalog.sqlite-wal").stat().st_size < 5 << 20
    index.close()
    with Index.create(tmp_path / "fresh", HashEncoder(16), exact_tokens=40) as fresh:
        fresh.add(documents(0, 20, 299))
    assert size_of(path) < 3 * size_of(tmp_path / "fresh")


def test_many_single_adds_keep_few_segments(make, path):
    index = make(exact_tokens=60)
    most = 0
    for document in documents(0, 60):
        index.add([document])
        most = max(most, index.info().n_segments)
    assert most <= 8
    assert_holds(index, path, documents(0, 60))
