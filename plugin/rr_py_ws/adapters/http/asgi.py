"""What an ASGI application is told of a request."""

from __future__ import annotations

from typing import Any

from rr_py_ws.wire.http import Request


def make_scope(request: Request, peer: str, server: tuple[str, int] | None) -> dict[str, Any]:
    """Make the ASGI scope of a request.

    `target` is the whole of path and query, which `raw_path` and `query_string` cannot tell of `/a?`.
    `client` is whom a trusted proxy speaks for, `state["peer"]` the address of the proxy itself, `server` the
    address that was connected to, None for a unix socket. Bytes of the
    target that are no UTF-8 are surrogates in `path`, as everywhere in this program.
    """
    head = request.head
    raw_path, _, query = head.target.partition("?")
    headers = [(name.lower(), value) for name, value in head.headers]
    # The host of an absolute target counts (RFC 9112 section 3.2.2).
    if head.authority:
        headers = [pair for pair in headers if pair[0] != b"host"]
        headers.insert(0, (b"host", head.authority.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": head.method,
        "scheme": "https" if request.secure else "http",
        "path": head.path,
        "raw_path": raw_path.encode("utf-8", "surrogateescape"),
        "query_string": query.encode("utf-8", "surrogateescape"),
        "target": head.target.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "headers": headers,
        "client": (request.remote_addr, 0) if request.remote_addr else None,
        "server": server,
        "state": {"peer": peer},
        "extensions": {"http.response.trailers": {}},
    }
