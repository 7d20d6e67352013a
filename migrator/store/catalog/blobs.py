"""The blobs that a catalog knows, and what `verify` found of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from migrator.model import Blob
from migrator.store.catalog.part import CatalogPart
from migrator.store.schema import has_table


class Blobs(CatalogPart):
    """Queries about blobs, and the problems that `verify` records."""

    def in_folder(self, folder: str) -> dict[str, Blob]:
        """The blobs whose hashes begin with these two hex digits."""
        rows = self._db.execute(
            "SELECT sha256, size FROM blobs WHERE sha256 >= ? AND sha256 < ?", [folder, folder + "g"]
        )
        return {sha256: Blob(sha256, size) for sha256, size in rows.fetchall()}

    def size_after(self, sha256: str) -> tuple[int, int]:
        """How many blobs come after this hash, or the beginning of one, and their bytes."""
        query = "SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE sha256 > ?"
        count, size = self._db.execute(query, [sha256]).fetchone()
        return int(count), int(size)

    def has(self, sha256: str) -> bool:
        """Whether the catalog has such a blob."""
        return self._db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", [sha256]).fetchone() is not None

    def damaged(self) -> list[str]:
        """The blobs that `verify` found damaged or missing."""
        return [*self.problems()]

    def problems(self) -> dict[str, str]:
        """The blobs that `verify` found damaged or missing, each with its problem."""
        return dict(self._db.execute("SELECT sha256, problem FROM blobs WHERE problem IS NOT NULL").fetchall())

    def record_problems(self, problems: Mapping[str, str], *, whole: bool) -> None:
        """Record the problem of each blob. A check of the `whole` archive also clears earlier problems."""
        if self._database.read_only:
            return
        with self._database.transaction():
            if whole:
                self._db.execute("UPDATE blobs SET problem = NULL WHERE problem IS NOT NULL")
            self._db.conn.executemany(
                "UPDATE blobs SET problem = ? WHERE sha256 = ?",
                [(problem, sha256) for sha256, problem in problems.items()],
            )

    def removed_in(self, folder: str) -> set[str]:
        """The blobs of one folder that a prune has forgotten, and whose files it has yet to delete."""
        if not has_table(self._db, "removed_blobs"):
            return set()
        rows = self._db.execute(
            "SELECT sha256 FROM removed_blobs WHERE sha256 >= ? AND sha256 < ?", [folder, folder + "g"]
        )
        return {sha256 for (sha256,) in rows.fetchall()}

    def dangling(self) -> Iterator[str]:
        """Hashes that a stored attachment names and `blobs` lacks."""
        rows = self._db.execute(
            "SELECT DISTINCT sha256 FROM attachments a WHERE status = 'stored' AND NOT EXISTS "
            "(SELECT 1 FROM blobs b WHERE b.sha256 = a.sha256)"
        )
        return (str(row[0]) for row in rows)

    def sizes_stored(self, sizes: Iterable[int]) -> set[int]:
        """Those of these sizes that some stored blob has."""
        rows = self._db.execute(
            "SELECT DISTINCT size FROM blobs WHERE size IN (SELECT value FROM json_each(?))", [json.dumps([*sizes])]
        )
        return {size for (size,) in rows}
