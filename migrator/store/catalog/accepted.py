"""Failures that a person has accepted: they stay listed, and no longer make a run incomplete.

An acceptance is for one file or entity and one kind of reason. It ends when the file is stored, when the entity can be
listed, or when the reason becomes another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from migrator.model import Status
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.summaries import Summaries
from migrator.store.clock import now
from migrator.store.schema import has_table

FailureRow = Mapping[str, str | None]
"""A failure by the keys of the JSON: `kind`, `entity`, `attachment`, `name`, `reason`."""
FailureKey = tuple[str, str, str]
"""What failed: the id of a file and two empty texts, or an empty text and the kind and id of an entity."""


def key_of(failure: FailureRow) -> FailureKey:
    """What failed. All empty for what is neither a file nor an entity, such as a listing, which can't be accepted."""
    attachment = failure["attachment"]
    return (attachment, "", "") if attachment else ("", failure["kind"] or "", failure["entity"] or "")


def reason_kind(reason: str) -> str:
    """A reason without what may differ each time: numbers, paths and addresses. An HTTP status belongs to the kind."""
    words = [word.strip(".,;:()'\"") for word in reason.casefold().split()]
    return " ".join(
        word
        for before, word in pairwise(["", *words])
        if before == "status" or not ("/" in word or any(char.isdigit() for char in word))
    )


@dataclass(frozen=True, slots=True)
class Acceptances:
    """All that was accepted: by what failed, the reason then, and when it was accepted."""

    by_key: Mapping[FailureKey, tuple[str, str]]

    def accepted_at(self, failure: FailureRow) -> str | None:
        """When a person accepted this failure for this kind of reason; None if nobody has."""
        reason, at = self.by_key.get(key_of(failure), ("", ""))
        return at if at and reason_kind(reason) == reason_kind(failure["reason"] or "") else None

    def split(self, failures: Iterable[FailureRow]) -> tuple[list[FailureRow], list[FailureRow]]:
        """Those that nobody has accepted, and the others, each of them with `accepted_at`."""
        standing, accepted = list[FailureRow](), list[FailureRow]()
        for failure in failures:
            at = self.accepted_at(failure)
            (accepted if at else standing).append({**failure, "accepted_at": at} if at else failure)
        return standing, accepted


class AcceptedFailures(CatalogPart):
    """One row for each accepted failure."""

    def all(self) -> Acceptances:
        """Every acceptance, also of what has not failed again since."""
        if not has_table(self._db, "accepted_failures"):
            return Acceptances({})
        rows = self._db.execute("SELECT attachment_id, kind, entity_id, reason, at FROM accepted_failures").fetchall()
        return Acceptances({(id_, kind, entity): (reason, at) for id_, kind, entity, reason, at in rows})

    def accept(self, failures: Iterable[FailureRow]) -> None:
        """Accept these failures for the reasons that they have now."""
        with self._database.transaction():
            self._db.conn.executemany(
                "INSERT INTO accepted_failures VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET reason = excluded.reason, at = excluded.at",
                [(*key_of(failure), failure["reason"] or "", now()) for failure in failures],
            )

    def withdraw(self, keys: Iterable[FailureKey]) -> None:
        """Accept these no longer."""
        with self._database.transaction():
            self._db.conn.executemany(
                "DELETE FROM accepted_failures WHERE attachment_id = ? AND kind = ? AND entity_id = ?", [*keys]
            )

    def end_settled(self) -> None:
        """A crawl is over: end the acceptance of what is well again, or fails for another reason.

        A file that was only left out by this crawl has yet to show whether it still fails.
        """
        if not (accepted := self.all()).by_key:
            return
        failing = {key_of(failure): failure for failure in Summaries(self._database).failures()}
        undecided = self._undecided(id_ for id_, _, _ in accepted.by_key)
        ended = [
            key
            for key in accepted.by_key
            if (accepted.accepted_at(failing[key]) is None if key in failing else key[0] not in undecided)
        ]
        if ended:
            self.withdraw(ended)

    def _undecided(self, ids: Iterable[str]) -> set[str]:
        rows = self._db.execute(
            "SELECT attachment_id FROM attachments WHERE attachment_id IN (SELECT value FROM json_each(?)) "
            "AND status IN (?, ?)",
            [json.dumps([id_ for id_ in ids if id_]), Status.PENDING, Status.SKIPPED],
        )
        return {id_ for (id_,) in rows.fetchall()}
