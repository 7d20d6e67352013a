"""The command line: the group, its options, and the one place where an error becomes an exit status.

A command reads its options, builds the parts, runs, and returns a summary. This module alone decides which exit status
a summary or an error means.

Beware: imports cost start-up time. The module of a command is imported when the command is called, and heavy parts of
the library when they are used.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from itertools import islice, pairwise

import click

from migrator import __version__, errors
from migrator.hints import did_you_mean
from migrator.jobs.given import naming_file
from migrator.jobs.interpreter import tune_interpreter
from migrator.jobs.output import Output
from migrator.jobs.signals import interrupt_on_signals
from migrator.model import RunStatus

COMMANDS = {
    "demo": "the whole job on embedded sandbox trackers",
    "init": "write a commented configuration to start from",
    "check": "log in, read a page, fetch a file, write nothing; report what will work",
    "backup": "store every attachment of the source in the archive",
    "map": "propose a mapping for a person to review",
    "load": "replay the archive into the target",
    "migrate": "backup, then load, then a check of the target",
    "rollback": "delete from the target exactly what a load put there",
    "status": "whether the backup is fine, runs, counts, what failed and why",
    "accept": "accept failures that can't be fixed, so that they no longer count",
    "snapshots": "the states that the archive remembers, one for each complete backup",
    "diff": "what changed between two snapshots",
    "restore": "put files that the source lost back onto it",
    "prune": "forget snapshots by rules, and delete what nothing needs any more",
    "nightly": "backup, sample of verify, prune, report, message, for each configuration",
    "find": "look files up by name, title or id",
    "get": "take one file out of the archive",
    "export": "write the files under their own names: a folder, a bag or a ZIP file",
    "report": "write a report page: what the source had, the archive has, and the target got",
    "copy": "copy an archive anywhere: disk to bucket, bucket to disk, region to region",
    "browse": "look at the archive in a browser: search, thumbnails, snapshots, downloads",
    "verify": "hash every blob again, and compare the catalog with the disk",
    "rebuild": "rebuild a lost or damaged catalog from what the archive holds",
    "sandbox": "serve an embedded tracker to rehearse against",
    "completion": "print the script that lets your shell complete commands",
}

GLOBAL_OPTIONS = frozenset({"--json", "-q", "--quiet", "-v", "--verbose"})
"""Options that may stand before or after the command."""
LOG_FORMAT = "--log-format"
"""Another one, which has a value."""

FOR_EVERY_COMMAND = "Before or after every command: --json, -q, -v and --log-format; see migrator -h."
"""The last line of a command's help."""

EXIT_STATUS = {
    RunStatus.COMPLETE: 0,
    RunStatus.INCOMPLETE: 3,
    RunStatus.DAMAGED: 5,
    RunStatus.INTERRUPTED: 130,
}


class Commands(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All commands, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command with this name; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"migrator.jobs.commands.{cmd_name}").command
        command.epilog = FOR_EVERY_COMMAND
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command, and name the nearest known one, or all."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}; {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One line for each command, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 all done, 1 a bug, 2 bad usage or configuration, 3 some items failed (the next run tries "
    "them again), 4 tracker unreachable or credentials refused, 5 archive damaged, 6 another run holds the archive, "
    "7 disk full, 130 stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only results, warnings and errors.")
@click.option("-v", "--verbose", is_flag=True, help="Report on stderr what is retried and why.")
@click.option(
    LOG_FORMAT,
    type=click.Choice(["text", "json"]),
    default="text",
    help="Write each line on stderr as text or as a JSON object (time, level, message).",
)
@click.version_option(__version__, prog_name="migrator")
@click.pass_context
def group(ctx: click.Context, /, *, as_json: bool, quiet: bool, verbose: bool, log_format: str) -> None:  # noqa: ARG001
    """Gets the files out of an issue tracker, and into another.

    A backup stores every attachment in a local archive; a load replays the archive into another tracker. Both can be
    killed at any moment and run again: nothing is lost, and nothing is sent twice.

    Where a command takes ARCHIVE, you can also give the configuration that names it.

    Start with `migrator demo`, then `migrator init` writes a configuration, and `migrator check CONFIG` tries it.
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v can't be used together")
    ctx.obj.configure(as_json=as_json, quiet=quiet, verbose=verbose)


def main(arguments: list[str] | None = None) -> None:
    """The console script: runs a command and exits with its status."""
    os.umask(0o077)  # archive, mapping, exports and reports hold a tracker's content: for their owner's eyes only
    interrupt_on_signals()
    tune_interpreter()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _group_options_first(arguments: list[str]) -> list[str]:
    """Move the group's options to the front, because people also write them after the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ours, others, words = [], [], iter(arguments[:end])
    for word in words:
        if word == LOG_FORMAT:
            ours += [word, *islice(words, 1)]
        elif word in GLOBAL_OPTIONS or word.startswith(f"{LOG_FORMAT}="):
            ours.append(word)
        else:
            others.append(word)
    return ours + others + arguments[end:]


def _logs_as_json(arguments: list[str]) -> bool:
    """Whether that is asked for; read here, because errors in the command line are logged, too."""
    return f"{LOG_FORMAT}=json" in arguments or (LOG_FORMAT, "json") in pairwise(arguments)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status."""
    arguments = _group_options_first(arguments)
    output = Output(as_json="--json" in arguments, log_as_json=_logs_as_json(arguments))
    command = next((word for word in arguments if word in COMMANDS), "")
    try:
        summary = group.main(arguments, prog_name="migrator", standalone_mode=False, obj=output)
        return _finish(output, summary)
    except click.exceptions.NoArgsIsHelpError as error:  # its message is the help
        output.note(error.format_message())
        return output.failed(command, error.exit_code, "no command was given")
    except click.ClickException as error:
        output.error(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx and not _logs_as_json(arguments):
            output.note(f"{error.ctx.get_usage()}\n{error.ctx.command_path} -h has all options")
        return output.failed(command, error.exit_code, error.format_message())
    except (click.exceptions.Abort, KeyboardInterrupt):
        return output.interrupted(command)
    except errors.MigratorError as error:
        unreachable = isinstance(error, errors.ItemFailedError)
        end = errors.TrackerUnreachableError(str(error)) if unreachable else error
        message = naming_file(str(end), output.given)
        output.error(message)
        output.notes_of(error)
        return output.failed(command, end.exit_code, message)
    except Exception:
        logging.getLogger("migrator").exception("an unexpected error: this is a bug")
        return 1


def _finish(output: Output, summary: object) -> int:
    """Print a summary and return the exit status it means; help and version give a number instead."""
    if summary is None or isinstance(summary, int):
        return summary or 0
    from migrator.pipeline.summary import Summary

    if not isinstance(summary, Summary):
        return 0
    output.result(summary)
    output.suggest(summary)
    ended_by = getattr(summary, "error", None)  # of a night
    return ended_by.code if ended_by else EXIT_STATUS[summary.status]
