"""The configuration file: TOML becomes typed, checked settings; errors name the key.

Reading a configuration looks up no secrets; each one is looked up when the part that needs it is built, so a nightly
backup works without the target's password.

Beware: pydantic's errors quote the input. Ours name the key and never the value, which may be a secret.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError
from yarl import URL

from migrator.config.base import Flag, PathText, Secret, Secrets, Section, address
from migrator.config.storage import StorageSection, is_address, local_folder, store_address
from migrator.errors import ConfigError
from migrator.filenames import on_disk
from migrator.hints import did_you_mean
from migrator.mapping import parse_rule
from migrator.printable import printable
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
    for name in names:
        parse_rule(name)
    return names


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Share = Annotated[float, BeforeValidator(parse_share)]
MAX_WORKERS = 64
"""Of [limits] workers; more would only take memory."""


class TlsSection(Section):
    """[source.tls] and [target.tls]; see `migrator.wire.route`."""

    ca_file: PathText | None = None
    client_cert: PathText | None = None
    client_key: PathText | None = None
    verify: Flag = True
    minimum: Literal["1.0", "1.1", "1.2", "1.3"] | None = None


class TrackerSection(Section):
    """[source] and [target]. Proxies named in the environment are ignored; only `proxy` counts."""

    tracker: str
    url: Annotated[str, BeforeValidator(address)]
    auth: Secrets = Field(default={})
    tls: TlsSection | None = None
    proxy: Annotated[str, BeforeValidator(_proxy)] | None = None
    proxy_auth: Secrets = Field(default={})
    options: dict[str, Any] = Field(default={})


class SourceSection(TrackerSection):
    """[source]"""

    kinds: tuple[str, ...] = ()
    download_auth: Secrets = Field(default={})
    allow_forbidden: Flag = False
    max_gone: Share = 0.2


class TargetSection(TrackerSection):
    """[target]"""

    provenance: Flag = True


class MappingSection(Section):
    """[mapping]; `match` names rules of `migrator.mapping`, the most trusted first."""

    file: PathText = "mapping.csv"
    match: Annotated[tuple[str, ...], AfterValidator(_rules), Field(min_length=1)] = ("title",)
    create_missing: Flag = False


def _workers(value: object) -> object:
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_WORKERS):
        raise ValueError(f'a number of processes from 0 to {MAX_WORKERS}, or "auto"')
    return value


class Limits(Section):
    """[limits]; times in seconds, bandwidth in bytes per second, 0 for no limit. `workers` is a number or "auto"."""

    downloads: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    uploads: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    requests_per_second: Annotated[float, Field(strict=True, ge=0)] = 0
    bandwidth: Annotated[float, BeforeValidator(parse_rate), Field(ge=0)] = 0
    retries: Annotated[int, Field(strict=True, ge=0, le=100)] = 8
    backoff: Seconds = 0.5
    backoff_max: Seconds = 60.0
    timeout: Seconds = 60.0
    retry_after_max: Seconds = 900.0
    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = "auto"


Count = Annotated[int, Field(strict=True, ge=0)]


class RetentionSection(Section):
    """[retention]; see `migrator.pipeline.prune`. `keep_within` in seconds."""

    keep_last: Count = 0
    keep_within: Annotated[float, BeforeValidator(parse_duration), Field(ge=0)] = 0.0
    keep_daily: Count = 0
    keep_weekly: Count = 0
    keep_monthly: Count = 0
    keep_yearly: Count = 0


def _report_name(name: str) -> str:
    if not name.lower().endswith((".html", ".csv", ".json")):
        raise ValueError("a report is a page (.html), a table (.csv) or a document (.json)")
    return name


class NightlySection(Section):
    """[nightly]: the share of the blobs that is hashed each night, the share of the files that is fetched again, how
    often every entity is asked for its files (None: each night), and the files that are written after each night.
    """

    verify: Share = 0.02
    recheck: Share = 0.0
    full_every: Seconds | None = None
    report: Annotated[PathText, AfterValidator(_report_name)] | None = None
    metrics: PathText | None = None


class NotifySection(Section):
    """[notify]: when to send a message, to which Apprise addresses, and the address of a dead man's switch."""

    on: Literal["failure", "change", "always"] = "failure"
    urls: tuple[Secret, ...] = ()
    ping: Secret | None = None


