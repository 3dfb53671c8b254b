"""What a process that starts later gets of those before it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_process_that_is_killed_while_it_writes_has_left_what_was_kept_before(before: int) -> None:
    """A core that was killed in that moment left nothing, and all counters of the server began anew."""
    last = HandedOn[int]()
    for number in range(before):
        last.keep(number)
    kept = last.find()
    last.keep(before)
    file = last._files[(before + 1) % 2]
    whole = os.pread(file, 1 << 20, 0)
    for end in (0, 3, 4, 5, 12, len(whole) - 1):
        os.ftruncate(file, 0)
        os.pwrite(file, whole[:end], 0)
        assert last.find() == kept
    last.keep(1000)
    assert last.find() == 1000


def test_no_program_that_is_started_has_it() -> None:
    """There may be passwords in it."""
    assert not any(map(os.get_inheritable, HandedOn[Config]()._files))
