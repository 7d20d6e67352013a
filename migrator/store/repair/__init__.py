"""Compare a catalog with its journal and with the blobs on disk, and rebuild it from the journal."""

from migrator.store.repair.auditing import audit
from migrator.store.repair.remaking import remake
from migrator.store.repair.scanning import BlobScan, scan_blobs

__all__ = ["BlobScan", "audit", "remake", "scan_blobs"]
