"""The TLS context of `http.ssl`, and what is said about files that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from rr_py_ws.adapters.http import server_context
from rr_py_ws.config import SSL
from rr_py_ws.errors import ConfigError


def section(cert: Path, **options: object) -> SSL:
    return SSL.model_validate({"cert": str(cert), "key": str(cert), **options})


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("no_client_cert", ssl.CERT_NONE),
        ("request_client_cert", ssl.CERT_OPTIONAL),
        ("verify_client_cert_if_given", ssl.CERT_OPTIONAL),
        ("require_any_client_cert", ssl.CERT_REQUIRED),
        ("require_and_verify_client_cert", ssl.CERT_REQUIRED),
    ],
)
def test_client_certificates_are_asked_for_as_configured(
    certificate: Path, kind: str, mode: ssl.VerifyMode
) -> None:
    context = server_context(section(certificate, client_auth_type=kind, root_ca=str(certificate)))
    assert context.verify_mode is mode
    assert bool(context.get_ca_certs()) is (mode is not ssl.CERT_NONE)


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_certificate_that_cannot_be_used_names_its_key(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"cannot use '{path}' with the key '{path}': ") as raised:
        server_context(section(path))
    assert raised.value.key == "http.ssl.cert"


def test_an_authority_that_cannot_be_used_names_its_key(certificate: Path, tmp_path: Path) -> None:
    options = {"client_auth_type": "require_and_verify_client_cert", "root_ca": str(tmp_path / "ca.pem")}
    with pytest.raises(ConfigError, match=r"ca\.pem") as raised:
        server_context(section(certificate, **options))
    assert raised.value.key == "http.ssl.root_ca"


@pytest.mark.parametrize("kind", ["request_client_cert", "verify_client_cert_if_given"])
def test_as_in_roadrunner_nobody_is_asked_for_a_certificate_without_an_authority(
    certificate: Path, kind: str
) -> None:
    assert server_context(section(certificate, client_auth_type=kind)).verify_mode is ssl.CERT_NONE
