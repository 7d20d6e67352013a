"""What becomes of a file that the source lists again: when its content counts as another one, and is fetched again.

A listed file has new content if its size differs, or if its date is another moment. A size or date that the tracker
doesn't list proves nothing. A file is also fetched if it was skipped and is wanted now, or if it was gone, is listed
again, and its content was never stored. Where it was its download that said "gone" (such rows carry an error), it is
tried again, once in each run.

A known owner is never removed. A stored file that this run skips keeps its old size and date, so that the run that
fetches it later can still see the change.
"""

from __future__ import annotations

from migrator.store.catalog.rows import COLUMNS

_LEFT = "excluded.status = 'skipped' AND status = 'stored'"
RECORD_LISTED = f"""
INSERT INTO attachments ({COLUMNS}, status, first_run, last_run)
SELECT * FROM (VALUES {{rows}}) WHERE column1 IS NOT NULL
ON CONFLICT (attachment_id) DO UPDATE SET
    kind = iif(excluded.kind = 'Unlinked', kind, excluded.kind),
    entity_id = iif(excluded.kind = 'Unlinked', entity_id, excluded.entity_id),
    comment_id = coalesce(excluded.comment_id, comment_id),
    name = excluded.name, size = iif({_LEFT}, size, coalesce(excluded.size, size)), media_type = excluded.media_type,
    description = excluded.description,
    created_at = iif(excluded.created_at = '' OR {_LEFT}, created_at, excluded.created_at),
    created_by = excluded.created_by,
    error = iif(excluded.status = 'skipped' AND status != 'stored', NULL, error),
    locator = excluded.locator, raw = excluded.raw, last_run = excluded.last_run,
    status = CASE
        WHEN excluded.status = 'skipped' THEN iif(status = 'stored', 'stored', 'skipped')
        WHEN size != excluded.size THEN 'pending'
        WHEN excluded.created_at != '' AND created_at != excluded.created_at
            AND NOT same_moment(created_at, excluded.created_at) THEN 'pending'
        WHEN status = 'gone' AND last_run = excluded.last_run THEN 'gone'
        WHEN status = 'gone' THEN iif(sha256 IS NULL OR error IS NOT NULL, 'pending', 'stored')
        WHEN status = 'skipped' THEN 'pending'
        ELSE status END
"""
