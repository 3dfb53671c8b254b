"""`rr-py-ws init`: the keys that a file needs to be served, beside RoadRunner or without it."""

from __future__ import annotations

import codecs
import difflib
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rr_py_ws.cli.console import escape
from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.errors import ConfigError
from rr_py_ws.masking import mask_text

if TYPE_CHECKING:
    from rr_py_ws.config.neighbour import FreePort

_UTF8_MARK = codecs.BOM_UTF8
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@click.command(
    cls=Command,
    short_help="Add the keys that a file needs to be served beside RoadRunner.",
    examples=[
        "rr-py-ws init                        # show what would be added to .rr.yaml",
        "rr-py-ws init --write                # add it",
        "rr-py-ws init -c config/rr.yaml --write",
    ],
)
@click.option("--write", is_flag=True, help="Write the file.")
@click.pass_obj
def init(flags: Flags, write: bool) -> None:
    """Add the keys that a file needs, so that rr-py-ws runs beside the RoadRunner of that file.

    Addresses of its own, on ports that are free, and RoadRunner's addresses for what is passed on to it.
    Nothing that the file has is changed. Without a file, a small one that can be served is made. The change
    is shown; with --write it is made.
    """
    path, _ = flags.enter_workdir()
    old, new = _edited(path)
    before = path.read_bytes() if path.exists() else b""
    if before.startswith(_UTF16_MARKS):
        raise ConfigError(str(path), "is UTF-16, which is not edited here")
    if old == new:
        click.echo(f"{escape(str(path))}: nothing to add")
        return
    for line in difflib.unified_diff(
        old.splitlines(), new.splitlines(), str(path) if old else "/dev/null", str(path), lineterm=""
    ):
        # What was there already is shown for orientation only.
        click.echo(escape(mask_text(line) if line.startswith(" ") else line))
    if write:
        mark = _UTF8_MARK if before.startswith(_UTF8_MARK) else b""
        _write(path, mark + new.encode())
    if not flags.silent:
        click.echo("written; next: rr-py-ws check" if write else "not written: --write does it", err=True)


def _edited(path: Path) -> tuple[str, str]:
    """Return the content of a file before and after; before is empty for a file that is not there."""
    from rr_py_ws.config.editing import with_keys
    from rr_py_ws.config.neighbour import minimal_file, missing_keys
    from rr_py_ws.config.overrides import expand
    from rr_py_ws.config.shared_file import included_files, refuse_roadrunner_1
    from rr_py_ws.config.yaml_file import parse_tree, read_text, read_tree

    if not path.exists():
        return "", with_keys(path, "", minimal_file(_free_port("")))
    old = read_text(path)
    tree = parse_tree(path, old, {})
    refuse_roadrunner_1(path, tree)
    included: dict[str, Any] = {}
    for name in included_files(tree, os.environ):
        included |= read_tree(Path.cwd() / name)
    # As it is written, and with the variables that there are.
    free_port = _free_port(f"{old}{included}{expand(old, os.environ)}")
    whole = tree | included
    keys = missing_keys(whole, free_port) if whole else minimal_file(free_port)
    if replaced := keys.keys() & included.keys():
        raise ConfigError("include", f"{min(replaced)} is in an included file, which is not edited here")
    return old, with_keys(path, old, keys) if keys else old


def _free_port(content: str) -> FreePort:
    """Make a function that finds ports which nobody has, and which the file does not name."""
    taken = {int(port) for port in re.findall(r"(?<![0-9])[0-9]{1,5}(?![0-9])", content)}

    def free_port(first: int) -> int:
        for port in range(first, 65536):
            if port not in taken and _can_listen(port):
                taken.add(port)
                return port
        raise ConfigError("", f"no port from {first} on is free")

    return free_port


def _can_listen(port: int) -> bool:
    try:
        # Of a listener at every address, too, this one would take the connections.
        with socket.create_server(("", port)):
            return True
    except OSError:
        return False


def _write(path: Path, content: bytes) -> None:
    """Write a file at once: whoever reads it meanwhile has the old one, and so has a disk that is full.

    Raises:
        ConfigError: it cannot be written.
    """
    target = path.resolve()  # a link stays a link
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                _take_rights(target, file.name)
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror}") from None


def _take_rights(target: Path, name: str) -> None:
    """Give a new file the owner and the permissions of the one that it replaces, or of any new file."""
    if not target.exists():
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        return
    status = target.stat()
    os.chown(name, status.st_uid, status.st_gid)
    shutil.copymode(target, name)
