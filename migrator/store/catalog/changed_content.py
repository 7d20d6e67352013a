"""What becomes of a file that the source lists again: when its content counts as another one, and is fetched again.

A listed file has new content if its size differs, or if its date is another moment. A size or date that the tracker
doesn't list proves nothing. A file is also fetched if it was skipped and is wanted now, or if it was gone, is listed
again, and its content was never stored. Where it was its download that said "gone" (such rows carry an error), it is
tried again, once in each run.

What two listings of one crawl say about a file may differ in `raw`; the first one is kept, or each night would change
it, and so would a kill.
`changed_run` is explained in migrator/store/schema.py.

A known owner is never removed. A stored file that this run skips keeps its old size and date, so that the run that
fetches it later can still see the change.
"""

from __future__ import annotations

from migrator.dates import same_moment
from migrator.model import Attachment
from migrator.store.catalog.rows import COLUMNS

_LEFT = "excluded.status = 'skipped' AND status = 'stored'"
NEW_CONTENT = """(size != excluded.size OR excluded.created_at != '' AND created_at != excluded.created_at
            AND NOT same_moment(created_at, excluded.created_at))"""
"""Whether a listed file has new content, in SQL: a call back into Python for each row would wait for the GIL."""
_OF_THIS_CRAWL = "last_run >= coalesce((SELECT max(run_id) FROM checkpoints WHERE stream = ''), excluded.last_run)"
"""Whether the crawl under way, which an earlier run may have begun, has listed it before."""
_RENAMED_OR_MOVED = """(name != excluded.name OR description != excluded.description
            OR created_by != excluded.created_by
            OR excluded.kind != 'Unlinked' AND (kind != excluded.kind OR entity_id != excluded.entity_id))"""
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
    locator = excluded.locator, raw = iif({_OF_THIS_CRAWL}, raw, excluded.raw),
    last_run = excluded.last_run,
    status = CASE
        WHEN excluded.status = 'skipped' THEN iif(status = 'stored', 'stored', 'skipped')
        WHEN {NEW_CONTENT} THEN 'pending'
        WHEN status = 'gone' AND last_run = excluded.last_run THEN 'gone'
        WHEN status = 'gone' THEN iif(sha256 IS NULL OR error IS NOT NULL, 'pending', 'stored')
        WHEN status = 'skipped' THEN 'pending'
        ELSE status END,
    changed_run = CASE
        WHEN excluded.status != 'skipped' AND {NEW_CONTENT} THEN NULL
        WHEN excluded.status != 'skipped' AND status = 'gone' AND last_run != excluded.last_run
            THEN iif(sha256 IS NULL OR error IS NOT NULL, NULL, excluded.last_run)
        WHEN changed_run IS NOT NULL AND {_RENAMED_OR_MOVED} THEN excluded.last_run
        ELSE changed_run END
"""


def is_content_changed(before: Attachment, listed: Attachment) -> bool:
    """The same rule for two listings of one attachment."""
    if None not in {before.size, listed.size} and before.size != listed.size:
        return True
    return listed.created_at != "" and not same_moment(before.created_at, listed.created_at)
