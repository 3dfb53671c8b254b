"""TLS for the listener, from RoadRunner's `http.ssl` section."""

from __future__ import annotations

import ssl

from rr_py_ws.adapters.net.tls import load_authorities, load_pair
from rr_py_ws.config import SSL

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
    load_pair(context, section.cert, section.key, section="http.ssl")
    if section.asks_for_certificates:
        context.verify_mode = _VERIFY[section.client_auth_type]
        load_authorities(context, section.root_ca, key="http.ssl.root_ca")
    return context
