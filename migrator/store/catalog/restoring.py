"""What the source lost and snapshots still hold: the files that a restore puts back.

A file is lost if it is gone and a snapshot holds it. It is put back as it was last, or as it was in one snapshot. If it
is lost again later, it is still one file, whatever ids it has had; see `Lineage`.

Beware: somebody may have put a file back by hand, or a restore on another machine of which this catalog does not know.
A file of the same entity, name and content that came after the lost one had gone counts as the same file, also if a
restore had to give it a number; one that was there at the same time is another.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import inf

from migrator.model import EntityRef
from migrator.store.catalog.lineage import OWN_SOURCE, Lineage
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.rows import COLUMNS

_FURTHER = "sha256, status, error, first_run, last_run, stored_run, warning, changed_run"
_TABLE = f"CREATE TEMP TABLE lost AS SELECT {COLUMNS}, {_FURTHER} FROM main.attachments WHERE 0"
_STATES = """
SELECT p.rowid, p.attachment_id, p.kind, p.entity_id, p.name, p.sha256, max(p.until_run), a.first_run
FROM past_attachments p JOIN main.attachments a USING (attachment_id)
WHERE a.status = 'gone' AND (:snapshot IS NULL OR :snapshot BETWEEN p.changed_run AND p.until_run)
GROUP BY p.attachment_id
"""
_INSERT = f"""
INSERT INTO lost ({COLUMNS}, {_FURTHER})
SELECT ?, p.kind, p.entity_id, p.comment_id, p.name, p.size, p.media_type, p.description, p.created_at, p.created_by,
    a.locator, a.raw, p.sha256, 'stored', NULL, a.first_run, a.last_run, a.stored_run, a.warning, p.changed_run
FROM past_attachments p JOIN main.attachments a USING (attachment_id) WHERE p.rowid = ?
"""
_INSERT_DOUBTFUL = f"""
INSERT OR IGNORE INTO lost ({COLUMNS}, {_FURTHER})
SELECT {COLUMNS}, sha256, 'stored', NULL, first_run, last_run, stored_run, warning, changed_run
FROM main.attachments WHERE attachment_id = ?
"""
_DOUBTFUL = """
SELECT u.attachment_id, u.target_kind, u.target_id, u.remote_id, u.sent_run, coalesce(u.sent_sha256, a.sha256)
FROM uploads u JOIN main.attachments a USING (attachment_id) WHERE u.target = ? AND u.status = 'in_doubt'
ORDER BY u.sent_at, u.attachment_id
"""
_SEEN_BY_A_BACKUP = """
SELECT a.attachment_id, a.name FROM main.attachments a
WHERE a.kind = ?1 AND a.entity_id = ?2
    AND (a.attachment_id = ?3 OR (?3 IS NULL AND a.first_run > ?4 AND a.sha256 = ?5))
    AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.target = ?6 AND u.remote_id = a.attachment_id
        AND u.status IN ('uploaded', 'already_there'))
ORDER BY a.first_run, a.rowid LIMIT 1
"""
_KNOWN = """
SELECT attachment_id FROM main.attachments WHERE attachment_id IN (SELECT value FROM json_each(?)) AND first_run <=
    coalesce((SELECT min(sent_run) FROM uploads WHERE target = ? AND status = 'in_doubt' AND target_kind = ?
        AND target_id = ?), first_run)
