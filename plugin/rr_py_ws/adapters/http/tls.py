"""TLS for the listener, from RoadRunner's `http.ssl` section."""

from __future__ import annotations

import ssl

from rr_py_ws.config import SSL
from rr_py_ws.errors import ConfigError

_VERIFY = {
    "no_client_cert": ssl.CERT_NONE,
    "request_client_cert": ssl.CERT_OPTIONAL,
    "verify_client_cert_if_given": ssl.CERT_OPTIONAL,
    "require_any_client_cert": ssl.CERT_REQUIRED,
    "require_and_verify_client_cert": ssl.CERT_REQUIRED,
}
"""A certificate that a client presents is always verified; RoadRunner's two `any` modes would not."""


def server_context(section: SSL) -> ssl.SSLContext:
    """Load certificate, key and, when client certificates are asked for, the authority.

    Raises:
        ConfigError: a file cannot be read or used; the text names its key.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Only this one: WebSockets over HTTP/2 (RFC 8441) are not implemented.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(section.cert, section.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "http.ssl.cert", f"cannot use {section.cert!r} with the key {section.key!r}: {error}"
        ) from error
    context.verify_mode = _VERIFY[section.client_auth_type]
    if context.verify_mode is not ssl.CERT_NONE and section.root_ca:
        try:
            context.load_verify_locations(section.root_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("http.ssl.root_ca", f"cannot use {section.root_ca!r}: {error}") from error
    return context
