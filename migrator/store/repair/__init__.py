"""Compare a catalog with its journal, and rebuild it from there."""

from migrator.store.repair.auditing import audit
from migrator.store.repair.remaking import remake

__all__ = ["audit", "remake"]
