from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from support import tls as certificates


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of localhost, in one file."""
    return certificates.make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    return certificates.server_context(certificate)


@pytest.fixture
def client_tls(certificate: Path) -> ssl.SSLContext:
    return certificates.client_context(certificate)
