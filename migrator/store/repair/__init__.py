"""Compare a catalog with its journal and with the blobs on disk, and rebuild it from the journal."""

from migrator.store.repair.auditing import audit
from migrator.store.repair.remaking import SUFFIXES, put_aside, remake
from migrator.store.repair.scanning import BlobScan, scan_blobs

__all__ = ["SUFFIXES", "BlobScan", "audit", "put_aside", "remake", "scan_blobs"]
