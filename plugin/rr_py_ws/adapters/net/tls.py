"""Files for TLS (certificates, private keys, authorities): one way to read them, for servers and clients."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from rr_py_ws.adapters.net.listen import describe_os_error
from rr_py_ws.errors import ConfigError

_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""OpenSSL's reasons when the key is not that of the certificate; the last when it is of another kind."""


class _EncryptedError(Exception):
    """The library asks for a passphrase."""


def load_pair(context: ssl.SSLContext, cert: str, key: str, *, section: str) -> None:
    """Load a certificate and its private key.

    Args:
        context: gets them.
        cert: a file.
        key: a file, without a passphrase: nobody is there to ask, and asking would stop everything.
        section: the configuration key above `cert` and `key`, for the error.

    Raises:
        ConfigError: a file cannot be read or used; the text names key and file.
    """
    try:
        # Without a callback OpenSSL asks on the terminal, and nothing else goes on until somebody answers.
        context.load_cert_chain(cert, key, password=_refuse)
    except _EncryptedError:
        raise ConfigError(
            f"{section}.key",
            f"{key!r} is encrypted, accepted: a key without a passphrase"
            " (`openssl pkey -in OLD -out NEW` takes it away)",
        ) from None
    except (OSError, ssl.SSLError) as error:
        problem = f"cannot use {cert!r} with the key {key!r}: {describe_tls_error(error)}"
        raise ConfigError(f"{section}.cert", problem + _which_file(error, cert, key)) from error


def load_authorities(context: ssl.SSLContext, file: str, *, key: str) -> None:
    """Load the authorities whose certificates are accepted.

    Raises:
        ConfigError: the file cannot be read or used; the text names key and file.
    """
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(key, f"cannot use {file!r}: {describe_tls_error(error)}") from error


def client_context(authorities: str, *, key: str) -> ssl.SSLContext:
    """Make a context for a client that trusts these authorities; without a file, those of the system.

    Raises:
        ConfigError: the file cannot be read or used; the text names key and file.
    """
    try:
        return ssl.create_default_context(cafile=authorities or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(key, f"cannot use {authorities!r}: {describe_tls_error(error)}") from error


def describe_tls_error(error: BaseException) -> str:
    """Say in a few words what was wrong with a file, or with a connection."""
    # Errors of TLS are OSErrors, too, with numbers that are not those of the system.
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return describe_os_error(error)


def _which_file(error: BaseException, cert: str, key: str) -> str:
    """Say what OpenSSL does not: which of the two files is wrong, if that can be seen."""
    if getattr(error, "reason", None) in _MISMATCHES:
        return " (the key is not that of the certificate)"
    if isinstance(error, ssl.SSLError):
        for file, block in ((cert, b"CERTIFICATE-----"), (key, b"PRIVATE KEY-----")):
            if block not in Path(file).read_bytes():
                return f" ({file!r} has no line -----BEGIN ... {block.decode()})"
    return ""


def _refuse() -> NoReturn:
    raise _EncryptedError
