"""Who decides how the C library keeps memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rr_py_ws.server import allocator


@pytest.mark.parametrize("variable", [None, *allocator._VARIABLES])
def test_what_the_environment_says_counts(monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    """`make soak` has freed memory given back at once; it measured what the server had set instead."""
    options: list[int] = []
    library = SimpleNamespace(mallopt=lambda option, _: options.append(option))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: library)
    for name in allocator._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "131072")
    allocator.keep_freed_memory()
    assert options == ([-3, -1] if variable is None else [])
