"""The catalog's tables. Format version 1; see docs/index-format.md."""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "FORMAT_VERSION", "FULLTEXT", "PAGE_BYTES", "SCHEMA"]

FORMAT_VERSION = 1
# "ColB": lets `file` and us tell an index from any other SQLite database
APPLICATION_ID = 0x436F6C42
PAGE_BYTES = 16_384

FULLTEXT = """fts5(
    heading, text, content = '', tokenize = "unicode61 remove_diacritics 2"
)"""

SCHEMA = f"""
PRAGMA page_size = {PAGE_BYTES};
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};

CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    settings TEXT NOT NULL,
    codec TEXT,
    commits INTEGER NOT NULL,
    next_key INTEGER NOT NULL,
    tombstones INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE segments (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    ref_id TEXT,
    n_tokens INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL
) STRICT;

CREATE INDEX documents_by_ref ON documents (ref_id) WHERE ref_id IS NOT NULL;

CREATE TABLE content (
    key INTEGER PRIMARY KEY,
    heading TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    extra TEXT,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE attributes (
    name TEXT NOT NULL,
    value ANY NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (name, value, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstones (key INTEGER PRIMARY KEY) STRICT;

CREATE VIRTUAL TABLE fulltext USING {FULLTEXT};
"""
