from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws import logs
from rr_py_ws.config import Logs


@pytest.fixture(autouse=True)
def _back_to_defaults() -> Iterator[None]:
    yield
    logs.shutdown()


class Clock:
    """Unix time that stands still until a test moves it."""

    now = 1_714_557_630.0

    def __call__(self) -> float:
        return self.now


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log file, each of them JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def to_file(path: Path, **options: Any) -> Logs:
    """The section for a log file with everything."""
    return Logs(mode="production", level="debug", encoding="json", output=(str(path),), **options)
