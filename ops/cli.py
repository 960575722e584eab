"""The one CLI: in come words on a command line, out come a command's output and an exit code."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from bus.errors import BargeinError
from ops import (
    bench_commands,
    breaker_commands,
    call_commands,
    chaos_commands,
    fleet_commands,
    talk,
    trace_commands,
    transcript_commands,
)

INTERRUPTED = 130


class OneLineErrors(TyperGroup):
    """An error meant for the operator becomes one line on stderr and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; usage errors stay typer's own (exit code 2)."""
        try:
            return super().invoke(ctx)
        except BargeinError as error:
            print(f"bargein: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("bargein: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="bargein",
    help="A self-hosted voice agent you can talk over.",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
fleet_commands.register(app)
call_commands.register(app)
talk.register(app)
bench_commands.register(app)
trace_commands.register(app)
transcript_commands.register(app)
breaker_commands.register(app)
chaos_commands.register(app)


def main() -> None:
    """The entry point of `bargein`."""
    app(prog_name="bargein")


if __name__ == "__main__":
    main()
