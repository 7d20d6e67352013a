"""What `check` says about nights: would messages have an address, and could the files be written? Sends nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from migrator.config import Configuration, Secret, look_up, warning_of_plain_text
from migrator.errors import ConfigError
from migrator.filenames import readable
from migrator.jobs.nightly.sending import problem_of_address, problem_of_ping
from migrator.pipeline.summary import Check


def check_nights(configuration: Configuration) -> list[Check]:
    """A check for each address of [notify] and each file of [nightly]. Blocks."""
    settings, folder = configuration.settings, configuration.folder
    checks = [
        _check_address(f"notify.urls[{number}]", secret, folder, problem_of_address)
        for number, secret in enumerate(settings.notify.urls)
    ]
    if settings.notify.ping is not None:
        checks.append(_check_address("notify.ping", settings.notify.ping, folder, problem_of_ping))
    return [*checks, *_check_files(configuration)]


def _check_address(key: str, secret: Secret, folder: Path, problem_of: Callable[[str], str]) -> Check:
    """Whether it can be looked up and understood. The address is a secret, so it is not shown."""
    try:
        problem = problem_of(look_up(secret, key, folder))
    except ConfigError as error:
        problem = str(error).removeprefix("configuration: ")
    if problem:
        return Check(key, ok=False, detail=problem)
    if isinstance(secret, str):
        return Check(key, ok=True, warning=True, detail=warning_of_plain_text(key))
    return Check(key, ok=True, detail="the address is understood; nothing was sent")


def _check_files(configuration: Configuration) -> Iterator[Check]:
    nightly = configuration.settings.nightly
    for key, written in (("nightly.report", nightly.report), ("nightly.metrics", nightly.metrics)):
        if written is not None:
            file = configuration.resolve(written)
            problem = _problem_of_file(file)
            yield Check(key, ok=not problem, detail=problem or f"{readable(file)} can be written")


def _problem_of_file(file: Path) -> str:
    """Why it can't be written, or nothing. A new file takes its place, so only the folder has to be writable."""
    folder = Path(os.path.realpath(file)).parent
    if not folder.is_dir():
        return f"the folder {readable(folder)} does not exist"
    if file.is_dir():
        return f"{readable(file)} is a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {readable(folder)} can't be written by this account"
    return ""