class Settings(Section):
    """The whole file."""

    archive: Annotated[PathText, AfterValidator(store_address)] = "archive"
    storage: StorageSection = StorageSection()
    source: SourceSection
    target: TargetSection | None = None
    mapping: MappingSection = MappingSection()
    limits: Limits = Limits()
    retention: RetentionSection = RetentionSection()
    nightly: NightlySection = NightlySection()
    notify: NotifySection = NotifySection()


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the folder to which relative paths are relative."""

    settings: Settings
    folder: Path

    @property
    def archive(self) -> Path:
        """The folder of the archive; if its blobs lie in an object store, that of its catalog."""
        archive, local = self.settings.archive, self.settings.storage.local
        if not is_address(archive):
            return resolved_path(self.folder, archive)
        return resolved_path(self.folder, local) if local else local_folder(archive)

    @property
    def unmatched_file(self) -> Path:
        """Where `map` lists the entities for which it found no row: beside the mapping, e.g. `mapping.open.csv`."""
        return self.mapping_file.with_name(f"{self.mapping_file.stem}.open.csv")

    @property
    def mapping_file(self) -> Path:
        """The path of the mapping."""
        return resolved_path(self.folder, self.settings.mapping.file)

    def resolve(self, written: str) -> Path:
        """A path from the file, resolved against its folder."""
        return resolved_path(self.folder, written)


def resolved_path(folder: Path, written: str) -> Path:
    """A path as written in a file of that folder; `~` is the home folder."""
    try:
        return folder / Path(on_disk(written)).expanduser()
    except RuntimeError:
        raise ConfigError(f"configuration: {written}: there is no such home folder") from None


def read_configuration(path: Path) -> Configuration:
    """Read and check a file; `ConfigError` says what is wrong with it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"the configuration {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name} is not valid TOML: {error}") from None
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise ConfigError("; ".join(_message(item, Settings, path.name) for item in error.errors())) from None
    if not is_address(settings.archive) and settings.storage != StorageSection():
        raise ConfigError(f"{path.name}: [storage] is of no use where archive is a folder")
    return Configuration(settings, path.absolute().parent)


def read_notify(path: Path) -> NotifySection:
    """[notify] of a file whose other sections may be wrong, so that somebody hears of that; the defaults if it has none
    that can be read.
    """
    try:
        return NotifySection.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")).get("notify", {}))
    except (OSError, ValueError):
        return NotifySection()


def _message(item: Any, model: type[BaseModel], where: str) -> str:
    path = [str(part) for part in item["loc"]]
    if item["type"] != "extra_forbidden":
        path = [part for part in path if not _is_branch(part)]
    key = printable(".".join(path))
    if item["type"] == "extra_forbidden":
        return unknown_key(where, key, _keys_beside(model, path))
    if item["type"] == "missing":
        return f"{where}: the key {key} is missing"
    return f"{where}: {key}: {str(item['msg']).removeprefix('Value error, ')}"


def _is_branch(part: str) -> bool:
    """Whether pydantic names a branch of the type of a secret here, as it does after the secret's key."""
    return part in {"str", "constrained-str"} or part.startswith("dict[")


def unknown_key(where: str, key: str, known: list[str]) -> str:
    """The message for an unknown key, with the most similar known one."""
    key = printable(key)
    parent, dot, last = key.rpartition(".")
    hint = did_you_mean(last, sorted(known), "known here are", lambda near: f"{parent}{dot}{near}")
    return f"{where}: unknown key {key}; {hint}"


def _keys_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys of the section that the last key of a path is in."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def options_of(given: Mapping[str, Any], options_class: type[Any], where: str) -> Any:
    """[source.options] or [target.options] as the dataclass that the adapter declares."""
    known = [field.name for field in dataclasses.fields(options_class)]
    for key in given:
        if key not in known:
            raise ConfigError(unknown_key("configuration", f"{where}.{key}", known))
    try:
        return TypeAdapter(options_class).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"configuration: {where}.{key}: {first['msg'].removeprefix('Value error, ')}") from None
