"""Keys for S3 from a profile, as `aws configure` writes them.

obstore knows all other places by itself: the environment, and the roles of machines, containers and web identities.

Beware: profiles without a key of their own (single sign-on, assumed roles) are not understood; their keys can be put
into the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser, Error
from contextlib import suppress
from pathlib import Path

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
}
"""What a profile may say, and obstore's name for it."""


def profile_of(url: str, given: Mapping[str, str]) -> dict[str, str]:
    """What the profile that counts says; empty if keys are given, or stand in the environment."""
    if not url.startswith("s3://") or "access_key_id" in given or "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    name = os.environ.get("AWS_PROFILE", "default")
    with suppress(RuntimeError):
        folder = Path("~/.aws").expanduser()
        settings = _section(os.environ.get("AWS_CONFIG_FILE") or folder / "config", name, f"profile {name}")
        keys = _section(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials", name)
        found = {_KEYS[key]: value for key, value in {**settings, **keys}.items() if key in _KEYS}
        if "access_key_id" in found:
            return {key: value for key, value in found.items() if key != "region" or not _has_region()}
    return {}


def _has_region() -> bool:
    return bool({"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys())


def _section(path: str | Path, *names: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    with suppress(OSError, UnicodeDecodeError, Error):
        parser.read(path, encoding="utf-8")
        for name in names:
            if parser.has_section(name):
                return dict(parser.items(name))
    return {}
