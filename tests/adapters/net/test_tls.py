"""What is said of files for TLS that cannot be used: OpenSSL alone says `PEM lib`."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from rr_py_ws.adapters.net.tls import load_pair
from rr_py_ws.errors import ConfigError
from support.tls import make_certificate


def problem(cert: Path, key: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_pair(
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), str(cert), str(key), section="http.ssl"
        )
    return str(caught.value)


def make_key(path: Path, *kind: str) -> Path:
    subprocess.run(["openssl", "genpkey", "-out", str(path), *kind], check=True, capture_output=True)
    return path


def test_the_file_that_is_no_pem_is_named(tmp_path: Path) -> None:
    """Points 10 and 22: a key in DER, or a container of PKCS#12, is no PEM."""
    good, junk = make_certificate(tmp_path), tmp_path / "key.der"
    junk.write_bytes(b"\x30\x82\x04\xa4")
    assert problem(good, junk).endswith(f" ({str(junk)!r} has no line -----BEGIN ... PRIVATE KEY-----)")
    assert problem(junk, good).endswith(f" ({str(junk)!r} has no line -----BEGIN ... CERTIFICATE-----)")


@pytest.mark.parametrize(
    "kind",
    [("-algorithm", "RSA"), ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")],
    ids=["RSA", "EC"],
)
def test_a_key_that_is_not_that_of_the_certificate_is_said_to_be_none(
    tmp_path: Path, kind: tuple[str, ...]
) -> None:
    """Points 10 and 22: of another certificate, and also of another kind."""
    key = make_key(tmp_path / "other.key", *kind)
    assert problem(make_certificate(tmp_path), key).endswith(" (the key is not that of the certificate)")
