"""`migrator demo`: the whole job on embedded trackers, as a person would do it, from configuration to check.

It uses the same configuration files, wiring and pipelines as the real commands; only the trackers are embedded. The
final check asks the target, not our catalog.
"""

from __future__ import annotations

import asyncio
import csv
import json
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.output import Output
from migrator.model import RunStatus
from migrator.pipeline.summary import BackupSummary, DemoStep, DemoSummary, LoadSummary
from migrator.units import counted

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.sandbox import Sandbox

ENTITIES = 300
FAULT_RATE = 0.05
"""The share of requests that fail."""
STOP_AFTER_DOWNLOADS = 250
"""Downloads after which the first backup is interrupted."""

_CONFIG = """# Written by `migrator demo`; the trackers are gone when it has ended.
archive = "archive"

[source]
tracker = "targetprocess"
url = "{source}"

[source.auth]
username = {source_user}
password = {{ file = "password.txt" }}

[target]
tracker = "teampulse"
url = "{target}"

[target.auth]
username = {target_user}
password = {{ file = "password.txt" }}

[limits]
backoff = "0.05 s"
"""


@click.command("demo")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the configuration and the archive in this folder.",
)
@click.pass_obj
def command(output: Output, /, *, keep: Path | None) -> DemoSummary:
    """The whole job on embedded sandbox trackers, in less than a minute, on this machine alone.

    Starts a Targetprocess and a TeamPulse, backs up the first while it fails now and then, is interrupted, resumes,
    verifies the archive, loads it into the second, loads again, and checks the target file by file.
    """
    from migrator.errors import ConfigError
    from migrator.jobs.runtime import run_job

    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise ConfigError(f"{keep} is not empty")
        keep.mkdir(parents=True, exist_ok=True)
    with nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory(prefix="migrator-demo-") as folder:
        return run_job(lambda stop: _demo(output, Path(folder), stop, kept=keep is not None))


async def _demo(output: Output, folder: Path, stop: asyncio.Event, *, kept: bool) -> DemoSummary:
    from migrator.sandbox import Faults, TargetprocessSandbox, TeamPulseSandbox, World

    world = World.generate(entities=ENTITIES)
    source_faults = Faults.transient(FAULT_RATE)
    target_faults = Faults(lose_upload_answers=3, error_500=FAULT_RATE)
    async with (
        TargetprocessSandbox(world, source_faults) as source,
        TeamPulseSandbox(world.without_attachments(), target_faults) as target,
    ):
        _write_files(folder, source, target)
        steps: list[DemoStep] = []
        backup, load = await _play(output, folder, source, target, steps, stop)
        steps.append(_compare(source, target, _changed_names(folder / "archive")))
    ended = RunStatus.COMPLETE if all(step.ok for step in steps) else RunStatus.INCOMPLETE
    return DemoSummary(
        status=RunStatus.INTERRUPTED if stop.is_set() else ended,
        kept=str(folder) if kept else None,
        steps=tuple(steps),
        backup=backup,
        load=load,
    )


