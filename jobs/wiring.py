"""Builds trackers from the configuration: `RetryingSource(VerifiedSource(adapter(HttpClient)))`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from migrator.config import Configuration, Limits, SourceSection, TargetSection, options_of
from migrator.errors import ConfigError
from migrator.jobs.access import access
from migrator.jobs.place import plain_keys
from migrator.jobs.recipe import SourceRecipe
from migrator.layers import MAX_FIRST_RETRIES, DryRunTarget, RestoreTarget, RetryingSource, RetryingTarget, RetryPolicy
from migrator.pipeline.stop import back_off
from migrator.ports import Source, Target
from migrator.selection import require_known_kinds
from migrator.trackers import Adapter, adapter
from migrator.wire import HttpClient, Recorder, Waits

if TYPE_CHECKING:
    from migrator.mapping import Rows

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wired(Generic[T]):
    """A tracker ready for use, its identity in the catalog, warnings for a person, and the waits for it."""

    tracker: T
    identity: str
    warnings: list[str] = field(default_factory=list)
    waits: Waits = field(default_factory=Waits)


@dataclass(frozen=True, slots=True)
class WiredSource(Wired[Source]):
    """A source, its client, and how fetch workers build it. `own_files`: files want other credentials.

    `workers` is [limits] workers.
    """

    http: HttpClient = field(kw_only=True)
    recipe: SourceRecipe = field(kw_only=True)
    own_files: bool = field(kw_only=True)
    workers: int | Literal["auto"] = field(kw_only=True)


def wire_source(
    configuration: Configuration,
    *,
    paranoid: bool = False,
    patient: bool = False,
    recorder: Recorder | None = None,
) -> WiredSource:
    """The source of a configuration; `paranoid`: files of unknown length are downloaded twice.

    `patient`: the first login is tried as often as any request. A tracker that restarts at night costs no backup then.
    A `recorder` keeps what travels.

    Looks up secrets and certificates, and does no other I/O; `ConfigError` if that fails.
    """
    section = configuration.settings.source
    parts = adapter_of(section, "source")
    found = access(parts, section, "source", configuration, section.download_auth, recorder)
    http, limits = found.client(), configuration.settings.limits
    options = options_of(section.options, parts.options, "source.options")
    policy = retry_policy(limits, found.waits, limits.retries if patient else MAX_FIRST_RETRIES)
    recipe = SourceRecipe(section.tracker, found.reach, options, policy, limits.downloads, paranoid)
    source = recipe.build(http, login=found.login)
    require_known_kinds(section.kinds, source.capabilities.kinds, "configuration: source.kinds")
    return WiredSource(
        source,
        identity(section),
        [*found.warnings, *plain_keys(configuration)],
        found.waits,
        http=http,
        recipe=recipe,
        own_files=found.files is not None,
        workers=limits.workers,
    )


def wire_target(
    configuration: Configuration, *, dry_run: bool = False, recorder: Recorder | None = None
) -> Wired[Target]:
    """The target of a configuration; for a dry run, one that sends nothing. A `recorder` keeps what travels."""
    section = target_section(configuration)
    parts = adapter_of(section, "target")
    found = access(parts, section, "target", configuration, {}, recorder)
    inner = parts.target(found.client(), options_of(section.options, parts.options, "target.options"))
    retrying = RetryingTarget(inner, retry_policy(configuration.settings.limits, found.waits), login=found.login)
    warnings = [*found.warnings, *plain_keys(configuration)]
    return Wired(DryRunTarget(retrying) if dry_run else retrying, identity(section), warnings, found.waits)


def wire_restore(configuration: Configuration, *, dry_run: bool = False) -> Wired[Target]:
    """The source of a configuration, to put files back onto it.

    If [target] is the same tracker at the same address, its options apply before those of [source], and so do its
    credentials, if it has any.
    """
    source, target = configuration.settings.source, own_target(configuration)
    parts = adapter_of(source, "source")
    options = options_of(source.options, parts.options, "source.options")
    if target:
        options_of(target.options, parts.options, "target.options")
        options = options_of({**source.options, **target.options}, parts.options, "target.options")
    if target and target.auth:
        found = access(parts, target, "target", configuration, {})
    else:
        found = access(parts, source, "source", configuration, source.download_auth)
    inner = RestoreTarget(parts.target(found.client(), options))
    retrying = RetryingTarget(inner, retry_policy(configuration.settings.limits, found.waits), login=found.login)
    return Wired(DryRunTarget(retrying) if dry_run else retrying, identity(source), found.warnings, found.waits)


def own_target(configuration: Configuration) -> TargetSection | None:
    """[target], if it is the source."""
    target = configuration.settings.target
    return target if target and identity(target) == identity(configuration.settings.source) else None


def wire_target_listing(configuration: Configuration) -> Wired[Source]:
    """The target as a source, to list its entities, with the target's credentials and options."""
    section = target_section(configuration)
    parts = adapter_of(section, "target")
    found = access(parts, section, "target", configuration, {})
    options = options_of(section.options, parts.options, "target.options")
    inner = (parts.listing or parts.source)(found.client(), options)
    policy = retry_policy(configuration.settings.limits, found.waits)
    return Wired(RetryingSource(inner, policy, login=found.login), identity(section), found.warnings, found.waits)


def adapter_of(section: SourceSection | TargetSection, where: str) -> Adapter:
    """The adapter of a section's tracker; `ConfigError` names the key if there is none that can be used."""
    try:
        return adapter(section.tracker)
    except ConfigError as error:
        raise ConfigError(f"configuration: {where}.tracker: {error}") from None


def target_section(configuration: Configuration) -> TargetSection:
    """[target]; `ConfigError` if there is none."""
    if configuration.settings.target is None:
        raise ConfigError("the configuration has no [target] section")
    return configuration.settings.target


def mapping_rows(configuration: Configuration, target: Target) -> Rows:
    """The mapping file, its kinds checked against those of the target. `ConfigError` names the line."""
    from migrator.mapping import read_rows

    rows = read_rows(configuration.mapping_file, may_be_missing=configuration.settings.mapping.create_missing)
    rows.require_target_kinds(target.capabilities.kinds)
    return rows


def identity(section: SourceSection | TargetSection) -> str:
    """What identifies a tracker in the catalog."""
    return f"{section.tracker} {section.url}"


def retry_policy(limits: Limits, waits: Waits | None = None, first_retries: int = MAX_FIRST_RETRIES) -> RetryPolicy:
    """The retry policy of [limits]. Its total wait allows one of the longest kind after some short ones."""
    max_total_wait = max(RetryPolicy().max_total_wait, limits.retry_after_max + 2 * limits.backoff_max)
    return RetryPolicy(
        limits.retries,
        limits.backoff,
        limits.backoff_max,
        max_total_wait,
        first_retries=first_retries,
        sleep=back_off,
        waits=waits or Waits(),
    )
