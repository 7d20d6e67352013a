"""An archive on disk or in a bucket: blobs, catalog, journal, lock. Nothing above opens a file of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.first_use import imported_on_first_use

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
        holds_archive,
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
    "holds_archive",
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
    "BlobBody": "blobs",
    "foreign_names": "layout",
    "damaged_in_copy": "duplicate",
    "take_catalog": "duplicate",
    "BlobStore": "port",
    "Bucket": "objects",
    "BucketAddress": "objects",
    "InStep": "objects",
    "PLAIN": "objects",
    "Encoding": "objects",
    "Encryption": "objects",
    "IdentityNeededError": "objects",
    "encoding_of": "objects",
    "no_identity": "objects",
    "put_key": "objects",
    "Lease": "objects",
    "Mirror": "objects",
    "ObjectBlobs": "objects",
    "holder_in": "objects",
    "holds_archive": "objects",
    "in_step": "objects",
    "Acceptances": "catalog.accepted",
    "Archive": "blobs",
    "ArchiveLock": "lock",
    "BLOB_FOLDERS": "layout",
    "BlobScan": "repair.scanning",
    "CATALOG": "layout",
    "Catalog": "catalog",
    "Crawl": "catalog.crawl",
    "EndedBackup": "catalog.runs",
    "FailureKey": "catalog.accepted",
    "FailureRow": "catalog.accepted",
    "IncomingBlob": "port",
    "JOURNAL": "layout",
    "OWNER_ONLY": "disk",
    "OWN_SOURCE": "catalog.lineage",
    "PRESENT": "catalog.browsing",
    "README": "layout",
    "FreeSpace": "space",
    "FullCrawl": "catalog.unchanged",
    "Receiving": "port",
    "RecheckRound": "catalog.rechecks",
    "Snapshot": "catalog.snapshots",
    "StoredFile": "catalog.rechecks",
    "UnchangedRecords": "catalog.unchanged",
    "Vanished": "catalog.crawl",
    "add_search": "catalog.browsing",
    "audit": "repair.auditing",
    "blob_name": "layout",
    "copy_catalog": "catalog.browsing",
    "disk_errors": "disk",
    "require_descriptors": "disk",
    "sync_filesystem": "disk",
    "folded": "catalog.searching",
    "forbid_all_but_reading": "catalog.browsing",
    "glob": "catalog.searching",
    "hash_file": "folder",
    "holder_of": "lock",
    "is_archive": "catalog.database",
    "is_content_changed": "catalog.changed_content",
    "key_of": "catalog.accepted",
    "now": "clock",
    "own_limits": "disk",
    "recorded_position": "journal.keeper",
    "remake": "repair.remaking",
    "scan_blobs": "repair.scanning",
    "sqlite_errors": "catalog.database",
    "trigram_query": "catalog.searching",
}

__getattr__ = imported_on_first_use(__name__, _HOMES)
