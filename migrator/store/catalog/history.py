"""Keeps the states of files and entities that a snapshot holds, once they end.

The tables `attachments` and `entities` say since which run a row has been as it is (`changed_run`). When that changes,
triggers copy the row as it was to `past_attachments` or `past_entities`, if a snapshot holds it.

Beware: the triggers are temporary. In the catalog they would also fire while a journal is replayed, which brings the
copies itself.
"""

from __future__ import annotations

LAST_SNAPSHOT = "(SELECT max(run_id) FROM snapshots)"
"""SQL: the newest snapshot; NULL if there is none."""
_FILE = (
    "attachment_id, kind, entity_id, comment_id, name, size, media_type, description, created_at, created_by, sha256"
)
_ENTITY = "kind, entity_id, title, url"


def _old(columns: str) -> str:
    return ", ".join(f"old.{column}" for column in columns.split(", "))


def _keep_past(table: str, columns: str) -> str:
    return f"""
CREATE TEMP TRIGGER IF NOT EXISTS keep_past_{table} AFTER UPDATE OF changed_run ON main.{table}
WHEN old.changed_run IS NOT new.changed_run AND old.changed_run <= {LAST_SNAPSHOT} BEGIN
    INSERT INTO past_{table} ({columns}, changed_run, until_run)
    VALUES ({_old(columns)}, old.changed_run, {LAST_SNAPSHOT});
END
"""


KEEP_PAST = (_keep_past("attachments", _FILE), _keep_past("entities", _ENTITY))
"""SQL: the triggers that keep what a snapshot holds, for a connection that writes."""
