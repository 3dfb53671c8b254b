from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.config import Config, load_config

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a text as `.rr.yaml`, in an environment that is empty unless given."""

    def load(text: str, *, name: str = ".rr.yaml", **arguments: Any) -> Config:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        defaults: dict[str, Any] = {"workdir": tmp_path, "environ": {}}
        return load_config(path, **defaults | arguments)

    return load
