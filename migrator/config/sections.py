"""The sections of the configuration file as pydantic models: types, defaults and what each key is for.

The docstring of a section describes its keys, one paragraph each. `migrator init` and the reference of all keys are
made from these docstrings, the defaults and the examples here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from yarl import URL

from migrator.config.base import Flag, PathText, Secret, Secrets, Section, address, example
from migrator.config.storage import EncryptionSection, StorageSection
from migrator.config.stores import store_address
from migrator.units import parse_duration, parse_rate, parse_share


def _proxy(value: object) -> str:
    try:
        url = URL(address(value))
    except ValueError as error:
        raise ValueError(str(error).replace("`auth`", "`proxy_auth`")) from None
    if url.scheme != "http" or url.path.strip("/"):
        raise ValueError('a proxy is written like "http://proxy.example:3128"')
    return str(url.origin())


def _rules(names: tuple[str, ...]) -> tuple[str, ...]:
    from migrator.mapping import parse_rule

    for name in names:
        parse_rule(name)
    return names


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Share = Annotated[float, BeforeValidator(parse_share)]
MAX_WORKERS = 64
"""Of [limits] workers; more would only take memory."""


class TlsSection(Section):
    """[source.tls] and [target.tls], see `migrator.wire.route`.

    ca_file         certificates in PEM that are trusted besides those of the system
    client_cert     the certificate that the tracker wants of this client
    client_key      its key, not encrypted; left out: it is in client_cert
    verify          false trusts whoever answers, with a warning in each run: for a test only
    minimum         the oldest TLS version that is spoken: "1.0", "1.1", "1.2" or "1.3"; left out: the system's choice
    """

    ca_file: Annotated[PathText | None, example("ca.pem")] = None
    client_cert: Annotated[PathText | None, example("client.pem")] = None
    client_key: Annotated[PathText | None, example("client.key")] = None
    verify: Flag = True
    minimum: Annotated[Literal["1.0", "1.1", "1.2", "1.3"] | None, example("1.2")] = None


class TrackerSection(Section):
    """[source] and [target].

    tracker         the name of an adapter
    url             the tracker's address, with the folder that it is installed in, if there is one
    auth            the credentials, by tracker; each is text or { env = "NAME" }, { file = "path" } or
                    { keyring = "service" }
    tls             certificates, see [source.tls]
    proxy           the proxy to the tracker; those that the environment names are not used
    proxy_auth      username and password for the proxy, where it asks for them
    options         by tracker, see below
    """

    tracker: Annotated[str, example("targetprocess")]
    url: Annotated[str, BeforeValidator(address), example("https://acme.tpondemand.com")]
    auth: Secrets = Field(default={})
    tls: TlsSection | None = None
    proxy: Annotated[Annotated[str, BeforeValidator(_proxy)] | None, example("http://proxy.example:3128")] = None
    proxy_auth: Secrets = Field(default={})
    options: dict[str, Any] = Field(default={})


class SourceSection(TrackerSection):
    """[source]

    kinds           only these kinds of entities; left out: all
    download_auth   other credentials for the files than for the API
    allow_forbidden  true: entities that the account may not read are expected; they are listed and don't count as
                    failed
    max_gone        if more than this share of the files is suddenly no longer listed, the run ends with status 3, and
                    none is called gone
    """

    kinds: Annotated[tuple[str, ...], example(["UserStory", "Bug"])] = ()
    download_auth: Secrets = Field(default={})
    allow_forbidden: Flag = False
    max_gone: Share = 0.2


class TargetSection(TrackerSection):
    """[target]

    provenance      true adds a line with author and date to a description where the API can't keep them otherwise
    """

    provenance: Flag = True


class MappingSection(Section):
    """[mapping]; the rules of `match` are in `migrator.mapping`.

    file            the mapping: which target entity each source entity becomes
    match           the rules of `migrator map`, the most trusted first: "title", "id", "title:PATTERN",
                    "custom:FIELD" and "custom:FIELD:PATTERN"
    create_missing  true: a load creates an entity for what has no row; some trackers need create_project for it
    """

    file: PathText = "mapping.csv"
    match: Annotated[tuple[str, ...], AfterValidator(_rules), Field(min_length=1)] = ("title",)
    create_missing: Flag = False


def _workers(value: object) -> object:
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_WORKERS):
        raise ValueError(f'a number of processes from 0 to {MAX_WORKERS}, or "auto"')
    return value


class Limits(Section):
    """[limits]; times in seconds, bandwidth in bytes per second, 0 for no limit.

    downloads       files that are fetched at once, at most
    uploads         files that are sent at once, at most
    requests_per_second  requests to one tracker in a second, with a burst of one second's worth; 0: no limit
    bandwidth       bytes in a second, to and from one tracker together, like "20 MB/s"; 0: no limit
    retries         tries after a request that failed in passing
    backoff         the wait before the first of them; it doubles each time
    backoff_max     the longest such wait
    timeout         the longest wait for a byte
    retry_after_max  the longest wait that the tracker may ask for
    workers         processes that fetch files: a number, 0 for none, or "auto" for as many as pay
    """

    downloads: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    uploads: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    requests_per_second: Annotated[float, Field(strict=True, ge=0), example(20)] = 0
    bandwidth: Annotated[float, BeforeValidator(parse_rate), Field(ge=0), example("20 MB/s")] = 0
    retries: Annotated[int, Field(strict=True, ge=0, le=100)] = 8
    backoff: Seconds = 0.5
    backoff_max: Seconds = 60.0
    timeout: Seconds = 60.0
    retry_after_max: Seconds = 900.0
    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = "auto"


class WorkersSection(Section):
    """[workers]

    dask            the Dask cluster on which files are fetched: the scheduler's address, a scheduler file, or "local"
                    for one on this machine; needs the extra `cluster` and, unless "local", an archive in a bucket
    """

    dask: Annotated[PathText | None, example("tcp://scheduler:8786")] = None


Count = Annotated[int, Field(strict=True, ge=0)]


class RetentionSection(Section):
    """[retention], see `migrator.pipeline.prune`; nothing given: every snapshot is kept. `keep_within` in seconds.

    keep_last       this many of the newest snapshots
    keep_within     all that are younger than this before the newest, like "30 days"
    keep_daily      the last snapshot of this many days
    keep_weekly     the same for weeks
    keep_monthly    the same for months
    keep_yearly     the same for years
    """

    keep_last: Annotated[Count, example(7)] = 0
    keep_within: Annotated[float, BeforeValidator(parse_duration), Field(ge=0), example("30 days")] = 0.0
    keep_daily: Annotated[Count, example(14)] = 0
    keep_weekly: Annotated[Count, example(8)] = 0
    keep_monthly: Annotated[Count, example(24)] = 0
    keep_yearly: Annotated[Count, example(5)] = 0


def _report_name(name: str) -> str:
    if not name.lower().endswith((".html", ".csv", ".json")):
        raise ValueError("a report is a page (.html), a table (.csv) or a document (.json)")
    return name


class NightlySection(Section):
    """[nightly]

    verify          the share of the blobs that is hashed each night; at "2%", fifty nights hash them all, and at
                    "100%" each night does
    recheck         the share of the stored files that is fetched again each night and compared with the archive
    full_every      how often every entity is asked for its files; between, the unchanged ones are left out
    report          a report that is written after each night: .html, .csv or .json
    metrics         a textfile for Prometheus that is written after each night
    """

    verify: Share = 0.02
    recheck: Annotated[Share, example("1%")] = 0.0
    full_every: Annotated[Seconds | None, example("7 days")] = None
    report: Annotated[Annotated[PathText, AfterValidator(_report_name)] | None, example("report.html")] = None
    metrics: Annotated[PathText | None, example("migrator.prom")] = None


class NotifySection(Section):
    """[notify]; needs the extra `notify`.

    on              when a message is sent: at a "failure", at a "change" (also when a failure is over), or "always"
    urls            Apprise addresses: mail, chat, webhooks
    ping            the address of a dead man's switch: it calls for help when no night reports
    """

    on: Literal["failure", "change", "always"] = "failure"
    urls: Annotated[tuple[Secret, ...], example([{"env": "NOTIFY_URL"}])] = ()
    ping: Annotated[Secret | None, example({"env": "PING_URL"})] = None


class Settings(Section):
    """The whole file.

    archive         the folder of the archive, which holds the files of one source; or its address in an object store:
                    s3://bucket/folder, gs://, az://
    """

    archive: Annotated[PathText, AfterValidator(store_address)] = "archive"
    storage: StorageSection = StorageSection()
    encryption: EncryptionSection | None = None
    source: SourceSection
    target: TargetSection | None = None
    mapping: MappingSection = MappingSection()
    limits: Limits = Limits()
    workers: WorkersSection = WorkersSection()
    retention: RetentionSection = RetentionSection()
    nightly: NightlySection = NightlySection()
    notify: NotifySection = NotifySection()
