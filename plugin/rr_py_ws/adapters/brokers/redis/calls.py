"""What runs a script: the command that names it, and the one that brings it to a server that lacks it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import NamedTuple, Protocol

import hiredis

Argument = bytes | str | int
Command = tuple[Argument, ...]


def pack(command: Command) -> bytes:
    """Encode a command."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # it takes any number
    return packed


def pack_words(*words: Argument) -> bytes:
    """Encode words as they stand within a command."""
    return pack(words).partition(b"\r\n")[2]


class Script(NamedTuple):
    """A script.

    Attributes:
        text: in Lua.
        digest: by which Redis knows it.
    """

    text: bytes
    digest: bytes


def make_script(*parts: str) -> Script:
    """Make a script of parts that follow each other."""
    text = "".join(parts).encode()
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


class Run(Protocol):
    """A run of a script. What it is told may be complete only when its command is written."""

    @property
    def size(self) -> int:
        """Bytes that it takes beside the usual, as far as it is known at first."""

    def by_digest(self) -> Command | bytes:
        """The command that runs it at a server that knows the script; it may be encoded already."""

    def with_text(self) -> Command | bytes:
        """The command that runs it at any server; the same."""


class Call(NamedTuple):
    """A script with what it is run with, all of which is known.

    Attributes:
        script: which one.
        keys: all in one slot.
        arguments: as the script says.
        size: see `Run`.
    """

    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[Argument]
    size: int = 0

    def by_digest(self) -> Command:
        """See `Run.by_digest`."""
        return (b"EVALSHA", self.script.digest, len(self.keys), *self.keys, *self.arguments)

    def with_text(self) -> Command:
        """See `Run.with_text`."""
        return (b"EVAL", self.script.text, len(self.keys), *self.keys, *self.arguments)
