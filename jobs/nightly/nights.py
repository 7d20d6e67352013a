"""The nights of several configurations: one after the other, or some at a time. A failure stops no other."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from migrator.config import Configuration, is_address, known_secrets, read_configuration, read_notify
from migrator.errors import ArchiveDamagedError, ConfigError
from migrator.filenames import readable
from migrator.jobs.nightly.checks import check_nights
from migrator.jobs.nightly.findings import findings_of
from migrator.jobs.nightly.memory import Memory, recall, remember
from migrator.jobs.nightly.metrics import MetricsFiles, labels_of, samples_of
from migrator.jobs.nightly.night import CONFIGURATION, Night
from migrator.jobs.nightly.reporting import NightReporter, unless_stopped
from migrator.jobs.nightly.sending import Notifier
from migrator.jobs.nightly.severity import status_of, worst
from migrator.jobs.output import Output
from migrator.jobs.place import place_of
from migrator.jobs.remote import holder_elsewhere
from migrator.pipeline.summary import NightlySummary, NightResult, StepError
from migrator.store import is_archive

LOOK_SECONDS = 2.0
MAX_WAIT_SECONDS = 200.0
"""Some more than the lease of a lock: a holder that has died does not renew it."""


@dataclass(frozen=True, slots=True)
class NightEnd:
    """How a night ended: the exit status that it means, and what there is to report."""

    code: int
    result: NightResult


async def run_nights(paths: list[Path], parallel: int, output: Output, stop: asyncio.Event) -> NightlySummary:
    """All of them, in the given order, at most `parallel` at a time. `ConfigError` if two have the same report."""
    began = time.monotonic()
    _require_own_reports(paths)
    ends = await _Nights(paths, parallel, output, stop).run()
    return summary_of(ends, time.monotonic() - began)


async def run_night(path: Path, output: Output, stop: asyncio.Event, shown: Path | None = None) -> NightEnd:
    """One of several nights that are done elsewhere. `shown`: on a worker of a cluster, where `path` is a copy of it.

    There the fetching is not spread, too, and a lock is waited for that may be of a worker that died at this night.
    """
    return await _Nights([path], 1, output, stop, alone=shown is not None, shown=shown).night_of(path)


@dataclass(slots=True)
class _Nights:
    paths: list[Path]
    parallel: int
    output: Output
    stop: asyncio.Event
    alone: bool | None = None
    shown: Path | None = None
    metrics: MetricsFiles = field(default_factory=MetricsFiles)
    archives: dict[Path, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def run(self) -> list[NightEnd]:
        seats = asyncio.Semaphore(self.parallel)

        async def take_turn(path: Path) -> NightEnd:
            async with seats:
                return await self.night_of(path)

        return await asyncio.gather(*map(take_turn, self.paths))

    async def night_of(self, path: Path) -> NightEnd:
        """One of them."""
        night = await self._night_of(path)
        return NightEnd(night.code, night.result())

    async def _night_of(self, path: Path) -> Night:
        name = readable(self.shown or path)
        alone = len(self.paths) == 1 if self.alone is None else self.alone
        output = self.output.part("" if alone else name, bars=alone or self.parallel == 1)
        output.given = str(path)
        night = Night(name, output, self.stop)
        if self.stop.is_set():
            night.interrupted = True
            return night
        try:
            configuration = read_configuration(path)
        except ConfigError as error:
            night.failed(CONFIGURATION, error)
            await _reporter_of_a_bad_file(night, path).conclude(Memory())
            return night
        if self.shown is not None:
            configuration = _fetching_there(configuration)
            await _until_free(configuration, self.stop)
        async with self.archives[configuration.archive]:  # two configurations of one archive would refuse each other
            await self._configured(night, self.shown or path, configuration)
        return night

    async def _configured(self, night: Night, path: Path, configuration: Configuration) -> None:
        notify = configuration.settings.notify
        notifier = Notifier(notify, configuration.folder, night.output)
        await unless_stopped(notifier.ping("/start"), self.stop)
        await asyncio.to_thread(_warn_of_surprises, configuration, night)
        await night.run(configuration)
        recalled = recall(configuration.archive)
        memory = replace(recalled.memory, success=time.time()) if night.code == 0 else recalled.memory
        self._write_metrics(night, path, configuration, memory.success, recalled.verified_since)
        reporter = NightReporter(night, path, notify, notifier, lambda: known_secrets(configuration))
        memory = await reporter.conclude(memory)
        if memory != recalled.memory:
            remember(place_of(configuration), memory)

    def _write_metrics(
        self, night: Night, path: Path, configuration: Configuration, success: float | None, since: float | None
    ) -> None:
        wanted = configuration.settings.nightly.metrics
        if wanted is None:
            return
        file = configuration.resolve(wanted)
        values = samples_of(night, failures=len(findings_of(night)), success=success, verified_since=since)
        try:
            self.metrics.write(file, labels_of([path] if self.shown else self.paths)[path], values)
        except OSError as error:  # the exit status stands in the file, so it can't depend on it
            night.output.warn(f"the metrics could not be written to {readable(file)}: {error.strerror}")


def _reporter_of_a_bad_file(night: Night, path: Path) -> NightReporter:
    notify = read_notify(path)
    return NightReporter(night, path, notify, Notifier(notify, path.absolute().parent, night.output))


def _fetching_there(configuration: Configuration) -> Configuration:
    """The same, without the cluster that fetches: its workers do the nights."""
    settings = configuration.settings
    workers = settings.workers.model_copy(update={"dask": None})
    return replace(configuration, settings=settings.model_copy(update={"workers": workers}))


async def _until_free(configuration: Configuration, stop: asyncio.Event) -> None:
    """Wait until nobody holds the archive, but no longer than somebody who has died may hold it."""
    with suppress(ConfigError, TimeoutError):  # a key that is missing: the backup says so
        place = place_of(configuration)
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            while not stop.is_set() and (await asyncio.to_thread(holder_elsewhere, place)) is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_SECONDS)


def summary_of(ends: list[NightEnd], seconds: float) -> NightlySummary:
    """The status is that of the worst; so is the error, with the configuration's name if there are several."""
    code = worst(each.code for each in ends)
    results = tuple(each.result for each in ends)
    error = next((night.error for night in results if night.error and night.error.code == code), None)
    if error and len(results) > 1:
        of = next(night.config for night in results if night.error == error)
        error = StepError(error.code, f"{of}: {error.message}")
    return NightlySummary(status=status_of(code), error=error, seconds=seconds, results=results)


