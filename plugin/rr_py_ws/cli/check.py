"""`rr-py-ws check`."""

from __future__ import annotations

import click

from rr_py_ws.cli.flags import Command, Flags


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
    from rr_py_ws.config import check as check_config

    report = check_config(flags.load_config())
    click.echo(report.text)
    return 0 if report.ok else 1
