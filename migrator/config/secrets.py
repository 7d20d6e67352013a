"""Secrets that a configuration refers to: looked up in the environment, a file or the keyring.

Each is looked up only when the part that needs it is built.

Beware: a message names the key, never the value.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from migrator.config.base import Secret, Secrets
from migrator.config.messages import unknown_key
from migrator.config.sections import Settings
from migrator.config.settings import Configuration, resolved_path
from migrator.errors import ConfigError


def credentials(
    given: Secrets, alternatives: tuple[tuple[str, ...], ...], where: str, folder: Path
) -> tuple[dict[str, str], list[str]]:
    """The secrets of a section, looked up, and a warning for each that the file has in plain text."""
    known = [key for keys in alternatives for key in keys]
    for key in given:
        if key not in known:
            raise ConfigError(unknown_key(f"{where}.{key}", known))
    if not any(set(keys) == set(given) for keys in alternatives):
        wanted = ", or ".join(" and ".join(keys) for keys in alternatives)
        raise ConfigError(f"configuration: [{where}] needs {wanted}; it has {', '.join(given) or 'nothing'}")
    values = {key: look_up(secret, f"{where}.{key}", folder) for key, secret in given.items()}
    plain = [key for key, secret in given.items() if isinstance(secret, str) and key != "username"]
    return values, [warning_of_plain_text(f"{where}.{key}") for key in plain]


def warning_of_plain_text(where: str) -> str:
    """The warning for a secret that the file has in plain text."""
    return f"{where} is in the configuration as plain text; use {{ env = ... }} instead"


def known_secrets(configuration: Configuration) -> set[str]:
    """All secrets of a configuration that can be looked up now, to take them out of a text."""
    settings, found = configuration.settings, set()
    if settings.encryption is not None and settings.encryption.identity is not None:
        with suppress(ConfigError):
            text = look_up_text(settings.encryption.identity, "encryption.identity", configuration.folder)
            found |= {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}
    for where, secret in _given(settings):
        with suppress(ConfigError):
            found.add(look_up(secret, where, configuration.folder))
    return found


def plain_secrets(configuration: Configuration) -> list[str]:
    """The keys of all secrets that the file has in plain text. The name of a store's key is none."""
    encryption = configuration.settings.encryption
    given = _given(configuration.settings)
    found = [where for where, secret in given if isinstance(secret, str) and where != "storage.access_key"]
    return found + (["encryption.identity"] if encryption and isinstance(encryption.identity, str) else [])


def _given(settings: Settings) -> list[tuple[str, Secret]]:
    """All secrets with their keys, other than the private key, which may have several lines."""
    sections = [("source", settings.source), ("target", settings.target)]
    given = [
        (f"{where}.{group}.{key}", secret)
        for where, section in sections
        for group in ("auth", "download_auth", "proxy_auth")
        for key, secret in getattr(section, group, {}).items()
        if key != "username"
    ]
    given += [(f"notify.urls[{number}]", secret) for number, secret in enumerate(settings.notify.urls)]
    given += [
        (f"storage.{key}", secret)
        for key in ("access_key", "secret_key", "session_token")
        if (secret := getattr(settings.storage, key)) is not None
    ]
    return given + ([("notify.ping", settings.notify.ping)] if settings.notify.ping else [])


def look_up(secret: Secret, where: str, folder: Path) -> str:
    """One secret; `where` is its key. A keyring is asked for the last part of that key, without a number."""
    value = look_up_text(secret, where, folder)
    if not value.isprintable():
        raise ConfigError(f"configuration: {where} is empty, or has characters that can't be in a credential")
    return value


def look_up_text(secret: Secret, where: str, folder: Path) -> str:
    """One secret that may have several lines."""
    if isinstance(secret, str):
        value = secret
    elif len(secret) != 1 or next(iter(secret)) not in _LOOKUPS:
        raise ConfigError(f"configuration: {where} must be text, {{ env }}, {{ file }} or {{ keyring }}")
    else:
        [(place, name)] = secret.items()
        value = _LOOKUPS[place](name, where, folder)
    if not value:
        raise ConfigError(f"configuration: {where} is empty, or has characters that can't be in a credential")
    return value


def _from_env(name: str, where: str, _: Path) -> str:
    if name not in os.environ:
        raise ConfigError(f"configuration: {where}: the environment variable {name} is not set")
    return os.environ[name]


def _from_file(name: str, where: str, folder: Path) -> str:
    try:
        return resolved_path(folder, name).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"configuration: {where}: the file {name} can't be read ({type(error).__name__})") from None


def _from_keyring(name: str, where: str, _: Path) -> str:
    try:
        import keyring  # the `keyring` extra
    except ImportError:
        raise ConfigError(f"configuration: {where}: the keyring extra is not installed") from None
    try:
        value = keyring.get_password(name, where.rpartition(".")[2].partition("[")[0])
    except Exception as error:  # noqa: BLE001 - backends raise what they like
        raise ConfigError(f"configuration: {where}: the keyring failed ({type(error).__name__})") from None
    if value is None:
        raise ConfigError(f"configuration: {where}: the keyring has no entry for {name!r}")
    return str(value)


_LOOKUPS = {"env": _from_env, "file": _from_file, "keyring": _from_keyring}