"""


_NUMBERED = re.compile(r" \((\d{1,6})\)(?=\.[^.]*$|$)")
NamesAtTarget = Callable[[str], Iterable[str]]
"""The names under which a file of this name may be sent, the best first."""


@dataclass(frozen=True, slots=True)
class _State:
    """A state in which a file was there, and the first run that saw that file and the last one that saw this state.

    `file` is its first id, `rowid` that of a state in `past_attachments`, 0 for a file that is there now.
    """

    file: str
    owner: EntityRef
    name: str
    sha256: str
    since: int
    until: float = inf
    rowid: int = 0


@dataclass(frozen=True, slots=True)
class _Member:
    """One id of a file: whether it is there under it now, and the first run that saw it."""

    attachment: str
    present: bool
    since: int


class Restoring(CatalogPart):
    """What `restore` asks for and writes. The caller holds the archive."""

    def view_lost(self, names: NamesAtTarget, snapshot: int | None = None) -> list[EntityRef]:
        """From now on, this connection reads as `attachments` what the source lost; gives the entities they belong to.

        With a `snapshot`, what that held; otherwise what any did, in its last state. Whatever an earlier restore left
        in doubt is among it, as it was sent. `names` gives the names under which a restore may put a file back.
        """
        with self._database.transaction():
            self._settle_by_backup()
            # A file that was found back under its own id is looked for again.
            self._db.execute(
                "UPDATE uploads SET status = 'rolled_back' WHERE target = ? AND remote_id = attachment_id "
                "AND status IN ('uploaded', 'already_there')",
                [OWN_SOURCE],
            )
            self._db.execute("DROP VIEW IF EXISTS temp.attachments")
            self._db.execute("DROP TABLE IF EXISTS temp.lost")
            self._db.execute(_TABLE)
            self._db.execute("CREATE UNIQUE INDEX temp.lost_by_id ON lost (attachment_id)")
            self._db.execute("CREATE INDEX temp.lost_by_owner ON lost (kind, entity_id)")
            self._db.conn.executemany(
                _INSERT, [(id_, state.rowid) for id_, state in self._lost(names, snapshot).items()]
            )
            self._keep_as_sent()
            self._db.execute("CREATE TEMP VIEW attachments AS SELECT * FROM lost")
        owners = self._db.execute("SELECT DISTINCT kind, entity_id FROM lost ORDER BY 1, 2").fetchall()
        return [EntityRef(*owner) for owner in owners]

    def known(self, to: EntityRef, ids: Collection[str]) -> set[str]:
        """Which of the files that an entity lists are known to the archive by their ids, and so are no lost ones.

        If an upload to this entity is in doubt, a file that came later doesn't count as known: it may be that upload.
        """
        rows = self._db.execute(_KNOWN, [json.dumps([*ids]), OWN_SOURCE, to.kind, to.id]).fetchall()
        return {id_ for (id_,) in rows}

    def drop_plan(self) -> None:
        """Forget what a restore that has ended did not do; the next one finds out anew what is lost.

        Otherwise `prune` would keep it, and `status` would tell of a failed restore for ever.
        """
        with self._database.transaction():
            self._db.execute(
                "DELETE FROM uploads WHERE target = ? AND status IN ('planned', 'failed') AND remote_id IS NULL",
                [OWN_SOURCE],
            )

    def _settle_by_backup(self) -> None:
        """What was in doubt and has been seen by a backup since has arrived."""
        for id_, kind, entity_id, remote_id, sent_run, sha256 in self._doubtful():
            args = [kind, entity_id, remote_id, sent_run, sha256, OWN_SOURCE]
            if seen := self._db.execute(_SEEN_BY_A_BACKUP, args).fetchone():
                self._db.execute(
                    "UPDATE uploads SET status = 'uploaded', remote_id = ?, name = ?, error = NULL, seen = NULL, "
                    "accepted = NULL WHERE target = ? AND attachment_id = ? AND target_kind = ? AND target_id = ?",
                    [*seen, OWN_SOURCE, id_, kind, entity_id],
                )

    def _doubtful(self) -> list[tuple[str, str, str, str | None, int | None, str]]:
        rows: list[tuple[str, str, str, str | None, int | None, str]] = self._db.execute(
            _DOUBTFUL, [OWN_SOURCE]
        ).fetchall()
        return rows

    def _keep_as_sent(self) -> None:
        """Correct the view for what was sent back and not seen by a backup: its entity and, if in doubt, its content.

        The state that is wanted now may be on another entity, or have other bytes.
        """
        for id_, (_, to) in self._sent_and_not_seen().items():
            self._db.execute("UPDATE lost SET kind = ?, entity_id = ? WHERE attachment_id = ?", [*to, id_])
        for id_, kind, entity_id, _, _, sha256 in self._doubtful():
            self._db.execute(_INSERT_DOUBTFUL, [id_])
            self._db.execute(
                "UPDATE lost SET kind = ?, entity_id = ?, sha256 = ? WHERE attachment_id = ?",
                [kind, entity_id, sha256, id_],
            )

    def _lost(self, names: NamesAtTarget, snapshot: int | None) -> dict[str, _State]:
        """By the id under which each lost file is put back: the state to put back."""
        lineage = Lineage.read(self._db)
        by_file: defaultdict[str, list[_State]] = defaultdict(list)
        for rowid, id_, kind, entity_id, name, sha256, until, since in self._db.execute(
            _STATES, {"snapshot": snapshot}
        ).fetchall():
            file = lineage.first(id_)
            state = _State(file, EntityRef(kind, entity_id), name, sha256, since, snapshot or until, rowid)
            by_file[file].append(state)
        members = self._members(chain.from_iterable(lineage.ids(file) for file in by_file))
        lost: dict[str, _State] = {}
        for file, states in by_file.items():
            seen = [members[id_] for id_ in lineage.ids(file) if id_ in members]
            if not any(member.present for member in seen):
                continued = {lineage.links.get(member.attachment) for member in seen}
                newest = [member.attachment for member in seen if member.attachment not in continued]
                lost[newest[-1] if newest else file] = max(states, key=lambda state: state.until)
        sent = self._sent_and_not_seen()
        copies = [replace(lost[id_], since=run, until=inf, rowid=0) for id_, (run, _) in sent.items() if id_ in lost]
        there = [state for owner in {state.owner for state in lost.values()} for state in self._present(owner, lineage)]
        there = _named_as_lost(there, lost.values(), names)
        last = _last_of_equal([*chain.from_iterable(by_file.values()), *copies, *there])
        return {id_: state for id_, state in lost.items() if id_ in sent or state.rowid in last}

    def _members(self, ids: Iterable[str]) -> dict[str, _Member]:
        rows = self._db.execute(
            "SELECT attachment_id, status != 'gone', first_run FROM main.attachments "
            "WHERE attachment_id IN (SELECT value FROM json_each(?))",
            [json.dumps([*ids])],
        )
        return {id_: _Member(id_, bool(present), since) for id_, present, since in rows.fetchall()}

    def _sent_and_not_seen(self) -> dict[str, tuple[int, EntityRef]]:
        """What was sent back, or may have been, and no backup has seen yet: the run that sent or found it, and where.

        Whatever is in doubt is among it.
        """
        rows = self._db.execute(
            "SELECT attachment_id, run_id, target_kind, target_id FROM uploads u WHERE target = ? "
            "AND status IN ('uploaded', 'already_there', 'in_doubt') "
            "AND NOT EXISTS (SELECT 1 FROM main.attachments a WHERE a.attachment_id = u.remote_id)",
            [OWN_SOURCE],
        )
        return {id_: (run, EntityRef(kind, entity_id)) for id_, run, kind, entity_id in rows.fetchall()}

    def _present(self, owner: EntityRef, lineage: Lineage) -> list[_State]:
        rows = self._db.execute(
            "SELECT attachment_id, name, sha256, first_run FROM main.attachments "
            "WHERE kind = ? AND entity_id = ? AND status != 'gone' AND sha256 IS NOT NULL",
            [owner.kind, owner.id],
        ).fetchall()
        return [_State(lineage.first(id_), owner, name, sha256, since) for id_, name, sha256, since in rows]


def _named_as_lost(there: Iterable[_State], lost: Iterable[_State], names: NamesAtTarget) -> list[_State]:
    """Files that are there, each under the name of the lost one that it probably is.

    That is one of the same entity and content that had gone before, and would be put back under the name that it has.
    """
    missing: defaultdict[tuple[EntityRef, str], list[_State]] = defaultdict(list)
    for state in lost:
        missing[state.owner, state.sha256].append(state)
    named: list[_State] = []
    rest = sorted(there, key=lambda state: state.since)
    for exact in (True, False):
        others: list[_State] = []
        for state in rest:
            alike = missing[state.owner, state.sha256]
            before = (each for each in alike if each.until < state.since)
            origin = next((each for each in before if _may_be_named(state.name, each.name, names, exact=exact)), None)
            if origin is None:
                others.append(state)
            else:
                alike.remove(origin)
                named.append(replace(state, name=origin.name))
        rest = others
    return [*named, *rest]


def _may_be_named(name: str, original: str, names: NamesAtTarget, *, exact: bool) -> bool:
    """Whether a file may have got this name, which has its number from the second possible one on."""
    if exact:
        return name == original
    numbered = _NUMBERED.search(name)
    return name in islice(names(original), int(numbered[1]) if numbered else 1)


def _last_of_equal(states: Iterable[_State]) -> set[int]:
    """The row numbers of the states that no other one of the same entity, name and content follows.

    A state follows at most one other, preferably one of the same file. The number that remains is the number that were
    there at the same time.
    """
    equal: defaultdict[tuple[EntityRef, str, str], list[_State]] = defaultdict(list)
    for state in sorted(states, key=lambda state: state.since):
        last = equal[state.owner, state.name, state.sha256]
        ended = [other for other in last if other.until < state.since]
        if ended:
            last.remove(next((other for other in ended if other.file == state.file), ended[0]))
        last.append(state)
    return {state.rowid for last in equal.values() for state in last}
