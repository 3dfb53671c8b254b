"""The program: its commands, and how everything that happens becomes an exit code."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Sequence

import click

from rr_py_ws import __version__
from rr_py_ws.cli.console import fail
from rr_py_ws.cli.flags import Command, Flags, Group
from rr_py_ws.cli.listen import listen
from rr_py_ws.cli.rpc import publish, reset, workers
from rr_py_ws.cli.serve import serve, stop
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


@click.command(
    cls=Command,
    examples=[
        "rr-py-ws check",
        "rr-py-ws check -c config/rr.yaml -o websockets.authorize=none",
    ],
)
@click.pass_obj
def check(flags: Flags) -> int:
    """Read the configuration and say what becomes of it.

    Section by section: what is used, what is ignored and why, what differs from RoadRunner. The exit code is
    1 when the server would not start.
    """
    from rr_py_ws import config

    loaded = flags.load_config()
    findings = config.check(loaded)
    click.echo(config.report_text(loaded.path, findings))
    return 1 if config.has_errors(findings) else 0


@click.command(cls=Command, examples=["rr-py-ws version"])
def version() -> None:
    """Print the version, and that of Python and the system."""
    click.echo(
        f"rr-py-ws version {__version__} ({platform.python_implementation()} {platform.python_version()}),"
        f" OS: {platform.system().lower()}, arch: {platform.machine()}"
    )


for _command in (serve, check, workers, reset, stop, publish, listen, version):
    program.add_command(_command)


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code.

    Args:
        args: the words after the program's name; None: those of this process.
    """
    flags = Flags()
    try:
        with program.make_context("rr-py-ws", list(sys.argv[1:] if args is None else args), obj=flags) as ctx:
            # Commands return an exit code or nothing; standalone mode of click would drop it and exit itself.
            result = program.invoke(ctx)
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return fail(error.format_message())
    except RRWSError as error:
        return fail(str(error))
    # Ctrl-C in a command that does not handle it itself.
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted")
    except BrokenPipeError:
        # The reader of stdout is gone (`| head`), which is not a failure. Python flushes stdout once more
        # when it exits; on /dev/null that cannot fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if flags.debug:
            traceback.print_exc()
        advice = "" if flags.debug else "; run it again with -d for the details"
        return fail(f"unexpected {type(error).__name__}: {error}{advice}")
