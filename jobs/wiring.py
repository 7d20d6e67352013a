"""Builds trackers from the configuration: `RetryingSource(VerifiedSource(adapter(HttpClient)))`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from migrator.config import Configuration, Limits, Secrets, SourceSection, TargetSection, credentials, options_of
from migrator.errors import ConfigError
from migrator.jobs.runtime import OPEN_FILES
from migrator.layers import (
    DryRunTarget,
    ParanoidSource,
    RestoreTarget,
    RetryingSource,
    RetryingTarget,
    RetryPolicy,
    VerifiedSource,
)
from migrator.mapping import Rows, read_rows
from migrator.pipeline.stop import back_off
from migrator.ports import Source, Target
from migrator.selection import require_known_kinds
from migrator.store import require_descriptors
from migrator.trackers import Adapter, adapter
from migrator.wire import OBSOLETE_TLS_VERSIONS, HttpClient, Proxy, RateLimiter, Route, TlsFiles, Waits

T = TypeVar("T")
OPEN_FILES_PER_TRANSFER = 3
"""A file, an API connection, and a download connection."""

UNVERIFIED = (
    "{where}.tls.verify = false: NOBODY KNOWS WHO ANSWERS at {url}. Anyone in between can read the credentials "
    "and change every file; name the tracker's certificate in {where}.tls.ca_file instead"
)
"""The warning in each run if the certificate is not verified."""

OUTDATED = (
    '{where}.tls.minimum = "{minimum}": what goes to and comes from {url} may be read and changed on its way, as '
    "TLS {minimum} is broken; let the server, or a proxy before it, speak TLS 1.2"
)
"""The same for a TLS version that is broken."""


@dataclass(frozen=True, slots=True)
class Wired(Generic[T]):
    """A tracker ready for use, its identity in the catalog, and warnings for a person."""

    tracker: T
    identity: str
    warnings: list[str] = field(default_factory=list)


def wire_source(configuration: Configuration, *, paranoid: bool = False) -> Wired[Source]:
    """The source of a configuration; `paranoid`: files of unknown length are downloaded twice.

    Looks up secrets and certificates, and does no other I/O; `ConfigError` if that fails.
    """
    section, limits = configuration.settings.source, configuration.settings.limits
    parts = adapter(section.tracker)
    http, waits, warnings = _client(parts, section, "source", configuration, section.download_auth)
    inner = parts.source(http, options_of(section.options, parts.options, "source.options"))
    require_known_kinds(section.kinds, inner.capabilities.kinds, "source.kinds")
    checked = ParanoidSource(VerifiedSource(inner)) if paranoid else VerifiedSource(inner)
    return Wired(RetryingSource(checked, retry_policy(limits, waits)), identity(section), warnings)


def wire_target(configuration: Configuration, *, dry_run: bool = False) -> Wired[Target]:
    """The target of a configuration; for a dry run, one that sends nothing."""
    section = target_section(configuration)
    parts = adapter(section.tracker)
    http, waits, warnings = _client(parts, section, "target", configuration, {})
    inner = parts.target(http, options_of(section.options, parts.options, "target.options"))
    retrying = RetryingTarget(inner, retry_policy(configuration.settings.limits, waits))
    return Wired(DryRunTarget(retrying) if dry_run else retrying, identity(section), warnings)


def wire_restore(configuration: Configuration, *, dry_run: bool = False) -> Wired[Target]:
    """The source of a configuration, to put files back onto it.

    If [target] is the same tracker at the same address, its options apply before those of [source], and so do its
    credentials, if it has any.
    """
    source, target = configuration.settings.source, own_target(configuration)
    parts = adapter(source.tracker)
    options = options_of(source.options, parts.options, "source.options")
    if target:
        options_of(target.options, parts.options, "target.options")
        options = options_of({**source.options, **target.options}, parts.options, "target.options")
    if target and target.auth:
        http, waits, warnings = _client(parts, target, "target", configuration, {})
    else:
        http, waits, warnings = _client(parts, source, "source", configuration, source.download_auth)
    inner = RestoreTarget(parts.target(http, options))
    retrying = RetryingTarget(inner, retry_policy(configuration.settings.limits, waits))
    return Wired(DryRunTarget(retrying) if dry_run else retrying, identity(source), warnings)


def own_target(configuration: Configuration) -> TargetSection | None:
    """[target], if it is the source."""
    target = configuration.settings.target
    return target if target and identity(target) == identity(configuration.settings.source) else None


def wire_target_listing(configuration: Configuration) -> Wired[Source]:
    """The target as a source, to list its entities, with the target's credentials and options."""
    section = target_section(configuration)
    parts = adapter(section.tracker)
    http, waits, warnings = _client(parts, section, "target", configuration, {})
    inner = (parts.listing or parts.source)(http, options_of(section.options, parts.options, "target.options"))
    return Wired(RetryingSource(inner, retry_policy(configuration.settings.limits, waits)), identity(section), warnings)


