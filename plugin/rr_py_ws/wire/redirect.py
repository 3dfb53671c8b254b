"""`http.ssl.redirect`: the answer to whoever comes to the plain port, as RoadRunner's http 2.23 gives it."""

from __future__ import annotations

import re
from urllib.parse import quote

from rr_py_ws.wire.http import RequestHead
from rr_py_ws.wire.verdict import Verdict

_HSTS = "max-age=31536000; includeSubDomains; preload"
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:.*)?")
_PATH_SAFE = "/$&+,:;=@-_.~"
"""What Go leaves as it is in a path besides letters and digits; the path is decoded and encoded anew."""
_QUERY_SAFE = "".join(map(chr, range(0x21, 0x7F)))
"""A query stays as it is, but for bytes that no header can have."""
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})


def redirect_to_tls(head: RequestHead, port: int) -> Verdict:
    """Send a request on to the same URL with `https`, and have browsers keep to it; 400 if it has no URL.

    Args:
        head: the request.
        port: of the listener with TLS.
    """
    # Without a host there is no URL, and what is no path would become a part of the host (`@evil.test:`).
    if not head.host:
        return Verdict(400, (), b"malformed Host header")
    if not head.target.startswith("/"):
        return Verdict(400, (), b"not an HTTP request: bad request target")
    # fullmatch never fails: what is no host at all was refused when the head was parsed.
    found = _HOST.fullmatch(head.host)
    host = found[1] if found else ""
    if port != 443:
        host = f"{host}:{port}"
    # Errors: bytes that are not UTF-8 pass through, percent-encoded.
    path = quote(head.path, safe=_PATH_SAFE, errors="surrogateescape")
    query = quote(head.query, safe=_QUERY_SAFE, errors="surrogateescape")
    target = f"https://{host}{path}{'?' if query else ''}{query}"
    headers = [("Location", target), ("Strict-Transport-Security", _HSTS)]
    body = b""
    if head.method in ("GET", "HEAD"):
        headers.append(("Content-Type", "text/html; charset=utf-8"))
        body = f'<a href="{target.translate(_HTML)}">Permanent Redirect</a>.\n\n'.encode()
    return Verdict(308, tuple(headers), body)
