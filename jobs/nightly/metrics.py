"""Metrics of nights as a textfile for Prometheus' node_exporter, written whole or not at all.

Several configurations may name the same file: it then has a sample of each. Nights of other calls of the program are
not in it, so each call needs a file of its own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from migrator.filenames import readable
from migrator.jobs.nightly.night import Night
from migrator.pipeline.summary import BackupSummary
from migrator.whole_file import whole_file

READABLE_BY_ALL = 0o644
"""node_exporter has an account of its own, and nothing in the file is secret."""

HELP = {
    "last_success_timestamp_seconds": "When a night last ended with exit status 0 (Unix time).",
    "last_run_timestamp_seconds": "When the last night ended (Unix time).",
    "last_run_duration_seconds": "How long the last night took.",
    "last_run_exit_status": "Exit status of the last night: 0 all done, 3 some files failed, 5 damaged, ...",
    "last_run_failures": "Files, listings, blobs and steps that failed or are damaged.",
    "last_run_files_listed": "Files that the source listed.",
    "last_run_files_stored": "Files that the last night stored, because they were new or had changed.",
    "last_run_bytes_stored": "Bytes of these files.",
    "oldest_unverified_blob_age_seconds": "Each blob was hashed within this time, at first since the first run.",
}


def samples_of(
    night: Night, *, failures: int, success: float | None, verified_since: float | None
) -> dict[str, float | None]:
    """The values by the names of HELP; None for what is unknown."""
    now, backup = time.time(), night.steps.get("backup")
    values: dict[str, float | None] = {
        "last_success_timestamp_seconds": success,
        "last_run_timestamp_seconds": now,
        "last_run_duration_seconds": time.monotonic() - night.began,
        "last_run_exit_status": night.code,
        "last_run_failures": failures,
        "oldest_unverified_blob_age_seconds": None if verified_since is None else max(0.0, now - verified_since),
    }
    if isinstance(backup, BackupSummary):
        values["last_run_files_listed"] = backup.attachments["listed"]
        values["last_run_files_stored"] = backup.attachments["stored"]
        values["last_run_bytes_stored"] = backup.bytes
    return values


def labels_of(paths: Sequence[Path]) -> dict[Path, str]:
    """A label for each configuration: its name, or the whole path where two have the same name."""
    names = [path.name for path in paths]
    return {path: readable(Path(path.name) if names.count(path.name) == 1 else path.absolute()) for path in paths}


class MetricsFiles:
    """The textfiles of one call."""

    def __init__(self) -> None:
        self._nights: dict[Path, dict[str, dict[str, float | None]]] = defaultdict(dict)

    def write(self, path: Path, label: str, values: dict[str, float | None]) -> None:
        """Write the file with these samples and with those that it already has of this call. Raises `OSError`."""
        nights = self._nights[path]
        nights[label] = values
        with whole_file(path, READABLE_BY_ALL) as file:
            file.write(exposition(nights))


def exposition(nights: dict[str, dict[str, float | None]]) -> str:
    """Samples by label and name, in Prometheus' text format."""
    lines = []
    for name, meaning in HELP.items():
        rows = [(label, values.get(name)) for label, values in nights.items()]
        known = [
            f'migrator_{name}{{config="{_escaped(label)}"}} {value!r}' for label, value in rows if value is not None
        ]
        if known:
            lines += [f"# HELP migrator_{name} {meaning}", f"# TYPE migrator_{name} gauge", *known]
    return "".join(f"{line}\n" for line in lines)


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