def target_section(configuration: Configuration) -> TargetSection:
    """[target]; `ConfigError` if there is none."""
    if configuration.settings.target is None:
        raise ConfigError("the configuration has no [target] section")
    return configuration.settings.target


def mapping_rows(configuration: Configuration, target: Target) -> Rows:
    """The mapping file, its kinds checked against those of the target. `ConfigError` names the line."""
    rows = read_rows(configuration.mapping_file, may_be_missing=configuration.settings.mapping.create_missing)
    rows.require_target_kinds(target.capabilities.kinds)
    return rows


def identity(section: SourceSection | TargetSection) -> str:
    """What identifies a tracker in the catalog."""
    return f"{section.tracker} {section.url}"


def retry_policy(limits: Limits, waits: Waits | None = None) -> RetryPolicy:
    """The retry policy of [limits]. Its total wait allows one of the longest kind after some short ones."""
    max_total_wait = max(RetryPolicy().max_total_wait, limits.retry_after_max + 2 * limits.backoff_max)
    return RetryPolicy(
        limits.retries, limits.backoff, limits.backoff_max, max_total_wait, sleep=back_off, waits=waits or Waits()
    )


def _client(
    parts: Adapter,
    section: SourceSection | TargetSection,
    where: str,
    configuration: Configuration,
    download_auth: Secrets,
) -> tuple[HttpClient, Waits, list[str]]:
    """The client, the record of its waits, and warnings. `where` is the section's name, for errors."""
    limits, folder = configuration.settings.limits, configuration.folder
    require_descriptors(OPEN_FILES + OPEN_FILES_PER_TRANSFER * (limits.downloads + limits.uploads))
    keys, warnings = credentials(section.auth, parts.auth, f"{where}.auth", folder)
    file_signer = None
    if download_auth:
        file_keys, more = credentials(download_auth, parts.auth, f"{where}.download_auth", folder)
        file_signer, warnings = parts.signer(file_keys), warnings + more
    route, more = _route(configuration, section, where)
    waits = Waits()
    http = HttpClient(
        section.url,
        parts.signer(keys),
        files=file_signer,
        pacer=RateLimiter(limits.requests_per_second, limits.bandwidth, max_wait=limits.retry_after_max, waits=waits),
        timeout=limits.timeout,
        connections=min(parts.capabilities.max_connections, limits.downloads + limits.uploads),
        route=route,
    )
    return http, waits, more + warnings


def _route(configuration: Configuration, section: SourceSection | TargetSection, where: str) -> tuple[Route, list[str]]:
    """TLS and proxy settings for a tracker, and warnings. Reads certificates; `ConfigError` names the wrong key."""
    proxy, warnings = _proxy(configuration, section, where)
    if section.tls is None:
        return Route(proxy=proxy), warnings
    paths = section.tls.model_dump(include={"ca_file", "client_cert", "client_key"}, exclude_none=True)
    files = {key: configuration.resolve(written) for key, written in paths.items()}
    tls = section.tls
    own_origin, other_origins = TlsFiles(
        f"{where}.tls", **files, verify=tls.verify, minimum=tls.minimum or ""
    ).contexts()
    if tls.minimum in OBSOLETE_TLS_VERSIONS:
        warnings = [OUTDATED.format(where=where, url=section.url, minimum=tls.minimum), *warnings]
    if not tls.verify:
        warnings = [UNVERIFIED.format(where=where, url=section.url), *warnings]
    return Route(own_origin, other_origins, proxy), warnings


def _proxy(
    configuration: Configuration, section: SourceSection | TargetSection, where: str
) -> tuple[Proxy | None, list[str]]:
    if section.proxy is None:
        if section.proxy_auth:
            raise ConfigError(f"configuration: {where}.proxy_auth is of no use without {where}.proxy")
        return None, []
    keys: dict[str, str] = {}
    warnings: list[str] = []
    if section.proxy_auth:
        wanted = (("username", "password"),)
        keys, warnings = credentials(section.proxy_auth, wanted, f"{where}.proxy_auth", configuration.folder)
    if section.url.startswith("http:"):
        warnings = [*warnings, f"{where}.url is not https: the proxy sees the tracker's credentials"]
    return Proxy(section.proxy, **keys), warnings
