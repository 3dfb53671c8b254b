"""The program: its commands, and how everything that happens becomes an exit code."""

from __future__ import annotations

import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from rr_py_ws import __version__, native
from rr_py_ws.cli.console import fail
from rr_py_ws.cli.flags import Command, Flags, Group
from rr_py_ws.cli.init import init
from rr_py_ws.cli.listen import listen
from rr_py_ws.cli.rpc import reset, workers
from rr_py_ws.cli.serve import serve, stop
from rr_py_ws.cli.topics import history, publish
from rr_py_ws.errors import ConfigError, RRWSError


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
        "rr-py-ws check --bind                # with the server stopped",
        "rr-py-ws check --json | jq .errors",
    ],
)
@click.option("--bind", is_flag=True, help="Try the addresses, too; a server that runs is in the way.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, for programs.")
@click.pass_obj
def check(flags: Flags, bind: bool, as_json: bool) -> int:
    """Read the configuration and say what becomes of it.

    First everything that is wrong, with the line. Then section by section: what is used, what is ignored and
    why, what differs from RoadRunner. Accounts, programs, certificates and files are tried as `serve` tries
    them, and Redis is asked what it lacks for histories; a Redis that is not there, or does not let us in, is
    a warning. The exit code is 1 when the server would not start.
    """
    from rr_py_ws import config
    from rr_py_ws.server.preparation import find_advice, prepare, try_addresses

    try:
        loaded, errors = flags.read_config()
    except ConfigError as error:
        if not as_json:
            raise
        path = Path(flags.config).absolute()
        click.echo(config.report_json(path, [config.finding_of(one) for one in error.errors]))
        return 1
    prepared = prepare(loaded, errors)
    problems = prepared.problems
    if bind:
        problems += try_addresses(loaded)
    findings = config.check(loaded, problems, find_advice(prepared))
    report = config.report_json if as_json else config.report_text
    click.echo(report(loaded.path, findings))
    return 1 if config.has_errors(findings) else 0


@click.command(cls=Command, examples=["rr-py-ws version"])
def version() -> None:
    """Print the version and variant, and those of Python and the system."""
    click.echo(
        f"rr-py-ws version {__version__} ({native.VARIANT}; {platform.python_implementation()}"
        f" {platform.python_version()}),"
        f" OS: {platform.system().lower()}, arch: {platform.machine()}"
    )


for _command in (serve, check, init, workers, reset, stop, publish, history, listen, version):
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
    except ConfigError as error:
        return fail(*(one.located for one in error.errors))
    except RRWSError as error:
        return fail(str(error))
    # Ctrl-C in a command that does not handle it itself.
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted")
    except BrokenPipeError:
        return 0  # the reader of stdout is gone (`| head`), which is not a failure
    except Exception as error:
        if flags.debug:
            traceback.print_exc()
        advice = "" if flags.debug else "; run it again with -d for the details"
        return fail(f"unexpected {type(error).__name__}: {error}{advice}")
