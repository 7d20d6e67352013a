"""What starts `migrator nightly` each night on this machine: two systemd units and a line for cron, with its paths.

They are for the account that has the configurations, so that nothing has to be installed or copied as root. Secrets
that come from the environment stand in one file, from which systemd and cron both take them.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from migrator.config import read_configuration
from migrator.errors import ConfigError

NAME = "migrator-nightly"
_PLAIN_WORD = re.compile(r"[\w@+=:,./-]+", re.ASCII)

_SERVICE = """# A night of backups, started by {name}.timer. Written by `migrator init --nightly`.
# To try it, and then to have it each night:
#
#     {systemctl} link {links}
#     {systemctl} start {name}; {journalctl} --unit {name}
#     {systemctl} enable --now {name}.timer{linger}

[Unit]
Description=Nightly backup of issue trackers

[Service]
Type=oneshot
WorkingDirectory={folder}
EnvironmentFile=-{secrets}
ExecStart={command}
UMask=0077

# Without the next line a night in which some files failed (exit status 3) makes the unit fail, so that you notice.
# SuccessExitStatus=3

# A stop ends the program within 15 seconds with all that was finished kept.
KillMode=mixed
TimeoutStopSec=30

# Others come first.
Nice=10
IOSchedulingClass=idle
NoNewPrivileges=yes
"""
_TIMER = """# When {name}.service runs; see there how to install both.

[Unit]
Description=Each night, a backup of issue trackers

[Timer]
OnCalendar=*-*-* 02:00:00
# Not at the same second as everybody else's:
RandomizedDelaySec=30min
# A night that the machine slept through is made up for when it is up again:
Persistent=true

[Install]
WantedBy=timers.target
"""
_CRONTAB = """# A night of backups by cron, in place of systemd. Written by `migrator init --nightly`. To install it:
#
#     crontab -l | cat - {crontab} | crontab -
#
# cron mails what is printed. With -q that is warnings, errors, and the summary of a night in which not all was well.

17 2 * * * {command}
"""


def night_files(configs: Sequence[Path]) -> tuple[dict[Path, str], tuple[str, ...]]:
    """The files, to be written beside the first configuration, and the variables to be set in one of them.

    `ConfigError` if a configuration can't be read.
    """
    paths = [config.absolute() for config in configs]
    variables = sorted({name for path in paths for name in _variables_of(path)})
    folder = paths[0].parent
    if any(not str(path).isprintable() for path in paths):
        raise ConfigError("systemd and cron take no path with a line break or another control character")
    of = {ending: folder / f"{NAME}.{ending}" for ending in ("service", "timer", "crontab", "secrets")}
    program = _program()
    units = f"{shlex.quote(str(of['service']))} {shlex.quote(str(of['timer']))}"
    user = os.geteuid() != 0
    service = _SERVICE.format(
        name=NAME,
        systemctl="systemctl --user" if user else "systemctl",
        journalctl="journalctl --user" if user else "journalctl",
        links=units,
        linger="\n#     loginctl enable-linger        # also while you are not logged in" if user else "",
        folder=_specifier_free(str(folder)),
        secrets=_specifier_free(str(of["secrets"])),
        command=" ".join(map(_unit_word, [*program, "-q", "--log-format", "json", "nightly", *map(str, paths)])),
    )
    with_secrets = f"set -a; . {shlex.quote(str(of['secrets']))}; " if variables else ""
    call = with_secrets + shlex.join([*program, "-q", "nightly", *map(str, paths)])
    files = {
        of["service"]: service,
        of["timer"]: _TIMER.format(name=NAME),
        of["crontab"]: _CRONTAB.format(crontab=shlex.quote(str(of["crontab"])), command=call.replace("%", "\\%")),
    }
    if variables:
        files[of["secrets"]] = "".join(f"{name}=''\n" for name in variables)
    return files, tuple(variables)


def _variables_of(path: Path) -> Iterator[str]:
    """The environment variables that a night with this configuration reads; it needs nothing of [target]."""
    return _named_in(read_configuration(path).settings.model_dump(exclude={"target"}))


def _named_in(value: object) -> Iterator[str]:
    if isinstance(value, Mapping) and set(value) == {"env"}:
        yield str(value["env"])
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _named_in(item)


def _program() -> list[str]:
    """How this program is called by its full path, also from an environment of its own."""
    script = Path(sys.executable).parent / "migrator"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "migrator"]


def _specifier_free(text: str) -> str:
    return text.replace("%", "%%")


def _unit_word(word: str) -> str:
    """A word of a command in a unit, quoted where it has to be."""
    if _PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_specifier_free(escaped)}"'
