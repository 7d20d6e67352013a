"""The base of the catalog's parts."""

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
