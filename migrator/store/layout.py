"""The layout of an archive on disk: the names of its files and folders.

    README.txt       explains the folder to a reader who lacks the program
    catalog.db       an SQLite database: what each file is
    manifest.jsonl   the journal: every change of the catalog's rows, as lines of JSON
    lock             which run is using the archive
    blobs/ab/ab12..  the files, each named by the SHA-256 of its content
    incoming/        files that are being received

Beware: the writing process imports this without any third-party package, so only the standard library is allowed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from secrets import token_hex

README = "README.txt"
CATALOG = "catalog.db"
NEW_CATALOG = "catalog.new"
"""A catalog that is being rebuilt; renamed when it is complete."""
JOURNAL = "manifest.jsonl"
NEW_JOURNAL = "manifest.new"
"""A journal that is being rewritten; renamed when it is complete."""
LOCK = "lock"
LOCK_PROBE = "lock.probe"
"""An object that is written to learn what time the store has."""
IN_STEP = "bucket.json"
"""In a folder whose blobs lie in a bucket: which bucket, and what both had last."""
CATALOG_COPY = "catalog.copy"
"""A copy of the catalog on its way to or from a bucket."""
JOURNAL_COPY = "manifest.copy"
"""The same for the journal."""
ENCRYPTED_SUFFIX = ".age"
"""Of what is encrypted in a bucket, and of encrypted copies on their way there."""
NAMES_KEY = "names.key"
"""The key of the names of encrypted blobs."""
KEY_FINGERPRINT = "names.key.id"
"""In a bucket: what tells whether a machine has the same key."""
BLOBS = "blobs"
INCOMING = "incoming"
BLOB_FOLDERS = tuple(f"{number:02x}" for number in range(256))
"""The folders in `blobs`: the first two digits of the hashes."""

README_TEXT = """This folder is an archive of the attachments of one issue tracker, written by `migrator` (format 1).

catalog.db   an SQLite database: what each file is (tables entities, attachments, blobs, runs, uploads; the view files
             has all about a file in one row: its name, entity, title, url, author, date, and path below this folder)
manifest.jsonl  every change of the catalog's rows, as lines of JSON; `migrator rebuild` makes a new catalog from it
blobs/       the files, each named by the SHA-256 of its content, in a folder named by its first two digits; nobody may
             write to them, so change a copy, as `migrator export` makes them (with --link they are these very files)
incoming/    files on their way; empty when no run is under way
lock         who is at work here

To read it without the program:
    find blobs -type f | sed 's|.*/\\(.*\\)|\\1  &|' | sha256sum --check --quiet
    sqlite3 catalog.db "SELECT kind, entity_id, title, name, path FROM files WHERE status = 'stored'"
"""

BUCKET_README = """Here is an archive of the attachments of one issue tracker, written by `migrator` (format 1).

blobs/       the files, each named by the SHA-256 of its content, in a folder named by its first two digits
catalog.db   a copy of an SQLite database as it was after the last run: what each file is (tables entities, attachments,
             blobs, runs, uploads)
manifest.jsonl  every change of the catalog's rows, as lines of JSON; `migrator rebuild ADDRESS` makes the catalog of
             another machine from it, and goes on there
incoming/    large files on their way; empty when no run is under way
lock         who is at work here, while somebody is

To read it without the program, copy it with any tool of the store, for example `aws s3 sync`, and then:
    find blobs -type f | sed 's|.*/\\(.*\\)|\\1  &|' | sha256sum --check --quiet
    sqlite3 catalog.db "SELECT kind, entity_id, name, 'blobs/' || substr(sha256, 1, 2) || '/' || sha256
                        FROM attachments WHERE status = 'stored'"
"""

ENCRYPTED_README = """Here is an archive of the attachments of one issue tracker, written by `migrator` (format 1).

It is encrypted with age (https://age-encryption.org): whoever has the private key can read it.

blobs/       the files; their names say nothing
catalog.db.age  a copy of an SQLite database as it was after the last run: what each file is
manifest.jsonl.age  every change of the catalog's rows, as lines of JSON; `migrator rebuild` makes the catalog of
             another machine from it, and goes on there
names.key.age  the key by which `migrator` names the files; names.key.id is its fingerprint
incoming/    large files on their way; empty when no run is under way
lock         who is at work here, while somebody is

To read it without the program, copy it with any tool of the store, for example `aws s3 sync`; then decrypt each file,
and give it the SHA-256 of its content as its name, as the catalog knows it:
    for name in catalog.db manifest.jsonl; do age --decrypt -i IDENTITY $name.age > $name; done
    find blobs -name '*.age' | while read file; do
        age --decrypt -i IDENTITY "$file" > file && sha=$(sha256sum < file | cut -c 1-64)
        mkdir -p "plain/$(echo $sha | cut -c 1-2)" && mv file "plain/$(echo $sha | cut -c 1-2)/$sha"
    done
    sqlite3 catalog.db "SELECT kind, entity_id, name, 'plain/' || substr(sha256, 1, 2) || '/' || sha256
                        FROM attachments WHERE status = 'stored'"
"""

_OURS = re.compile(
    r"README\.txt|lock|incoming|blobs|manifest\.jsonl(\.damaged-\d+)?|manifest\.new|catalog\.new"
    r"|catalog\.db(\.damaged-\d+)?(-wal|-shm|-journal)?"
)
_OF_FILE_SYSTEM = "lost+found"
"""In the root of a file system, such as a fresh disk."""

_IN_BUCKET = frozenset({README, CATALOG, JOURNAL, LOCK, BLOBS, INCOMING, LOCK_PROBE, KEY_FINGERPRINT}) | {
    f"{name}{ENCRYPTED_SUFFIX}" for name in (CATALOG, JOURNAL, NAMES_KEY)
}


def blob_name(sha256: str) -> str:
    """The path of a blob inside the archive, as reports show it: with `/` on every system."""
    return f"{BLOBS}/{sha256[:2]}/{sha256}"


def blob_path(root: Path, sha256: str) -> Path:
    """Where the archive at `root` has a blob, or would have it."""
    return root.joinpath(BLOBS, sha256[:2], sha256)


def is_blob_name(folder: str, name: str) -> bool:
    """Whether a file of this name in a folder of blobs is one, by its name."""
    return name.startswith(folder) and re.fullmatch(r"[0-9a-f]{64}", name) is not None


def name_for_damaged(path: Path, suffixes: Iterable[str] = ("",)) -> Path:
    """A path under which a damaged file can be kept; unused, also with each of these suffixes."""
    paths = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    return next(path for path in paths if not any(Path(f"{path}{suffix}").exists() for suffix in suffixes))


def new_incoming_name() -> str:
    """An unused name for a file in `incoming`."""
    return token_hex(8)


def is_ours(name: str) -> bool:
    """Whether a file or folder of this name, in the archive's folder, belongs to the archive."""
    return _OURS.fullmatch(name) is not None


def foreign_names(root: Path) -> list[str]:
    """What is in a folder, if it exists, that belongs to no archive. What a file system has by itself doesn't count.

    An archive begins with its lock. Files that are only named like its own, such as a README.txt, are somebody else's.
    """
    if not root.is_dir():
        return []
    names = sorted(path.name for path in root.iterdir() if path.name != _OF_FILE_SYSTEM and path.name[0] != ".")
    return [name for name in names if not is_ours(name)] if {LOCK, BLOBS} & set(names) else names


def is_in_bucket(name: str) -> bool:
    """The same for an object, or a folder, in the bucket of an archive."""
    return name in _IN_BUCKET
