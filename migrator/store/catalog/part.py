"""What the parts of a catalog have in common."""

from __future__ import annotations

from sqlite_utils import Database

from migrator.store.catalog.database import CatalogDatabase


class CatalogPart:
    """One subject of the catalog: its queries and transactions, on a database that the parts share."""

    def __init__(self, database: CatalogDatabase) -> None:
        self._database = database

    @property
    def _db(self) -> Database:
        return self._database.db

    def _has_table(self, name: str) -> bool:
        """Whether the catalog has this table: one that only older programs have worked on may lack the newest."""
        return self._db.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", [name]).fetchone() is not None
