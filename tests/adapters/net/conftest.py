from __future__ import annotations

from pathlib import Path

import pytest

from support.loops import pytest_asyncio_loop_factories
from support.tls import make_certificate

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))
