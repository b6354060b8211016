"""A group of commands that helps who misspells one."""

from __future__ import annotations

from typing import Any

import click

from lsnn_gym.errors import UserError, unknown


class CommandGroup(click.Group):
    """Names the nearest command when one is misspelt."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return name, command and the arguments left.

        Raises:
            UserError: There is no such command.
        """
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UserError(unknown("command", args[0], self.commands))
        return super().resolve_command(ctx, args)
