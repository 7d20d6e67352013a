"""A catalog held against its journal, and made anew from it."""

from migrator.store.repair.audit import audit
from migrator.store.repair.remake import remake

__all__ = ["audit", "remake"]
