"""Files and directories that the configuration names: whether they are there, and why not."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Literal


def missing(directory: Path, name: str, kind: Literal["file", "directory"] = "file") -> str:
    """Say what is wrong with what a key names, to be put behind its name; nothing when it is there.

    Args:
        directory: what relative paths are relative to.
        name: the path.
        kind: what it has to be.
    """
    try:
        mode = (directory / name).stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL
        mode = 0
    except OSError as error:  # as in a directory that is another account's: that of certificates may be
        return f"cannot be looked at: {error.strerror}"
    is_there = S_ISREG(mode) if kind == "file" else S_ISDIR(mode)
    return "" if is_there else f"is not a {kind} in {directory}"
