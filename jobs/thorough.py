"""`migrator check --thorough`: the probes of `migrator.pipeline.thorough` at the trackers of a configuration."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from migrator import __version__
from migrator.config import Configuration, credentials
from migrator.errors import ConfigError
from migrator.jobs.access import access
from migrator.jobs.output import Output
from migrator.jobs.wiring import wire_source, wire_target
from migrator.model import EntityRef
from migrator.pipeline.summary import Check, CheckSummary
from migrator.pipeline.thorough import probe_source, probe_target, report_of
from migrator.ports import Source
from migrator.trackers import adapter
from migrator.whole_file import whole_file
from migrator.wire import Recorder

RETRIES, MAX_BACKOFF, MAX_TOTAL_WAIT = 2, 5.0, 15.0
"""Of a request, in seconds: what fails for longer than that is a finding."""


async def source_checks(
    configuration: Configuration, output: Output, recorder: Recorder | None = None
) -> tuple[Check, ...]:
    """What the probes find at [source]."""
    build, stranger = _builder(configuration, recorder), _stranger(configuration, recorder)
    source = build()
    try:
        return await probe_source(source, build, stranger, _noting(output, "source", recorder))
    finally:
        await source.close()


async def target_checks(
    configuration: Configuration, to: EntityRef, output: Output, recorder: Recorder | None = None
) -> tuple[Check, ...]:
    """What the probes find at [target], on an entity of it. Writes there."""
    wired = wire_target(configuration, recorder=recorder)
    kinds = wired.tracker.capabilities.kinds
    if not to.kind and len(kinds) == 1:
        to = EntityRef(kinds[0], to.id)
    if not to.kind or (kinds and to.kind not in kinds):
        raise ConfigError(f"--entity must be KIND:ID, with one of the target's kinds: {', '.join(kinds)}")
    try:
        return await probe_target(wired.tracker, to, _noting(output, "target", recorder))
    finally:
        await wired.tracker.close()


def write_report(path: Path, configuration: Configuration, summary: CheckSummary) -> None:
    """Write what a user can send to us. `ConfigError` if the file is there."""
    settings = configuration.settings
    capabilities = {"source": adapter(settings.source.tracker).capabilities}
    if settings.target is not None:
        capabilities["target"] = adapter(settings.target.tracker).capabilities
    with whole_file(path) as file:
        json.dump(report_of(summary, capabilities, __version__), file, indent=1)


def _noting(output: Output, side: str, recorder: Recorder | None) -> Callable[[str], None]:
    def note(name: str) -> None:
        output.note(f"{side}: trying {name} ...")
        if recorder:
            recorder.case = name

    return note


def _builder(configuration: Configuration, recorder: Recorder | None) -> Callable[[], Source]:
    """Makes the source, each time with connections of its own."""

    def build() -> Source:
        wired = wire_source(configuration, recorder=recorder)
        policy = replace(wired.recipe.policy, retries=RETRIES, backoff_max=MAX_BACKOFF, max_total_wait=MAX_TOTAL_WAIT)
        return replace(wired.recipe, policy=policy).build(wired.http)

    return build


def _stranger(configuration: Configuration, recorder: Recorder | None) -> Callable[[], Source]:
    """Makes the source as somebody without an account sees it."""

    def build() -> Source:
        section = configuration.settings.source
        parts, recipe = adapter(section.tracker), wire_source(configuration).recipe
        keys, _ = credentials(section.auth, parts.auth, "source.auth", configuration.folder)
        found = access(parts, section, "source", configuration, {}, recorder)
        http = found.reach.client(parts.signer(made_up(keys)), None, found.reach.rate(found.waits))
        return recipe.build(http)

    return build


def made_up(keys: Mapping[str, str]) -> dict[str, str]:
    """Credentials of the same shape that nobody has. The user is another one, so that no account is locked."""
    word = f"migrator-check-{secrets.token_hex(8)}"
    return {key: f"{value.partition('=')[0]}={word}" if key == "cookie" else word for key, value in keys.items()}
