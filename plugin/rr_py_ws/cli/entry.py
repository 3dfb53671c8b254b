"""The program: its commands, and how whatever happens becomes an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from rr_py_ws.cli.check import check
from rr_py_ws.cli.console import fail
from rr_py_ws.cli.flags import Flags, Group
from rr_py_ws.cli.listen import listen
from rr_py_ws.cli.publish import publish
from rr_py_ws.cli.serve import serve
from rr_py_ws.cli.stop import stop
from rr_py_ws.cli.version import version
from rr_py_ws.cli.workers import reset, workers
from rr_py_ws.errors import RRWSError


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=[
        "rr-py-ws check                       # is .rr.yaml all right?",
        "rr-py-ws serve -c .rr.yaml           # run the server",
        "rr-py-ws listen news                 # see what arrives in a topic",
        "rr-py-ws publish news 'hello world'  # publish to it",
    ],
)
@click.pass_context
def program(ctx: click.Context) -> None:
    """RoadRunner's websockets and broadcast plugins: PHP publishes, browsers receive."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for _command in (serve, check, workers, reset, stop, publish, listen, version):
    program.add_command(_command)


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    flags = Flags()
    try:
        with program.make_context("rr-py-ws", list(sys.argv[1:] if args is None else args), obj=flags) as ctx:
            result = program.invoke(ctx)
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return fail(error.format_message())
    except RRWSError as error:
        return fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted")
    except BrokenPipeError:  # nobody reads our stdout any more (`| head`): no failure, nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if flags.debug:
            traceback.print_exc()
        advice = "" if flags.debug else "; run it again with -d for the details"
        return fail(f"unexpected {type(error).__name__}: {error}{advice}")


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    sys.exit(run())
