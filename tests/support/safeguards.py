"""What the promises rest on, and for each the tests that must fail when it is taken away."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SAFEGUARDS", "Safeguard"]


@dataclass(frozen=True)
class Safeguard:
    """One place of the source.

    Attributes:
        name: What it does.
        file: Where it stands.
        find: Its text, which stands there once.
        replacement: The text without it.
        tests: Of which at least one must fail then.
    """

    name: str
    file: str
    find: str
    replacement: str
    tests: tuple[str, ...]


_STORAGE = "colbert_rag/storage"
_POWER = ("tests/crash/test_power_loss.py::test_any_loss_of_what_was_not_synced_leaves_one_commit_whole",)
_RANGES = ("tests/storage/test_segment.py::test_numbers_out_of_range_are_corrupt",)
_COPIES = "tests/crash/test_copies.py"
_COPY_POWER = (f"{_COPIES}::test_any_loss_of_power_leaves_a_whole_copy_or_none",)
_FORKING = "tests/concurrency/test_forking.py"
_REPORT = "tests/verifying/test_report.py"


def _unsynced(name: str, file: str, find: str, replacement: str = "", tests: tuple[str, ...] = _POWER) -> Safeguard:
    return Safeguard(name, file, find, replacement, tests)


def _unchecked(name: str, find: str, replacement: str, *tests: str) -> Safeguard:
    return Safeguard(f"range of {name}", f"{_STORAGE}/segment.py", find, replacement, tests or _RANGES)


SAFEGUARDS = (
    _unsynced(
        "an array file is synced",
        f"{_STORAGE}/files.py",
        "            file.flush()\n            _sync(file.fileno())\n        with disk_errors",
        "            file.flush()\n        with disk_errors",
    ),
    _unsynced("a segment's folder is synced", f"{_STORAGE}/segment.py", "        sync_folder(self._folder)\n"),
    _unsynced("the index folder is synced", f"{_STORAGE}/segment.py", "        sync_folder(self._folder.parent)\n"),
    _unsynced("a codec's folder is synced", "colbert_rag/merging.py", "    sync_folder(folder)\n"),
    Safeguard(
        "the index folder is synced after a codec",
        "colbert_rag/merging.py",
        "    sync_folder(root)\n",
        "",
        ("tests/mutants/test_syncing.py::test_the_name_of_a_codec_is_durable_when_its_record_is_given",),
    ),
    _unsynced(
        "the name of a new catalog is synced",
        f"{_STORAGE}/creating.py",
        "    sync_folder(folder)\n    for",
        "    for",
    ),
    _unsynced(
        "every commit is synced",
        f"{_STORAGE}/connection.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = OFF",
    ),
    Safeguard(
        "the second of two creators is refused",
        f"{_STORAGE}/files.py",
        "        os.link(building, path)\n",
        "        building.replace(path)\n",
        ("tests/storage/test_creating.py::test_the_second_of_two_creators_never_replaces_the_first",),
    ),
    Safeguard(
        "writers take turns",
        f"{_STORAGE}/catalog.py",
        '                self._locking(connection, "BEGIN IMMEDIATE")\n',
        '                self._locking(connection, "BEGIN")\n',
        (
            "tests/storage/test_catalog.py::test_a_second_writer_is_refused_after_the_timeout",
            "tests/concurrency/test_two_writers.py::test_no_commit_of_eight_racing_writers_is_lost",
        ),
    ),
    Safeguard(
        "a write is one transaction",
        f"{_STORAGE}/catalog.py",
        '                self._locking(connection, "BEGIN IMMEDIATE")\n                writing = Writing(connection)\n'
        "                yield writing\n                writing.seal()\n"
        '                connection.execute("COMMIT")\n',
        "                writing = Writing(connection)\n                yield writing\n"
        "                writing.seal()\n",
        (
            "tests/storage/test_catalog.py::test_a_write_is_rolled_back_on_any_exception",
            "tests/crash/test_kill_at_every_call.py::test_a_kill_at_any_call_leaves_one_commit_whole_and_the_next_add_works",
        ),
    ),
    Safeguard(
        "a search is one transaction",
        f"{_STORAGE}/catalog.py",
        '                reading.connection.execute("BEGIN")\n                try:\n                    yield reading\n'
        "                finally:\n"
        "                    # where the disk fails SQLite ends it, and says no more than that there is none\n"
        "                    if not self.is_inherited and reading.connection.in_transaction:\n"
        '                        reading.connection.execute("ROLLBACK")\n',
        "                yield reading\n",
        ("tests/storage/test_catalog.py::test_a_reader_sees_one_commit_while_a_writer_commits",),
    ),
    Safeguard(
        "a search of a commit that a merge has overtaken is made again",
        "colbert_rag/attempts.py",
        "if attempt + 1 == _ATTEMPTS or not _has_moved_on(catalog, commits):",
        "if True:",
        # a race finds it on most days only
        ("tests/test_attempts.py::test_a_commit_that_a_merge_has_overtaken_is_left_for_the_next",),
    ),
    Safeguard(
        "what was read without a lock while a writer folded is read again",
        f"{_STORAGE}/catalog.py",
        "        if not reading.is_whole():\n            raise",
        "        if False:\n            raise",
        (
            "tests/storage/test_access.py"
            "::test_a_user_without_write_access_reads_commits_and_nothing_between_while_another_folds",
        ),
    ),
    Safeguard(
        "the forked child of a process that has an index open is refused",
        f"{_STORAGE}/catalog.py",
        "        return self._process != os.getpid()\n",
        "        return False\n",
        ("tests/storage/test_catalog.py::test_a_forked_child_is_told_to_open_the_index_again",),
    ),
    Safeguard(
        "verify compares digests",
        "colbert_rag/verifying/files.py",
        "        is_committed = sha256_of_open(file) == record.sha256\n",
        "        is_committed = True\n",
        (f"{_REPORT}::test_every_changed_byte_of_every_array_is_found",),
    ),
    Safeguard(
        "what verify found without a lock while somebody wrote is looked at again",
        "colbert_rag/verifying/report.py",
        "bool(self.problems) and before.is_overtaken(self._root)",
        "False",
        (
            f"{_REPORT}::TestWithoutALock::test_what_another_user_changed_without_a_commit_is_looked_at_again",
            f"{_REPORT}::TestWithoutALock::test_pages_that_another_user_moves_meanwhile_are_no_damage",
        ),
    ),
    Safeguard(
        "verify finds files that nobody named",
        "colbert_rag/verifying/files.py",
        '            yield f"{path.name}: not part of the index; remove it"\n',
        "            pass\n",
        (f"{_REPORT}::test_files_that_nobody_named_are_found",),
    ),
    Safeguard(
        "a document is returned only with its checksum",
        f"{_STORAGE}/reading.py",
        "    if content_checksum(key, *columns) != checksum:\n",
        "    if False:\n",
        (f"{_REPORT}::test_a_changed_document_is_found_and_never_returned",),
    ),
    Safeguard(
        "the state is believed only with its checksum",
        f"{_STORAGE}/reading.py",
        "if row_checksum(*row) != checksum or row_checksum(*chain.from_iterable(segments)) != row[-1]:",
        "if row_checksum(*chain.from_iterable(segments)) != row[-1]:",
        (f"{_REPORT}::test_a_changed_state_is_found_and_refused_at_open",),
    ),
    Safeguard(
        "segments are believed only with their checksum",
        f"{_STORAGE}/reading.py",
        "if row_checksum(*row) != checksum or row_checksum(*chain.from_iterable(segments)) != row[-1]:",
        "if row_checksum(*row) != checksum:",
        (f"{_REPORT}::test_a_changed_state_is_found_and_refused_at_open",),
    ),
    Safeguard(
        "tombstones are believed only with their checksum",
        f"{_STORAGE}/reading.py",
        "        if keys_checksum(keys) != checksum:\n",
        "        if False:\n",
        (f"{_REPORT}::test_changed_tombstones_are_found_and_refused_at_the_first_search",),
    ),
    _unchecked(
        "document offsets",
        "        if offsets[0] != 0 or offsets[-1] != t or not _is_rising(offsets):\n",
        "        if False:\n",
    ),
    _unchecked("document keys", "        if not _is_rising(self.doc_keys):\n", "        if False:\n"),
    _unchecked(
        "centroid ids",
        "int(ids.max()) >= k:",
        "int(ids.max()) >= 2**40:",
        "tests/storage/test_segment.py::test_a_centroid_id_that_is_not_below_k_is_corrupt",
    ),
    _unchecked(
        "vectors",
        "        if vectors is not None and not _is_short(vectors):\n",
        "        if False:\n",
        "tests/hostile/test_arrays.py::test_numbers_out_of_range_are_refused",
    ),
    _unchecked(
        "list offsets",
        "            if bounds[0] != 0 or bounds[-1] != len(postings) or (bounds[1:] < bounds[:-1]).any():\n",
        "            if False:\n",
        "tests/storage/test_segment.py::test_list_offsets_out_of_range_are_corrupt",
    ),
    _unchecked(
        "escapes",
        "        if len(escapes) and (escapes[0] < 0 or escapes[-1] >= t or not _is_rising(escapes)):\n",
        "        if False:\n",
    ),
    _unchecked(
        "spans",
        "        if not _are_in_order(spans, counts):\n",
        "        if False:\n",
        "tests/hostile/test_arrays.py::test_numbers_out_of_range_are_refused",
    ),
    Safeguard(
        "positions in postings",
        "colbert_rag/kernels/inverted.py",
        "document >= np.uint64(seen.size) or ",
        "",
        ("tests/hostile/test_arrays.py::test_numbers_out_of_range_are_refused",),
    ),
    Safeguard(
        "array headers are compared",
        f"{_STORAGE}/mapping.py",
        "    if header != array_header(np.dtype(dtype), (n_rows, *row_shape)):\n",
        "    if False:\n",
        ("tests/storage/test_mapping.py::test_every_changed_header_byte_is_found",),
    ),
    Safeguard(
        "file sizes are compared",
        f"{_STORAGE}/mapping.py",
        "    if status.st_size != record.size:\n",
        "    if False:\n",
        ("tests/storage/test_mapping.py::test_another_size_on_disk_is_corrupt",),
    ),
    Safeguard(
        "links and devices are refused",
        f"{_STORAGE}/mapping.py",
        "    if outside or not stat.S_ISREG(status.st_mode):\n",
        "    if False:\n",
        (
            "tests/storage/test_mapping.py::test_a_link_to_a_good_file_is_corrupt",
            "tests/storage/test_mapping.py::test_a_linked_folder_is_corrupt",
        ),
    ),
    Safeguard(
        "file names are ours",
        f"{_STORAGE}/mapping.py",
        "    if not _NAME.fullmatch(record.name):\n",
        "    if False:\n",
        ("tests/storage/test_mapping.py::test_a_name_that_we_never_write_is_corrupt",),
    ),
    Safeguard(
        "the catalog is ours",
        f"{_STORAGE}/connection.py",
        "    if application_id != APPLICATION_ID:\n",
        "    if False:\n",
        ("tests/storage/test_connection.py::test_a_database_of_another_program_is_corrupt",),
    ),
    Safeguard(
        "the format version is ours",
        f"{_STORAGE}/connection.py",
        "    if version != FORMAT_VERSION:\n",
        "    if False:\n",
        ("tests/golden/test_golden.py::test_an_index_of_a_newer_format_is_refused_with_words",),
    ),
    Safeguard(
        "the schema is ours",
        f"{_STORAGE}/guards.py",
        "    if different:\n",
        "    if False:\n",
        (f"{_REPORT}::test_another_schema_is_found",),
    ),
    Safeguard(
        "only folders that no commit names are swept",
        f"{_STORAGE}/leftovers.py",
        "if path.name not in named and is_data_folder(path)]",
        "if is_data_folder(path)]",
        ("tests/storage/test_leftovers.py::test_what_a_commit_names_and_what_is_not_ours_are_no_leftovers",),
    ),
    Safeguard(
        "another model is refused",
        "colbert_rag/models.py",
        "    if differing:\n",
        "    if False:\n",
        ("tests/test_models.py::test_every_field_of_the_fingerprint_counts_but_the_place_it_was_found",),
    ),
    Safeguard(
        "a model is looked for by a name that can be one",
        "colbert_rag/models.py",
        "        _check_name(folder, field, record.get(field))\n",
        "        pass\n",
        ("tests/test_models.py::test_a_name_that_no_model_has_is_not_looked_for",),
    ),
    Safeguard(
        "an id is in an index once",
        "colbert_rag/ingest.py",
        "        if found:\n            names",
        "        if False:\n            names",
        ("tests/test_index.py::TestWrites::test_add_refuses_a_known_id_and_writes_nothing",),
    ),
    Safeguard(
        "a backup is verified before it appears",
        "colbert_rag/backup.py",
        "        if not report.ok:\n",
        "        if False:\n",
        ("tests/test_backup.py::test_a_damaged_index_gives_no_backup_and_its_damage_is_named",),
    ),
    Safeguard(
        "a backup holds its files open",
        "colbert_rag/backup.py",
        "        files.push(opened.pop_all())\n",
        "",
        ("tests/test_backup.py::test_files_that_a_merge_removes_meanwhile_are_in_the_backup",),
    ),
    Safeguard(
        "a backup copies no holes",
        "colbert_rag/backup.py",
        "        _check_filled(root, pinned)\n",
        "",
        ("tests/test_backup.py::test_a_file_of_holes_is_refused_by_its_name_before_anything_is_copied",),
    ),
    Safeguard(
        "a restore copies no holes",
        "colbert_rag/restoring.py",
        "                check_recorded(self._old / record.name, record.files.values())\n",
        "                pass\n",
        ("tests/test_restoring.py::test_documents_of_a_segment_of_holes_are_encoded_anew_and_no_hole_is_copied",),
    ),
    Safeguard(
        "nothing is overwritten by a backup",
        f"{_STORAGE}/copying.py",
        "def _refuse_existing(target: Path) -> None:\n    if os.path.lexists(target):\n",
        "def _refuse_existing(target: Path) -> None:\n    if False:\n",
        (
            "tests/test_backup.py::test_nothing_is_overwritten",
            "tests/storage/test_copying.py::test_a_name_that_was_taken_meanwhile_is_not_taken_away",
        ),
    ),
    _unsynced("a file of a copy is synced", f"{_STORAGE}/copying.py", "    sync_file(target)\n", tests=_COPY_POWER),
    _unsynced(
        "the data folders of a copy are synced by a backup",
        "colbert_rag/backup.py",
        "    for folder in folders:\n        sync_folder(folder)\n",
        tests=_COPY_POWER,
    ),
    _unsynced(
        "the data folders of a copy are synced by a restore",
        "colbert_rag/restoring.py",
        "        sync_folder(folder)\n",
        tests=_COPY_POWER,
    ),
    _unsynced(
        "the folder of a copy is synced",
        f"{_STORAGE}/copying.py",
        "        sync_folder(building)\n",
        tests=_COPY_POWER,
    ),
    _unsynced(
        "the name of a copy is synced",
        f"{_STORAGE}/copying.py",
        "        sync_folder(target.parent)\n",
        "        pass\n",
        _COPY_POWER,
    ),
    Safeguard(
        "a copy whose name is not durable loses it",
        f"{_STORAGE}/copying.py",
        "            target.rename(building)\n",
        "            pass\n",
        (
            "tests/storage/test_copying.py::test_a_folder_whose_name_cannot_be_made_durable_never_was",
            f"{_COPIES}::test_any_failing_call_leaves_no_half_copy_and_the_next_try_works",
        ),
    ),
    _unsynced(
        "the parents of a copy are synced",
        f"{_STORAGE}/files.py",
        "            folder.mkdir(exist_ok=True)\n        sync_folder(folder.parent)\n",
        "            folder.mkdir(exist_ok=True)\n",
        _COPY_POWER,
    ),
    Safeguard(
        "a copy gets its name when it is whole",
        f"{_STORAGE}/copying.py",
        'target.with_name(f"{target.name}.unfinished-{secrets.token_hex(4)}")',
        "target",
        (f"{_COPIES}::test_a_kill_at_any_call_leaves_a_whole_copy_or_none",),
    ),
    Safeguard(
        "a copy that failed is removed",
        f"{_STORAGE}/copying.py",
        "        remove_folder(building)\n",
        "",
        (f"{_COPIES}::test_any_failing_call_leaves_no_half_copy_and_the_next_try_works",),
    ),
    Safeguard(
        "a restored copy is verified before it appears",
        "colbert_rag/restoring.py",
        "    if not report.ok:\n",
        "    if False:\n",
        ("tests/test_restoring.py::test_a_new_index_that_is_not_what_was_written_is_not_kept",),
    ),
    Safeguard(
        "only documents whose checksum holds are restored",
        f"{_STORAGE}/salvage.py",
        "return is_text and content_checksum(key, *parts) == checksum",
        "return is_text",
        ("tests/storage/test_salvage.py::test_a_document_of_which_anything_was_changed_is_not_given",),
    ),
    Safeguard(
        "a restored document is text",
        f"{_STORAGE}/salvage.py",
        "    is_text = all(part is None or _is_text(part) for part in parts)\n",
        "    is_text = all(part is None or isinstance(part, str) for part in parts)\n",
        (
            "tests/storage/test_salvage.py::"
            "test_a_document_that_holds_what_is_no_text_is_not_given_whatever_its_checksum_says",
        ),
    ),
    Safeguard(
        "a lost document is named by text",
        f"{_STORAGE}/salvage.py",
        " if _is_text(row[0])}",
        "}",
        ("tests/storage/test_salvage.py::test_an_id_that_is_no_text_is_no_id",),
    ),
    Safeguard(
        "a record of megabytes is not parsed by a restore",
        f"{_STORAGE}/salvage.py",
        "        if isinstance(record, str) and len(record) > MOST_RECORD:\n",
        "        if False:\n",
        ("tests/storage/test_salvage.py::test_a_record_of_megabytes_is_not_parsed",),
    ),
    Safeguard(
        "only vectors whose digest holds are restored",
        "colbert_rag/restoring.py",
        "                if digest != file.sha256:\n",
        "                if False:\n",
        ("tests/test_restoring.py::test_documents_of_a_damaged_segment_are_encoded_anew",),
    ),
    Safeguard(
        "a header that forbids writing is found",
        "colbert_rag/verifying/report.py",
        "            check_write_version(self._root)\n",
        "",
        (f"{_REPORT}::test_a_header_that_forbids_writing_is_found_though_every_read_is_right",),
    ),
    Safeguard(
        "the list of the full-text index's parts is checked before SQLite reserves memory by it",
        f"{_STORAGE}/catalog.py",
        "        check_full_text_record(reading.connection, self.folder / CATALOG)\n",
        "",
        ("tests/hostile/test_database.py::test_a_full_text_index_that_is_not_ours_is_refused",),
    ),
    Safeguard(
        "idle connections are closed before a fork",
        f"{_STORAGE}/forking.py",
        "            keeper.rest()\n",
        "            pass\n",
        (f"{_FORKING}::TestIndexOpenedAgainInTheChild::test_it_has_locks_of_its_own_when_the_parent_is_done",),
    ),
    Safeguard(
        "what was in use at a fork stays closed to the child",
        f"{_STORAGE}/forking.py",
        "    _inherited.update(use.identity for use in _uses())\n",
        "",
        (
            f"{_FORKING}::TestIndexOpenedAgainInTheChild"
            "::test_what_another_thread_was_using_at_the_fork_is_refused_with_words",
        ),
    ),
    Safeguard(
        "a catalog that is being created at a fork stays closed to the child",
        f"{_STORAGE}/creating.py",
        "using(building), ",
        "",
        (
            f"{_FORKING}::TestIndexOpenedAgainInTheChild"
            "::test_a_catalog_that_another_thread_was_making_at_the_fork_is_refused_with_words",
        ),
    ),
    Safeguard(
        "a catalog that is being copied at a fork stays closed to the child",
        f"{_STORAGE}/copying.py",
        "            stack.enter_context(using(path))\n",
        "            pass\n",
        (
            f"{_FORKING}::TestIndexOpenedAgainInTheChild"
            "::test_a_catalog_that_another_thread_was_making_at_the_fork_is_refused_with_words",
        ),
    ),
    Safeguard(
        "another catalog in the place of the one that was opened is refused",
        f"{_STORAGE}/connection.py",
        "        if expected not in (None, use.identity):\n",
        "        if False:\n",
        (
            "tests/storage/test_catalog.py"
            "::test_another_catalog_in_its_place_is_refused_and_never_mixed_with_the_one_that_was_opened",
        ),
    ),
)
