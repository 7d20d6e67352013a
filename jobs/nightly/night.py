"""The night of one configuration, step by step.

A step that fails is recorded, and those that still make sense are done. After a stop no step begins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from migrator.config import Configuration
from migrator.errors import ConfigError, ItemFailedError, MigratorError, TrackerUnreachableError
from migrator.jobs.commands.backup import run_backup
from migrator.jobs.commands.prune import configured_retention, run_prune
from migrator.jobs.commands.report import write_report
from migrator.jobs.commands.verify import run_verify
from migrator.jobs.nightly.severity import CODE_OF, status_of, worst
from migrator.jobs.output import Output
from migrator.jobs.place import place_of
from migrator.jobs.runtime import read_archive
from migrator.jobs.wiring import identity
from migrator.model import RunStatus
from migrator.pipeline.condition import known_problems
from migrator.pipeline.prune import Retention
from migrator.pipeline.summary import NightResult, Notified, Problem, StepError, Summary, VerifySummary
from migrator.pipeline.verify import Portion
from migrator.store import is_archive

LOG = logging.getLogger("migrator")
BUG = "an unexpected error: this is a bug; the log has its traceback"
CONFIGURATION = "configuration"
"""In place of a step's name, where there was no configuration; its error says so itself."""
HOPELESS_CODES = frozenset({6, 7})
"""Exit statuses of a backup after which no other step can work: each needs the archive, and room to write."""


@dataclass(slots=True)
class Night:
    """One configuration's steps, and how they ended."""

    name: str
    output: Output
    stop: asyncio.Event
    steps: dict[str, Summary] = field(default_factory=dict)
    errors: dict[str, StepError] = field(default_factory=dict)
    known_problems: tuple[Problem, ...] | None = None
    """Damage that is known, tonight's and that of earlier nights; None where the archive can't be read."""
    interrupted: bool = False
    notified: tuple[Notified, ...] = ()
    began: float = field(default_factory=time.monotonic)

    async def run(self, configuration: Configuration) -> None:
        """All steps that make sense."""
        nightly = configuration.settings.nightly
        work = run_backup(configuration, self.output, self.stop, recheck=nightly.recheck, full_every=nightly.full_every)
        await self.step("backup", work)
        if self._may_verify(configuration):
            portion = Portion(configuration.settings.nightly.verify)
            await self.step("verify", run_verify(place_of(configuration), portion, self.output, self.stop))
        self._look_for_damage(configuration)
        if self._may_prune(configuration):
            retention = configured_retention(configuration)
            await self.step("prune", run_prune(place_of(configuration), retention, self.output, self.stop))
        if self._may_report(configuration):
            out = configuration.resolve(configuration.settings.nightly.report or "")
            await self.step("report", asyncio.to_thread(write_report, configuration.archive, out))

    def _look_for_damage(self, configuration: Configuration) -> None:
        """After backup and verify: what one of them repaired is no longer damaged, and a sample sees a part only."""
        with suppress(MigratorError):
            if is_archive(configuration.archive):
                with read_archive(configuration.archive) as catalog:
                    self.known_problems = tuple(known_problems(catalog))

    def _goes_on(self, configuration: Configuration) -> bool:
        if self.stop.is_set() or self.interrupted:
            return False
        return not any(error.code in HOPELESS_CODES for error in self.errors.values()) and _is_archive_of(configuration)

    def _may_verify(self, configuration: Configuration) -> bool:
        """Also after a backup that failed: what is in the archive can rot while the tracker is away."""
        return configuration.settings.nightly.verify > 0 and self._goes_on(configuration)

    def _may_prune(self, configuration: Configuration) -> bool:
        """Only after a complete backup and a verify that found nothing.

        What an incomplete backup has not fetched may be held by an old snapshot alone, and so may the sound content of
        a file whose blob is damaged. With the tracker away for weeks, `keep_within` would leave one snapshot.
        """
        wanted = configured_retention(configuration) != Retention()
        backup, verify = self.steps.get("backup"), self.steps.get("verify")
        complete = backup is not None and backup.status is RunStatus.COMPLETE
        sound = (verify is None or verify.status is RunStatus.COMPLETE) and self.known_problems == ()
        return wanted and complete and sound and "verify" not in self.errors and self._goes_on(configuration)

    def _may_report(self, configuration: Configuration) -> bool:
        """Also after a backup that failed: the report says what failed, and since when nothing came."""
        return configuration.settings.nightly.report is not None and self._goes_on(configuration)

    async def step(self, name: str, work: Coroutine[Any, Any, Summary]) -> None:
        """Do one step; record its summary or its error."""
        try:
            self.steps[name] = await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.interrupted = True  # a step that a stop cuts short, such as a login
        except MigratorError as error:
            self.failed(name, error)
        except Exception:
            LOG.exception("%s: %s", name, BUG)
            self.errors[name] = StepError(1, f"{name}: {BUG}")

    def failed(self, name: str, error: MigratorError) -> None:
        """Record the error that ended a step, and say it."""
        if isinstance(error, ItemFailedError):
            error = TrackerUnreachableError(str(error))
        message = str(error) if name == CONFIGURATION else f"{name}: {error}"
        self.output.error(message)
        self.errors[name] = StepError(error.exit_code, message)

    @property
    def code(self) -> int:
        """The exit status that this night means: that of its worst step."""
        codes = [CODE_OF[summary.status] for summary in self.steps.values()]
        codes += [error.code for error in self.errors.values()]
        return worst([*codes, *([5] if self.known_problems else []), *([130] if self.interrupted else [])])

    @property
    def earlier_problems(self) -> tuple[Problem, ...]:
        """Damage that is known and that tonight's verify did not see."""
        verify = self.steps.get("verify")
        seen = {(each.code, each.path) for each in verify.problems} if isinstance(verify, VerifySummary) else set()
        return tuple(each for each in self.known_problems or () if (each.code, each.path) not in seen)

    def result(self) -> NightResult:
        """What there is to report."""
        code, errors = self.code, self.errors.values()
        steps: dict[str, Any] = dict(self.steps)
        return NightResult(
            config=self.name,
            status=status_of(code),
            error=next((error for error in errors if error.code == code), next(iter(errors), None)),
            problems=self.earlier_problems or None,
            notified=self.notified,
            warnings=tuple(self.output.warnings),
            seconds=time.monotonic() - self.began,
            **steps,
        )


def _is_archive_of(configuration: Configuration) -> bool:
    """Whether there is an archive, and not that of another tracker, in which a night must not leave a trace."""
    if not is_archive(configuration.archive):
        return False
    try:
        with read_archive(configuration.archive) as catalog:
            catalog.settings.require_no_other_source(identity(configuration.settings.source))
    except ConfigError:
        return False
    except MigratorError:
        return True  # each step says what is wrong with it
    return True