def _require_own_reports(paths: list[Path]) -> None:
    """`ConfigError` if two configurations have the same report, which the later night would write over."""
    owners: dict[Path, Path] = {}
    for path in paths:
        report = _report_of(path)
        if report is not None and (other := owners.setdefault(report, path)) != path:
            both = f"{readable(other)} and {readable(path)}"
            raise ConfigError(f"nightly.report: {both} have the same one, {readable(report)}")


def _report_of(path: Path) -> Path | None:
    with suppress(ConfigError):  # that night says so
        configuration = read_configuration(path)
        if (report := configuration.settings.nightly.report) is not None:
            return configuration.resolve(report).resolve()
    return None


def _warn_of_surprises(configuration: Configuration, night: Night) -> None:
    """Say what would otherwise be noticed when it is too late: an archive that isn't there, a message that can't be
    sent. A new archive is a failure of this night, status 5, where the report of an earlier night shows that there was
    one.
    """
    archive, report = configuration.archive, configuration.settings.nightly.report
    if not is_address(configuration.settings.archive) and not is_archive(archive):
        begins = f"found no archive at {readable(archive)}, so a new one begins"
        if report is not None and configuration.resolve(report).exists():
            mounted = f"is its disk mounted? An earlier night has left {readable(configuration.resolve(report))}"
            night.failed("archive", ArchiveDamagedError(f"{begins}; {mounted}"))
        else:
            night.output.warn(f"{begins}; if there should be one, is its disk mounted?")
    for check in check_nights(configuration):
        if not check.ok and check.check.startswith("notify."):
            night.output.warn(f"failures can't be reported: {check.detail}")
