"""Without a tracker, in a process of its own: a million attachments listed and recorded; 100,000 uploads planned;
100,000 entities matched with as many.

`python -m tests.bench.rows million|plan|match FOLDER SCALE` prints a Markdown table.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from migrator.jobs.interpreter import tune_interpreter
from migrator.mapping.file import read_mapping
from migrator.mapping.match import Index, match, parse_rule
from migrator.model import Attachment, Blob, Entity, EntityRef, Outcome, RunStatus, Status
from migrator.store.catalog import Catalog

T = TypeVar("T")
PAGE, OF_ENTITY = 500, 5
BATCH = 256
"""So many files are recorded together in a backup with fetch workers."""
RAW = json.dumps({"Id": 1, "Uri": "http://tracker.example/Attachment.aspx?AttachmentID=1", "Owner": "x" * 400})
ENTITY_RAW = json.dumps({"Id": 1, "Description": "words " * 200})


def attachment(number: int) -> Attachment:
    """One as a tracker tells of it."""
    owner = EntityRef("UserStory", str(number // OF_ENTITY))
    name = f"picture {number}.png"
    return Attachment(
        str(number), owner, name, number % 20_000, media_type="image/png", created_at="2024-02-03T10:11:12+00:00",
        created_by="Ann Smith", raw=RAW,
    )  # fmt: skip


def rss(what: str) -> float:
    """Memory of this process in MB: VmRSS or VmHWM (the peak)."""
    return int(Path("/proc/self/status").read_text().partition(f"{what}:")[2].split()[0]) / 1000


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """How long it took, and what came of it."""
    began = time.monotonic()
    result = call()
    return time.monotonic() - began, result


def record(catalog: Catalog, run: int, start: int, end: int) -> float:
    """List pages and record their files as a backup does; gives the seconds that the listing alone took."""
    listing = 0.0
    for first in range(start, end, PAGE):
        page = [attachment(number) for number in range(first, min(end, first + PAGE))]
        owners = {file.owner: Entity(file.owner, f"story {file.owner.id}", raw=ENTITY_RAW) for file in page}
        began = time.monotonic()
        catalog.crawl.record_listing(run, list(owners.values()), [(file, Status.PENDING) for file in page])
        listing += time.monotonic() - began
        stored = [Outcome(file, Status.STORED, Blob(hashlib.sha256(file.id.encode()).hexdigest(), 1)) for file in page]
        for part in range(0, len(stored), BATCH):
            catalog.crawl.record_outcomes(run, stored[part : part + BATCH])
        catalog.crawl.record_checkpoint(run, "Attachments", str(first))
    return listing


def row(what: str, seconds: float, more: str = "") -> None:
    """A line of the table, with the CPU seconds of the process so far."""
    more = f"{more}, CPU so far {time.process_time():.1f} s" if more else ""
    print(f"| {what} | {seconds:.2f} | {more} |", flush=True)  # noqa: T201 - this is a program


def size_of(root: Path) -> int:
    """Bytes of the catalog with its log."""
    return sum(path.stat().st_size for path in root.glob("catalog.db*"))


def million(root: Path, count: int) -> None:
    """A tenth of them, the rest, then what a person and the next run ask."""
    catalog = Catalog(root)
    catalog.ensure_journal()
    run = catalog.runs.begin("backup")
    crawl = catalog.crawl.begin(run, "[]")
    took, listing = timed(lambda: record(catalog, run, 0, count // 10))
    low = rss("VmRSS")
    row(f"{count // 10:,} listed and recorded", took, f"{count / 10 / took:,.0f} a second, RSS {low:.0f} MB")
    row("of which the listing", listing, f"{count / 10 / listing:,.0f} a second")
    took, listing = timed(lambda: record(catalog, run, count // 10, count))
    row(f"{count * 9 // 10:,} more", took, f"{count * 0.9 / took:,.0f} a second, RSS {rss('VmRSS'):.0f} MB")
    row("of which the listing", listing, f"{count * 0.9 / listing:,.0f} a second")
    own = size_of(root) / count - len(RAW) - len(ENTITY_RAW) / OF_ENTITY
    row("size of the catalog", 0, f"{own:.0f} bytes for each, beyond the tracker's own JSON")
    catalog.close()
    catalog = Catalog(root)
    row("resumed: what is missing", timed(lambda: catalog.crawl.unfinished(catalog.crawl.begin(run, "[]")))[0])
    row(
        "resumed: are all blobs known",
        timed(lambda: sum(len(catalog.blobs.in_folder(f"{n:02x}")) for n in range(256)))[0],
    )
    row("resumed: has each file its blob", timed(lambda: len([*catalog.blobs.dangling()]))[0])
    row("status: totals", timed(catalog.summaries.totals)[0])
    row("failures", timed(lambda: catalog.summaries.failures(0))[0])
    row(
        "summary of a run",
        timed(lambda: (catalog.summaries.backup_counts(run, run), catalog.summaries.stored_bytes(run)))[0],
    )
    row("end of the crawl", timed(lambda: catalog.crawl.end(crawl))[0], f"peak RSS {rss('VmHWM'):.0f} MB")
    catalog.close()


def plan(root: Path, count: int) -> None:
    """A mapping of as many entities as 100,000 files are on, read and planned by."""
    catalog = Catalog(root)
    run = catalog.runs.begin("backup")
    record(catalog, run, 0, count)
    catalog.runs.end(run, RunStatus.COMPLETE, {})
    lines = (f"UserStory,{number},Issue,{number + 7}\n" for number in range(count // OF_ENTITY))
    (root / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + "".join(lines))
    took, mapping = timed(lambda: read_mapping(root / "mapping.csv"))
    row(f"mapping of {len(mapping):,} rows read", took)
    pairs = [(of, to) for of, targets in mapping.items() for to in targets]
    row(f"{count:,} uploads planned", timed(lambda: catalog.uploads.plan(run, "target", pairs))[0])
    row("planned again", timed(lambda: catalog.uploads.plan(run, "target", pairs))[0])
    row("entities to settle", timed(lambda: catalog.uploads.unsettled_entities("target"))[0])
    row("files without a row", timed(lambda: sum(n for of, n in catalog.entities.owners() if of not in mapping))[0])
    row("summary", timed(lambda: catalog.summaries.upload_counts("target", run))[0], f"peak RSS {rss('VmHWM'):.0f} MB")
    catalog.close()


def match_all(root: Path, count: int) -> None:
    """Entities of a target indexed and matched by three rules; then a mapping of as many rows read."""
    sources = [Entity(EntityRef("Bug", str(n)), f"The {n}th thing is wrong", raw=ENTITY_RAW) for n in range(count)]
    targets = [
        Entity(
            EntityRef("Issue", str(n + 7)),
            f"the {n}th  thing is wrong",
            raw=json.dumps({"Id": n + 7, "Description": "words " * 50, "Legacy": f"TP-{n}"}),
        )
        for n in range(count)
    ]
    index = Index([parse_rule(name) for name in ("custom:Legacy:TP-([0-9]+)", "title", "id")])
    indexed, _ = timed(lambda: [index.add(entity) for entity in targets])
    matched, found = timed(lambda: list(match(sources, index, [])))
    row(f"{count:,} entities of the target indexed by three rules", indexed)
    row(f"{count:,} entities of the source matched", matched, f"{sum(one.target is not None for one in found):,} found")
    lines = "".join(f"{one.source.kind},{one.source.id},{one.target.kind},{one.target.id}\n" for one in found)
    (root / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + lines)
    read, _ = timed(lambda: read_mapping(root / "mapping.csv"))
    row(f"mapping of {count:,} rows read", read)
    row("together", indexed + matched + read, f"peak RSS {rss('VmHWM'):.0f} MB")


if __name__ == "__main__":
    print("| what | seconds | |\n| --- | --- | --- |")  # noqa: T201 - the same
    whole = {"million": (million, 1_000_000), "plan": (plan, 100_000), "match": (match_all, 100_000)}
    work, many = whole[sys.argv[1]]
    tune_interpreter()
    work(Path(sys.argv[2]), int(many * float(sys.argv[3])))
