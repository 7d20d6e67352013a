"""Compare the blobs that the catalog knows with the files on disk, by name and length; `verify` hashes them."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.layout import BLOB_FOLDERS


@dataclass(frozen=True, slots=True)
class BlobScan:
    """`missing`: blobs without a file of their length, and those that only an attachment knows of.

    `unrecorded`: names of files that are no blobs of the catalog. A run that was killed may have named them before
    their bytes were safe, or a prune has yet to delete them. `unknown` are the others, each as folder and name.
    """

    missing: tuple[str, ...]
    unknown: tuple[tuple[str, str], ...]
    unrecorded: frozenset[str]


def scan_blobs(archive: Archive, catalog: Catalog) -> BlobScan:
    """Look at all blobs; blocks."""
    missing, unknown, unrecorded = [*catalog.blobs.dangling()], list[tuple[str, str]](), set[str]()
    for folder in BLOB_FOLDERS:
        known, removed = catalog.blobs.in_folder(folder), catalog.blobs.removed_in(folder)
        sizes = dict(archive.files_in(folder, known, removed))
        missing += (blob.sha256 for blob in known.values() if sizes.get(blob.sha256) != blob.size)
        names = sizes.keys() - known.keys()
        unrecorded |= names
        unknown += ((folder, name) for name in sorted(names - removed))
    return BlobScan(tuple(missing), tuple(unknown), frozenset(unrecorded))
