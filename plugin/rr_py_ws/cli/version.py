"""`rr-py-ws version`."""

from __future__ import annotations

import platform

import click

from rr_py_ws import __version__
from rr_py_ws.cli.flags import Command


@click.command(cls=Command, examples=["rr-py-ws version"])
def version() -> None:
    """Print the version, and that of Python and the system."""
    click.echo(
        f"rr-py-ws version {__version__} ({platform.python_implementation()} {platform.python_version()}),"
        f" OS: {platform.system().lower()}, arch: {platform.machine()}"
    )
