"""What a configuration says of reaching a tracker: address and limits, TLS and proxy, and the credentials."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.config import Configuration, Secrets, SourceSection, TargetSection, credentials
from migrator.errors import ConfigError
from migrator.jobs.runtime import OPEN_FILES
from migrator.layers import Login
from migrator.store import require_descriptors
from migrator.trackers import Adapter
from migrator.wire import OBSOLETE_TLS_VERSIONS, HttpClient, Proxy, Reach, Recorder, Signer, TlsFiles, Waits

OPEN_FILES_PER_TRANSFER = 3
"""A file, an API connection, and a download connection."""

UNVERIFIED = (
    "{where}.tls.verify = false: the server at {url} is NOT VERIFIED. Anyone in between can read the credentials "
    "and change every file; name the tracker's certificate in {where}.tls.ca_file instead"
)
"""The warning in each run if the certificate is not verified."""

OUTDATED = (
    '{where}.tls.minimum = "{minimum}": traffic with {url} can be read and changed on the way, because '
    "TLS {minimum} is broken; have the server, or a proxy in front of it, use TLS 1.2"
)
"""The same for a TLS version that is broken."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a section's tracker is reached, and by whom; `files` signs downloads that want other credentials.

    `login` explains a login that fails.
    """

    reach: Reach
    signer: Signer
    files: Signer | None
    warnings: list[str]
    login: Login
    waits: Waits = field(default_factory=Waits)

    def client(self) -> HttpClient:
        """The client of this process, which counts the rate and logs the waits."""
        return self.reach.client(self.signer, self.files, self.reach.rate(self.waits))


def access(
    parts: Adapter,
    section: SourceSection | TargetSection,
    where: str,
    configuration: Configuration,
    download_auth: Secrets,
    recorder: Recorder | None = None,
) -> Access:
    """What a section says of its tracker. `where` is the section's name, for errors. Looks up secrets."""
    limits, folder = configuration.settings.limits, configuration.folder
    require_descriptors(OPEN_FILES + OPEN_FILES_PER_TRANSFER * (limits.downloads + limits.uploads))
    keys, warnings = credentials(section.auth, parts.auth, f"{where}.auth", folder)
    files = None
    if download_auth:
        file_keys, more = credentials(download_auth, parts.auth, f"{where}.download_auth", folder)
        files, warnings = parts.signer(file_keys), warnings + more
    proxy, of_proxy = _proxy(configuration, section, where)
    tls, of_tls = _tls(configuration, section, where)
    reach = Reach(
        section.url,
        tls,
        proxy,
        connections=min(parts.capabilities.max_connections, limits.downloads + limits.uploads),
        timeout=limits.timeout,
        requests_per_second=limits.requests_per_second,
        bytes_per_second=limits.bandwidth,
        max_wait=limits.retry_after_max,
        recorder=recorder,
    )
    name = parts.guide.name or section.tracker
    login = Login(where, name, section.url, tuple(keys), keys.get("username", ""), proxied=proxy is not None)
    return Access(reach, parts.signer(keys), files, [*of_tls, *of_proxy, *warnings], login)


def _tls(
    configuration: Configuration, section: SourceSection | TargetSection, where: str
) -> tuple[TlsFiles | None, list[str]]:
    if section.tls is None:
        return None, []
    paths = section.tls.model_dump(include={"ca_file", "client_cert", "client_key"}, exclude_none=True)
    files = {key: configuration.resolve(written) for key, written in paths.items()}
    tls, warnings = section.tls, list[str]()
    if not tls.verify:
        warnings.append(UNVERIFIED.format(where=where, url=section.url))
    if tls.minimum in OBSOLETE_TLS_VERSIONS:
        warnings.append(OUTDATED.format(where=where, url=section.url, minimum=tls.minimum))
    return TlsFiles(f"{where}.tls", **files, verify=tls.verify, minimum=tls.minimum or ""), warnings


def _proxy(
    configuration: Configuration, section: SourceSection | TargetSection, where: str
) -> tuple[Proxy | None, list[str]]:
    if section.proxy is None:
        if section.proxy_auth:
            raise ConfigError(f"configuration: {where}.proxy_auth has no effect without {where}.proxy")
        return None, []
    keys: dict[str, str] = {}
    warnings: list[str] = []
    if section.proxy_auth:
        wanted = (("username", "password"),)
        keys, warnings = credentials(section.proxy_auth, wanted, f"{where}.proxy_auth", configuration.folder)
    if section.url.startswith("http:"):
        warnings = [*warnings, f"{where}.url is not https: the proxy sees the tracker's credentials"]
    return Proxy(section.proxy, **keys), warnings
