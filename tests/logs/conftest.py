from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws import logs
from rr_py_ws.config import Limits, Logs


@pytest.fixture(autouse=True)
def _back_to_defaults() -> Iterator[None]:
    yield
    logs.shutdown()


class Clock:
    """Unix time that stands still until a test moves it."""

    now = 1_714_557_630.0

    def __call__(self) -> float:
        return self.now


def setup(section: Logs, max_queue: int = Limits().log_queue) -> None:
    """Apply a section as the server does."""
    logs.setup(section, max_queue)


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log file, each of them JSON; ends the logging, so that all of them are there."""
    logs.shutdown()
    return [json.loads(line) for line in path.read_text().splitlines()]


def to_file(path: Path, **options: Any) -> Logs:
    """The section for a log file with everything."""
    return Logs(mode="production", level="debug", encoding="json", output=(str(path),), **options)
