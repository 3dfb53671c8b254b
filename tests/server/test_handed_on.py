"""What a process that starts later gets of a reload."""

from __future__ import annotations

import os
from pathlib import Path

from rr_py_ws.config import Config, load_config
from rr_py_ws.server.handed_on import HandedOn


def loaded(*overrides: str) -> Config:
    return load_config(Path(".rr.yaml"), overrides=overrides, environ={})


def test_what_was_kept_last_is_found() -> None:
    last = HandedOn[Config]()
    assert last.find() is None
    for text in ("x" * 100_000, "short"):
        last.keep(taken := loaded(f"websockets.allowed_origin=https://{text}.test"))
        assert last.find() == taken


def test_what_is_being_written_is_not_found() -> None:
    last = HandedOn[Config]()
    last.keep(loaded())
    whole = os.pread(last._file, 1 << 20, 0)
    for end in (0, 3, 4, 5, len(whole) - 1):
        os.ftruncate(last._file, 0)
        os.pwrite(last._file, whole[:end], 0)
        assert last.find() is None


def test_no_program_that_is_started_has_it() -> None:
    """There may be passwords in it."""
    assert not os.get_inheritable(HandedOn[Config]()._file)
