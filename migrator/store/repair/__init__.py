"""A catalog held against its journal, and made anew from it."""

from migrator.store.repair.auditing import audit
from migrator.store.repair.remaking import remake

__all__ = ["audit", "remake"]
