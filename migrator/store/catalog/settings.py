"""Values that are kept with an archive, such as the identity of its source."""

from __future__ import annotations

from migrator.errors import ConfigError
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.unchanged import record_full_crawl


class Settings(CatalogPart):
    """Text values by key."""

    def get(self, key: str) -> str | None:
        """The value of a key; None if it was never set."""
        row = self._db.execute("SELECT value FROM settings WHERE key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    def set(self, key: str, value: str) -> None:
        """Set the value of a key."""
        with self._database.transaction():
            self._db.execute(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", [key, value]
            )

    def claim_source(self, identity: str) -> None:
        """Record the source of the archive on its first backup; later, `ConfigError` for any other source."""
        self.require_no_other_source(identity)
        if self.get("source") is None:
            self.set("source", identity)

    def require_no_other_source(self, identity: str) -> None:
        """`ConfigError` if this archive is one of another source; a new archive is free for any. Reads only."""
        held = self.get("source")
        if held in {None, identity}:
            return
        (tracker, _, address), wanted = str(held).partition(" "), identity.partition(" ")[0]
        moved = f" or, if it has moved: `migrator backup CONFIG --moved-from {address}`" if tracker == wanted else ""
        raise ConfigError(f"this archive holds {held}, not {identity}; use another `archive`{moved}")

    def require_source(self, identity: str) -> None:
        """`ConfigError` unless this is the archive of that source."""
        held = self.get("source")
        if held != identity:
            raise ConfigError(f"this archive holds {held or 'nothing yet'}, not {identity}; nothing was done")

    def move_source(self, old: str, new: str) -> None:
        """Rename this archive's source from `old` to `new`, completely or not at all. Repeating it is harmless.

        A crawl under way starts again, because its rows may contain old addresses; stored files stay. The next crawl
        asks every entity.
        """
        with self._database.transaction():
            self._db.execute("UPDATE settings SET value = ? WHERE key = 'source' AND value = ?", [new, old])
            record_full_crawl(self._db, None)
            start = self._db.execute("SELECT min(run_id) FROM checkpoints").fetchone()[0]
            if start is not None:
                self._database.journal_seen(start)
                self._db.execute("DELETE FROM checkpoints")
