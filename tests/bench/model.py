"""What a backup would take that is too large to be tried: `python -m tests.bench.model [--files 1e8 --bytes 1e14 ...]`.

It reckons; it measures nothing. What it reckons with was measured (`MEASURED`, from results.md) or is said by whoever
asks (`Asked`). Each stage stands by itself, as if the others took no time: they overlap in a run, so that the longest
one is about what the run takes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

DAY, GIB = 86_400.0, 2.0**30


@dataclass(frozen=True, slots=True)
class Asked:
    """The backup in question, and what is around it."""

    files: float = 1e8
    bytes: float = 1e14
    workers: float = 100
    "Machines that fetch, each with `cores`."
    cores: float = 2
    requests_per_second: float = 100
    "What the tracker bears, over all machines together."
    tracker_bytes_per_second: float = 1.25e8
    "What its line carries: one gigabit a second."
    worker_bytes_per_second: float = 1.25e8
    "What the line of one worker carries, in and out."
    coordinator_bytes_per_second: float = 1.25e8
    page: float = 100
    "Attachments in one answer of the tracker's listing."
    page_seconds: float = 0.3
    "Until it answers with a page; pages of a listing follow each other."
    changed_share: float = 0.001
    "Of the files, in a night."


@dataclass(frozen=True, slots=True)
class Measured:
    """From results.md: two cores, loopback, small files unless said."""

    recording_seconds: float
    "For one attachment, in the coordinator: listed, planned, recorded (`million`)."
    catalog_bytes: float
    "For one attachment in catalog.db, with the tracker's own JSON (`million`)."
    journal_bytes: float
    "The same in manifest.jsonl (`million`)."
    worker_seconds: float
    "Of a worker's processor for one small file (`small`, start-up left out)."
    worker_seconds_per_byte: float
    "Hashing, and copying it through (`large`)."
    unchanged_seconds: float
    "For one attachment that has not changed (`nothing-changed`)."


@dataclass(frozen=True, slots=True)
class Prices:
    """Amazon S3, standard class, us-east-1, US dollars, as its list had them in 2025. Others are of the same order."""

    put: float = 0.005 / 1000
    "Also for a part, a copy, and a page of a listing."
    get: float = 0.0004 / 1000
    month_per_gb: float = 0.0225
    puts_per_second: float = 3_500
    "For one prefix, and an archive has 256 of them."


MEASURED = Measured(
    recording_seconds=0.000_11,
    catalog_bytes=1_124,
    journal_bytes=1_477,
    worker_seconds=0.00015,
    worker_seconds_per_byte=3.0e-9,
    unchanged_seconds=0.00006,
)
PART_BYTES = 8 * 2**20
"""Files beyond this go to a store in parts of this size (`migrator/store/objects/bucket.py`)."""
CALLS_SECONDS, FILES_A_CALL = 0.001, 256
"""A call through a Dask scheduler, and how many files one brings (CONTRIBUTING)."""
PATIENCE = 20
"""A copy of the journal waits so many times as long as the last one took (`SENT_AGAIN_AFTER`)."""


def stages(asked: Asked, measured: Measured = MEASURED, prices: Prices = Prices()) -> dict[str, float]:
    """Seconds that each stage of the first backup takes by itself."""
    pages = asked.files / asked.page
    return {
        "tracker: requests": (asked.files + pages) / asked.requests_per_second,
        "tracker: its line": asked.bytes / asked.tracker_bytes_per_second,
        "listing: page after page": pages * asked.page_seconds,
        "coordinator: catalog and journal": asked.files * measured.recording_seconds,
        "coordinator: calls of workers": 2 * asked.files / FILES_A_CALL * CALLS_SECONDS,
        "workers: processors": (asked.files * measured.worker_seconds + asked.bytes * measured.worker_seconds_per_byte)
        / (asked.workers * asked.cores),
        "workers: their lines": 2 * asked.bytes / (asked.workers * asked.worker_bytes_per_second),
        "store: writes": writes(asked) / (256 * prices.puts_per_second),
    }


def writes(asked: Asked) -> float:
    """Requests to the store that write: one for a small file; for a large one its parts, begin, end and copy."""
    mean = asked.bytes / asked.files
    return asked.files * (1 if mean <= PART_BYTES else mean / PART_BYTES + 3)


def bookkeeping(asked: Asked, measured: Measured = MEASURED) -> dict[str, float]:
    """What the coordinator keeps: bytes of catalog and journal, and seconds in which they cross its line."""
    catalog, journal = asked.files * measured.catalog_bytes, asked.files * measured.journal_bytes
    copy = journal / asked.coordinator_bytes_per_second
    return {"catalog": catalog, "journal": journal, "copy": copy, "lost": (PATIENCE + 1) * copy}


def money(asked: Asked, prices: Prices = Prices()) -> dict[str, float]:
    """US dollars at list prices, without the machines, and without a line out of the cloud."""
    return {
        "first backup, requests": writes(asked) * prices.put,
        "a month's storage": asked.bytes / 1e9 * prices.month_per_gb,
        "a night, requests": writes(asked) * asked.changed_share * prices.put,
        "verify --full, requests": asked.files * prices.get,
        "verify, listing of names and sizes": asked.files / 1000 * prices.put,
    }


def night(asked: Asked, measured: Measured = MEASURED) -> dict[str, float]:
    """Seconds that each stage of a night takes by itself, in which few files have changed."""
    return {
        "listing: page after page": asked.files / asked.page * asked.page_seconds,
        "coordinator: comparing": asked.files * measured.unchanged_seconds,
        "tracker: changed files": asked.files * asked.changed_share / asked.requests_per_second,
    }


def lines(asked: Asked) -> list[str]:
    """All of it as Markdown."""
    kept, first, later = bookkeeping(asked), stages(asked), night(asked)
    return [
        f"{asked.files:,.0f} files, {asked.bytes / 1e12:,.0f} TB, {asked.workers:.0f} workers;",
        f"the tracker bears {asked.requests_per_second:,.0f} requests a second.",
        "",
        "| stage of the first backup, by itself | days |",
        "| --- | --- |",
        *(f"| {name} | {seconds / DAY:.2f} |" for name, seconds in by_length(first)),
        "",
        "| stage of a night, by itself | hours |",
        "| --- | --- |",
        *(f"| {name} | {seconds / 3600:.1f} |" for name, seconds in by_length(later)),
        "",
        "| what is kept beside the files | |",
        "| --- | --- |",
        f"| catalog | {kept['catalog'] / GIB:,.0f} GiB |",
        f"| journal | {kept['journal'] / GIB:,.0f} GiB |",
        f"| the journal crosses the coordinator's line in | {kept['copy'] / 60:,.0f} min |",
        f"| a coordinator that is lost at the end has files fetched again of the last | {kept['lost'] / 3600:.1f} h |",
        "",
        "| price | US dollars |",
        "| --- | --- |",
        *(f"| {name} | {dollars:,.0f} |" for name, dollars in money(asked).items()),
    ]


def by_length(stages: dict[str, float]) -> list[tuple[str, float]]:
    """The longest first."""
    return sorted(stages.items(), key=lambda stage: -stage[1])


def main() -> None:
    """Each field of `Asked` is an option."""
    words = argparse.ArgumentParser(prog="python -m tests.bench.model")
    for field in fields(Asked):
        words.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    print("\n".join(lines(Asked(**vars(words.parse_args())))))  # noqa: T201 - this is a program


if __name__ == "__main__":
    main()
