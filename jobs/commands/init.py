"""`migrator init [TRACKER [TARGET]]`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from migrator.jobs.output import Output
from migrator.model import RunStatus
from migrator.pipeline.summary import InitSummary


def _known(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    from migrator.trackers import TRACKERS

    return [CompletionItem(name) for name in TRACKERS if name.startswith(begun)]


@click.command("init")
@click.argument("tracker", required=False, shell_complete=_known)
@click.argument("target", required=False, shell_complete=_known)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write this file; otherwise it gets its own name."
)
@click.option(
    "--nightly",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="CONFIG",
    help="Write what starts a night of this configuration: systemd units and a line for cron; may be repeated.",
)
@click.option("--reference", is_flag=True, help="Print all keys and options with their defaults; write nothing.")
@click.pass_obj
def command(
    _: Output,
    /,
    *,
    tracker: str | None,
    target: str | None,
    out: Path | None,
    nightly: tuple[Path, ...],
    reference: bool,
) -> InitSummary:
    """Write a commented configuration for a backup of TRACKER, or for a migration from TRACKER to TARGET.

    It has every option of these trackers with its default, and says which environment variables to set. An existing
    file is never overwritten. On a terminal, what is not given is asked for.

    \b
    migrator init redmine
    migrator init targetprocess teampulse --out friday.toml

    With --nightly CONFIG, it writes beside CONFIG what starts `migrator nightly CONFIG` each night on this machine: a
    systemd service and its timer, a line for cron, and a file for the secrets that come from the environment. Their
    first lines say how to install them; nothing is installed.
    """
    from migrator.jobs import starting

    if reference:
        return InitSummary(status=RunStatus.COMPLETE, reference=starting.reference())
    if nightly:
        if tracker or out:
            raise click.UsageError("--nightly is for a configuration that is there; it takes no TRACKER and no --out")
        return _write_nights(nightly)
    if not tracker:
        tracker, target = _ask()
    path = out or Path(starting.file_name_for(tracker, target))
    written = starting.compose(tracker, target, path.name)
    _write_new(path, written.text)
    return InitSummary(status=RunStatus.COMPLETE, config=str(path), variables=written.variables)


def _write_nights(configs: tuple[Path, ...]) -> InitSummary:
    from migrator.errors import ConfigError
    from migrator.jobs import starting

    files, variables = starting.night_files(configs)
    for path in files:
        if path.exists():
            raise ConfigError(f"{path} exists already, and is left as it is; nothing was written")
    for path, text in files.items():
        _write_new(path, text)
    return InitSummary(config=str(configs[0]), files=tuple(map(str, files)), variables=variables or None)


def _ask() -> tuple[str, str | None]:
    """Ask for the trackers; `UsageError` without a terminal."""
    from migrator.trackers import TRACKERS

    names = sorted(TRACKERS)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"name a TRACKER, and a TARGET for a migration; choose from {', '.join(names)}")
    source = click.prompt("back up which tracker", type=click.Choice(names), err=True)
    nothing = "none"
    target = click.prompt("load into which", type=click.Choice([*names, nothing]), default=nothing, err=True)
    return source, None if target == nothing else target


def _write_new(path: Path, text: str) -> None:
    from migrator.errors import ConfigError, StorageError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} exists already, and is left as it is; --out FILE writes another one") from None
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path} can't be written: there is no folder {path.parent}") from None
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from error