async def _play(
    output: Output, folder: Path, source: Sandbox, target: Sandbox, steps: list[DemoStep], stop: asyncio.Event
) -> tuple[BackupSummary, LoadSummary]:
    """Run the commands, and add to `steps` how each went."""
    from migrator.config import read_configuration
    from migrator.jobs.commands.backup import run_backup
    from migrator.jobs.commands.load import run_load
    from migrator.jobs.runtime import held_archive, held_folder
    from migrator.pipeline.accept import Choice, accept
    from migrator.pipeline.verify import verify

    def add(step: str, what: str, *, ok: bool) -> None:
        steps.append(DemoStep(step, what, ok))

    configuration = read_configuration(folder / "config.toml")
    output.note("demo: a backup of Targetprocess, interrupted on purpose")
    interrupted = await _interrupted_backup(configuration, output, source, stop)
    counts = interrupted.attachments
    add(
        "backup, interrupted",
        f"{counted(counts['stored'], 'file')} stored, then stopped",
        ok=interrupted.status is RunStatus.INTERRUPTED,
    )
    output.note("demo: the same command again; it resumes")
    backup = await run_backup(configuration, output, stop)
    counts = backup.attachments
    unreachable = [failure for failure in backup.failures if (failure.attachment or "").startswith("inline:")]
    add(
        "backup, resumed",
        f"{counts['stored']} more stored, {counts['unchanged']} not fetched again; faults met: {_faults(source)}",
        ok=counts["unchanged"] > 0,
    )
    with held_archive(configuration.archive, "accept") as (_, catalog):
        accepted = accept(catalog, Choice(everything=True)).changed
    add(
        "not reachable",
        f"{len(unreachable)} inline images that the tracker's API can't download: listed, and accepted as such",
        ok=len(unreachable) == accepted == counts["failed"] > 0,
    )
    with held_folder(configuration.archive, "verify") as archive:
        verified = await verify(archive, stop=stop)
    add(
        "verify",
        f"{counted(verified.blobs, 'blob')} hashed again, {counted(len(verified.problems), 'problem')}",
        ok=verified.status is RunStatus.COMPLETE,
    )
    output.note("demo: the archive goes into TeamPulse, twice")
    load = await run_load(configuration, output, stop)
    add(
        "load",
        f"{counted(load.uploads.uploaded, 'file')} uploaded; faults met: {_faults(target)}",
        ok=load.status is RunStatus.COMPLETE,
    )
    second = await run_load(configuration, output, stop)
    add("load again", f"{counted(second.uploads.uploaded, 'file')} uploaded", ok=second.uploads.uploaded == 0)
    return backup, load


async def _interrupted_backup(
    configuration: Configuration, output: Output, source: Sandbox, stop: asyncio.Event
) -> BackupSummary:
    """A backup that is stopped, as by Ctrl-C, after some files."""
    from migrator.jobs.commands.backup import run_backup

    interrupt = asyncio.Event()

    async def watch() -> None:
        while source.downloads.total() < STOP_AFTER_DOWNLOADS and not stop.is_set():  # noqa: ASYNC110 - a counter, no event
            await asyncio.sleep(0.01)
        interrupt.set()

    watcher = asyncio.create_task(watch())
    try:
        return await run_backup(configuration, output, interrupt)
    finally:
        watcher.cancel()


def _faults(sandbox: Sandbox) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(sandbox.faults.injected.items())) or "none"


def _write_files(folder: Path, source: Sandbox, target: Sandbox) -> None:
    """Write configuration, secret and mapping, as a person would."""
    words = {
        "source": source.url,
        "source_user": json.dumps(source.user),
        "target": target.url,
        "target_user": json.dumps(target.user),
    }
    (folder / "config.toml").write_text(_CONFIG.format(**words), encoding="utf-8")
    (folder / "password.txt").write_text(source.password, encoding="utf-8")
    (folder / "password.txt").chmod(0o600)
    with (folder / "mapping.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["source_kind", "source_id", "target_kind", "target_id"])
        rows.writerow(["Unlinked", "", "", source.world.entities[0].id])
        for entity in source.world.entities:
            rows.writerow([source.kind_of(entity.id), entity.id, target.kind_of(entity.id), entity.id])


def _compare(source: Sandbox, target: Sandbox, names: dict[str, str]) -> DemoStep:
    """Compare the two trackers file by file; `names` are names that had to be made legal, by attachment id."""
    world, first = source.world, source.world.entities[0]
    unlinked = [file for file in world.attachments if world.owner_of(file) is None]
    same = 0
    good = True
    for entity in world.entities:
        files = [*world.attachments_of(entity.id), *(unlinked if entity is first else ())]
        wanted = Counter((names.get(str(file.id), file.name), source.state.sha256_of(file)) for file in files)
        actual = Counter((file.name, file.sha256) for file in target.state.files_of(entity.id))
        same += (wanted & actual).total()
        good &= wanted == actual
    result = f"{same} of {counted(len(world.attachments), 'file')} there exactly once, by name and SHA-256"
    renamed = f"; {len(names)} names had to be made legal" if names else ""
    return DemoStep("check of the target", result + renamed, good)


def _changed_names(archive: Path) -> dict[str, str]:
    from migrator.store import Catalog

    catalog = Catalog(archive, read_only=True)
    try:
        return catalog.exports.changed_names()
    finally:
        catalog.close()
