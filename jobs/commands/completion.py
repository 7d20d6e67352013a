"""`migrator completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from migrator.model import RunStatus
from migrator.pipeline.summary import CompletionSummary

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, /, *, shell: str) -> CompletionSummary:
    """Print the script that lets SHELL complete commands, options and values.

    \b
    bash: eval "$(migrator completion bash)"    in ~/.bashrc
    zsh:  eval "$(migrator completion zsh)"     in ~/.zshrc
    fish: migrator completion fish | source     in ~/.config/fish/config.fish
    """
    group, made_by = context.find_root().command, get_completion_class(shell)
    if made_by is None:
        raise click.UsageError(f"unknown shell {shell}")
    script = made_by(group, {}, "migrator", "_MIGRATOR_COMPLETE").source()
    return CompletionSummary(status=RunStatus.COMPLETE, shell=shell, script=script)
