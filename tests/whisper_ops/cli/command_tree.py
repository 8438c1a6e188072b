"""Every command of the command line and its parameters, as click knows them: what is added tomorrow is among them."""

from collections.abc import Iterator

import click

from whisper_ops.cli import COMMANDS, main


def commands() -> Iterator[tuple[str, click.Command]]:
    """Commands that do something, by what is typed for them."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group):
            yield name, command
            continue
        if command.invoke_without_command:
            yield name, command
        for inner, below in command.commands.items():
            yield f"{name} {inner}", below


def parameters() -> list[tuple[str, click.Command, click.Parameter]]:
    """Parameters that take a value."""
    return [
        (name, command, parameter)
        for name, command in commands()
        for parameter in command.params
        if parameter.name != "help" and not getattr(parameter, "is_flag", False)
    ]
