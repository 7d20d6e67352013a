"""An archive on disk or in a bucket: blobs, catalog, journal, lock. Nothing above opens a file of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.store.blobs import Archive, BlobBody
    from migrator.store.catalog import Catalog
    from migrator.store.catalog.accepted import Acceptances, FailureKey, FailureRow, key_of
    from migrator.store.catalog.browsing import PRESENT, add_search, copy_catalog, forbid_all_but_reading
    from migrator.store.catalog.changed_content import is_content_changed
    from migrator.store.catalog.crawl import Crawl, Vanished
    from migrator.store.catalog.database import is_archive, sqlite_errors
    from migrator.store.catalog.lineage import OWN_SOURCE
    from migrator.store.catalog.rechecks import RecheckRound, StoredFile
    from migrator.store.catalog.runs import EndedBackup
    from migrator.store.catalog.searching import folded, glob, trigram_query
    from migrator.store.catalog.snapshots import Snapshot
    from migrator.store.catalog.unchanged import FullCrawl, UnchangedRecords
    from migrator.store.clock import now
    from migrator.store.disk import OWNER_ONLY, disk_errors, own_limits, require_descriptors, sync_filesystem
    from migrator.store.duplicate import damaged_in_copy, take_catalog
    from migrator.store.folder import hash_file
    from migrator.store.journal.keeper import recorded_position
    from migrator.store.layout import BLOB_FOLDERS, CATALOG, JOURNAL, README, blob_name, foreign_names
    from migrator.store.lock import ArchiveLock, holder_of
    from migrator.store.objects import (
        PLAIN,
        Bucket,
        BucketAddress,
        Encoding,
        Encryption,
        IdentityNeededError,
        InStep,
        Lease,
        Mirror,
        ObjectBlobs,
        encoding_of,
        holder_in,
        in_step,
        no_identity,
        put_key,
    )
    from migrator.store.port import BlobStore, IncomingBlob, Receiving
    from migrator.store.repair.auditing import audit
    from migrator.store.repair.remaking import remake
    from migrator.store.repair.scanning import BlobScan, scan_blobs
    from migrator.store.space import FreeSpace

__all__ = [
    "BLOB_FOLDERS",
    "CATALOG",
    "JOURNAL",
    "OWNER_ONLY",
    "OWN_SOURCE",
    "PLAIN",
    "PRESENT",
    "README",
    "Acceptances",
    "Archive",
    "ArchiveLock",
    "BlobBody",
    "BlobScan",
    "BlobStore",
    "Bucket",
    "BucketAddress",
    "Catalog",
    "Crawl",
    "Encoding",
    "Encryption",
    "EndedBackup",
    "FailureKey",
    "FailureRow",
    "FreeSpace",
    "FullCrawl",
    "IdentityNeededError",
    "InStep",
    "IncomingBlob",
    "Lease",
    "Mirror",
    "ObjectBlobs",
    "Receiving",
    "RecheckRound",
    "Snapshot",
    "StoredFile",
    "UnchangedRecords",
    "Vanished",
    "add_search",
    "audit",
    "blob_name",
    "copy_catalog",
    "damaged_in_copy",
    "disk_errors",
    "encoding_of",
    "folded",
    "forbid_all_but_reading",
    "foreign_names",
    "glob",
    "hash_file",
    "holder_in",
    "holder_of",
    "in_step",
    "is_archive",
    "is_content_changed",
    "key_of",
    "no_identity",
    "now",
    "own_limits",
    "put_key",
    "recorded_position",
    "remake",
    "require_descriptors",
    "scan_blobs",
    "sqlite_errors",
    "sync_filesystem",
    "take_catalog",
    "trigram_query",
]

_HOMES = {
    "BlobBody": "migrator.store.blobs",
    "foreign_names": "migrator.store.layout",
    "damaged_in_copy": "migrator.store.duplicate",
    "take_catalog": "migrator.store.duplicate",
    "BlobStore": "migrator.store.port",
    "Bucket": "migrator.store.objects",
    "BucketAddress": "migrator.store.objects",
    "InStep": "migrator.store.objects",
    "PLAIN": "migrator.store.objects",
    "Encoding": "migrator.store.objects",
    "Encryption": "migrator.store.objects",
    "IdentityNeededError": "migrator.store.objects",
    "encoding_of": "migrator.store.objects",
    "no_identity": "migrator.store.objects",
    "put_key": "migrator.store.objects",
    "Lease": "migrator.store.objects",
    "Mirror": "migrator.store.objects",
    "ObjectBlobs": "migrator.store.objects",
    "holder_in": "migrator.store.objects",
    "in_step": "migrator.store.objects",
    "Acceptances": "migrator.store.catalog.accepted",
    "Archive": "migrator.store.blobs",
    "ArchiveLock": "migrator.store.lock",
    "BLOB_FOLDERS": "migrator.store.layout",
    "BlobScan": "migrator.store.repair.scanning",
    "CATALOG": "migrator.store.layout",
    "Catalog": "migrator.store.catalog",
    "Crawl": "migrator.store.catalog.crawl",
    "EndedBackup": "migrator.store.catalog.runs",
    "FailureKey": "migrator.store.catalog.accepted",
    "FailureRow": "migrator.store.catalog.accepted",
    "IncomingBlob": "migrator.store.port",
    "JOURNAL": "migrator.store.layout",
    "OWNER_ONLY": "migrator.store.disk",
    "OWN_SOURCE": "migrator.store.catalog.lineage",
    "PRESENT": "migrator.store.catalog.browsing",
    "README": "migrator.store.layout",
    "FreeSpace": "migrator.store.space",
    "FullCrawl": "migrator.store.catalog.unchanged",
    "Receiving": "migrator.store.port",
    "RecheckRound": "migrator.store.catalog.rechecks",
    "Snapshot": "migrator.store.catalog.snapshots",
    "StoredFile": "migrator.store.catalog.rechecks",
    "UnchangedRecords": "migrator.store.catalog.unchanged",
    "Vanished": "migrator.store.catalog.crawl",
    "add_search": "migrator.store.catalog.browsing",
    "audit": "migrator.store.repair.auditing",
    "blob_name": "migrator.store.layout",
    "copy_catalog": "migrator.store.catalog.browsing",
    "disk_errors": "migrator.store.disk",
    "require_descriptors": "migrator.store.disk",
    "sync_filesystem": "migrator.store.disk",
    "folded": "migrator.store.catalog.searching",
    "forbid_all_but_reading": "migrator.store.catalog.browsing",
    "glob": "migrator.store.catalog.searching",
    "hash_file": "migrator.store.folder",
    "holder_of": "migrator.store.lock",
    "is_archive": "migrator.store.catalog.database",
    "is_content_changed": "migrator.store.catalog.changed_content",
    "key_of": "migrator.store.catalog.accepted",
    "now": "migrator.store.clock",
    "own_limits": "migrator.store.disk",
    "recorded_position": "migrator.store.journal.keeper",
    "remake": "migrator.store.repair.remaking",
    "scan_blobs": "migrator.store.repair.scanning",
    "sqlite_errors": "migrator.store.catalog.database",
    "trigram_query": "migrator.store.catalog.searching",
}


def __getattr__(name: str) -> object:
    """Import a name on first use: the writing process needs few of them, and `--help` none."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
