"""The entities in a catalog: those that were listed, and those that own a file."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.model import Entity, EntityRef
from migrator.store.catalog.part import CatalogPart


class Entities(CatalogPart):
    """Queries about entities. `since_run`: only those seen since that run."""

    def all(self) -> Iterator[Entity]:
        """Every entity, without its JSON."""
        rows = self._db.execute("SELECT kind, entity_id, title, url FROM entities ORDER BY kind, entity_id")
        return (Entity(EntityRef(kind, id_), title, url) for kind, id_, title, url in rows)

    def get(self, ref: EntityRef) -> Entity:
        """One entity with everything known about it, which may be nothing."""
        row = self._db.execute(
            "SELECT title, url, raw FROM entities WHERE kind = ? AND entity_id = ?", [ref.kind, ref.id]
        ).fetchone()
        return Entity(ref, *row) if row else Entity(ref)

    def count(self, since_run: int = 0) -> int:
        """The number of entities seen since a run."""
        return int(self._db.execute("SELECT count(*) FROM entities WHERE last_run >= ?", [since_run]).fetchone()[0])

    def refs(self) -> set[EntityRef]:
        """Every entity that was seen, or owns a file."""
        rows = self._db.execute("SELECT kind, entity_id FROM entities UNION SELECT kind, entity_id FROM attachments")
        return {EntityRef(kind, id_) for kind, id_ in rows}

    def owners(self) -> Iterator[tuple[EntityRef, int]]:
        """Every entity with stored files, and their number, in a fixed order."""
        for kind, entity, count in self._db.execute(
            "SELECT kind, entity_id, count(*) FROM attachments WHERE status = 'stored' GROUP BY kind, entity_id"
        ):
            yield EntityRef(kind, entity), count

    def kinds(self, since_run: int = 0) -> set[str]:
        """The kinds of all entities seen since a run."""
        rows = self._db.execute("SELECT DISTINCT kind FROM entities WHERE last_run >= ?", [since_run])
        return {kind for (kind,) in rows}

    def has_kind(self, kind: str, since_run: int = 0) -> bool:
        """Whether any entity of this kind was seen since a run."""
        query = "SELECT 1 FROM entities WHERE kind = ? AND last_run >= ? LIMIT 1"
        return self._db.execute(query, [kind, since_run]).fetchone() is not None

    def is_listed(self, ref: EntityRef, since_run: int) -> bool:
        """Whether an entity was seen since a run; without a kind, any kind will do."""
        row = self._db.execute(
            "SELECT 1 FROM entities WHERE entity_id = ? AND (? = '' OR kind = ?) AND last_run >= ? LIMIT 1",
            [ref.id, ref.kind, ref.kind, since_run],
        ).fetchone()
        return row is not None
