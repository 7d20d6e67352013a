"""Compare a catalog with its journal, and rebuild it from there."""

from migrator.store.repair.audit import audit
from migrator.store.repair.remake import remake

__all__ = ["audit", "remake"]
