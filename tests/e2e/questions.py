"""Requests, each with the question that RoadRunner 2.11 puts to PHP for it: context and body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BOUNDARY = "a-boundary"
URLENCODED = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
HOST = "app.test"
OURS = ("Content-Length", "Connection")
"""Headers that say how a request is sent: which of them there are is not the same in each replay."""


@dataclass(frozen=True)
class Pair:
    """A request and what PHP gets.

    Attributes:
        method: of the request.
        target: as it is sent.
        headers: lines without those for the length, and without `Host` when it is `HOST`.
        body: of the request.
        asked: keys of the context that are not those of a plain request; of `headers`, all but `OURS`.
        sent: the body of the question.
        direct: nginx would change this request, or refuse it.
        version: of HTTP.
    """

    method: str = "GET"
    target: bytes | str = "/"
    headers: tuple[str | bytes, ...] = ()
    body: bytes = b""
    asked: Mapping[str, Any] = field(default_factory=dict)
    sent: Any = b""
    direct: bool = False
    version: str = "HTTP/1.1"

    @property
    def name(self) -> str:
        target = self.target if isinstance(self.target, str) else self.target.decode("utf-8", "replace")
        return f"{self.method} {target} {' '.join(map(str, self.headers))} {self.body[:40]!r}"[:120]

    def encode(self, chunked: int = 0, last: bool = False) -> bytes:
        """The request as it is sent; with the body in chunks of so many bytes, or with a length."""
        target = self.target.encode() if isinstance(self.target, str) else self.target
        lines = [line.encode() if isinstance(line, str) else line for line in self.headers]
        if not any(line.lower().startswith(b"host:") for line in lines) and self.version == "HTTP/1.1":
            lines.append(f"Host: {HOST}".encode())
        if last:
            lines.append(b"Connection: close")
        if self.body and chunked:
            lines.append(b"Transfer-Encoding: chunked")
            pieces = [self.body[at : at + chunked] for at in range(0, len(self.body), chunked)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            if self.body or self.method in ("POST", "PUT", "PATCH"):
                lines.append(b"Content-Length: %d" % len(self.body))
            body = self.body
        first = b"%b %b %b" % (self.method.encode(), target, self.version.encode())
        return b"\r\n".join([first, *lines, b"", b""]) + body

    def context(self) -> dict[str, Any]:
        """The context, but for headers of `OURS`."""
        target = self.target if isinstance(self.target, str) else ""
        host = next((line[6:] for line in map(str, self.headers) if line.startswith("Host: ")), HOST)
        return {
            "remoteAddr": "127.0.0.1",
            "protocol": self.version,
            "method": self.method,
            "uri": f"http://{host}{target}",
            "rawQuery": target.partition("?")[2],
            "headers": {
                name: [value]
                for name, _, value in (str(line).partition(": ") for line in self.headers)
                if name not in ("Host", *OURS)
            },
            "cookies": {},
            "parsed": False,
            "uploads": None,
            "attributes": {},
            **self.asked,
        }


def form(*parts: tuple[str, bytes]) -> bytes:
    """Parts of a multipart form: what is behind `form-data; `, with more headers, and the content."""
    heads = (f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() for head, _ in parts)
    bodies = (content + b"\r\n" for _, content in parts)
    return b"".join(map(bytes.__add__, heads, bodies)) + f"--{BOUNDARY}--\r\n".encode()


def leaf(name: str, size: int, mime: str = "", error: int = 0) -> dict[str, Any]:
    """A file in the tree of uploads; `tmpName` is whether there is one."""
    return {"name": name, "mime": mime, "size": size, "error": error, "tmpName": error == 0}


def posted(tree: Any, body: str, method: str = "POST") -> Pair:
    """A form."""
    return Pair(method, "/form", (URLENCODED,), body.encode(), {"parsed": True}, tree)


def uploaded(tree: Any, uploads: Any, *parts: tuple[str, bytes]) -> Pair:
    """A form with files."""
    asked = {"parsed": True, "uploads": uploads}
    return Pair("POST", "/upload", (MULTIPART,), form(*parts), asked, tree)


PAIRS = [
    # The target.
    Pair(),
    Pair(target="/a?"),
    Pair(target="/a??x=1?"),
    Pair(target="/a?b=1&b=2&c[]=%20+"),
    Pair(target="/%7Euser/%2f%41/b+c"),
    Pair(target="/a%20b;c=d?e;f"),
    Pair(target="//a//b/./c/../d"),
    Pair(target="/[x]!$&'()*,:@"),
    Pair(target="/caf\u00e9", asked={"uri": f"http://{HOST}/caf%C3%A9"}),
    Pair(target="/?q=caf\u00e9"),
    Pair(target="/{a}|b", asked={"uri": f"http://{HOST}/%7Ba%7D%7Cb"}),
    Pair(target="/?" + "x" * 3000),
    Pair(
        target="http://other.test:81/p?q",
        asked={"uri": "http://other.test:81/p?q", "rawQuery": "q"},
        direct=True,
    ),
    # The host and the version.
    Pair(headers=(f"Host: {HOST}:8080",)),
    Pair(headers=("Host: APP.Test",), direct=True),
    Pair(headers=("Host: [::1]:8080",)),
    Pair(headers=("Host: 127.0.0.1",)),
    Pair(headers=(f"Host: {HOST}",), version="HTTP/1.0", direct=True),
    # Methods.
    *(
        Pair(method, "/m", ("Content-Type: text/plain",), b"body", sent=b"body")
        for method in ("POST", "PUT", "PATCH")
    ),
    *(
        Pair(method, "/m", ("Content-Type: text/plain",), b"body", sent=b"body")
        for method in ("DELETE", "PROPFIND")
    ),
    Pair("GET", "/m", ("Content-Type: text/plain",), b"body", sent=b"body"),
    Pair("HEAD", "/m?x"),
    Pair("HEAD", "/m", (URLENCODED,), b"a=1"),
    Pair("OPTIONS", "/m"),
    Pair("OPTIONS", "/m", (MULTIPART,), form(('name="a"', b"1"))),
    Pair("M-SEARCH", "/m", direct=True),
    Pair("POST", "/empty"),
    # Headers.
    Pair(headers=("x-tag: 1", "X-TAG: 2"), asked={"headers": {"X-Tag": ["1", "2"]}}),
    Pair(headers=("x-request-ID: a", "ETAG: b"), asked={"headers": {"X-Request-Id": ["a"], "Etag": ["b"]}}),
    Pair(headers=("X-Spaces:  \t a  b \t ",), asked={"headers": {"X-Spaces": ["a  b"]}}),
    Pair(headers=("X-Empty:", "X_under: 1"), asked={"headers": {"X-Empty": [""], "X_under": ["1"]}}),
    Pair(headers=('X-Text: "caf\u00e9" <a&b>',), asked={"headers": {"X-Text": ['"caf\u00e9" <a&b>']}}),
    Pair(headers=("Authorization: Basic YTpi", "Accept: */*", "User-Agent: a/1 (b; c)")),
    Pair(headers=("X-Forwarded-For: 1.2.3.4", "X-Real-Ip: 1.2.3.4"), direct=True),
    Pair(headers=("Expect: 100-continue",), direct=True),
    Pair(
        "POST",
        headers=("Te: trailers", "Trailer: X-Sum"),
        body=b"b",
        asked={"headers": {"Te": ["trailers"]}},
        sent=b"b",
        direct=True,
    ),
    # Cookies.
    Pair(
        headers=("Cookie: sid=a+b; x=%20y%2B; bad=%zz; dup=1; dup=2",),
        asked={"cookies": {"sid": "a b", "x": " y+", "dup": "2"}},
    ),
    Pair(
        headers=("Cookie: a=1", "Cookie: b=2;c=3"),
        asked={"headers": {"Cookie": ["a=1", "b=2;c=3"]}, "cookies": {"a": "1", "b": "2", "c": "3"}},
        direct=True,  # nginx makes one line of them
    ),
    Pair(headers=('Cookie: q="v w"; flag; e=',), asked={"cookies": {"q": "v w", "flag": "", "e": ""}}),
    # Bodies.
    Pair("POST", "/raw", ("Content-Type: application/json",), b'{"a": [1]}', sent=b'{"a": [1]}'),
    Pair("POST", "/raw", (), bytes(range(256)), sent=bytes(range(256))),
    Pair("POST", "/raw?a=1", ("Content-Type: text/xml; charset=x",), b"<a/>" * 5000, sent=b"<a/>" * 5000),
    # Forms.
    posted({"a": "2", "b": ""}, "a=1&b=&a=2"),
    posted({"l": ["x", "y"], "e": [""]}, "l[]=x&l[]=y&e[]="),
    posted(
        {"u": {"n": {"f": "J\u00f6rg", "l": "p q"}, "t": ["1"]}}, "u[n][f]=J%C3%B6rg&u[n][l]=p+q&u[t][]=1"
    ),
    posted({"ab": "1", "c": {"d": "2"}}, "a b=1&c%5Bd%5D=2"),
    posted({"k": "=v=", "lone": ""}, "k==v=&lone"),
    posted({"m": {"0": "a", "1": "b"}}, "m[0]=a&m[1]=b"),
    posted({"q": "1"}, "q=1", "PUT"),
    posted({"q": "1"}, "q=1", "PATCH"),
    posted({}, "", "POST"),
    posted({}, "q=1", "DELETE"),
    posted({}, "q=1", "GET"),
    Pair("POST", "/?a=2", (URLENCODED + "; charset=UTF-8",), b"b=1", {"parsed": True}, {"b": "1"}),
    # Files.
    uploaded({"a": {"b": "1"}, "n": ""}, {}, ('name="a[b]"', b"1"), ('name="n"', b"")),
    uploaded(
        {"t": "x"},
        {"f": leaf("a.txt", 3, "text/plain")},
        ('name="t"', b"x"),
        ('name="f"; filename="a.txt"\r\nContent-Type: text/plain', b"abc"),
    ),
    uploaded(
        {},
        {"p": [leaf("1.jpg", 1, "image/jpeg"), leaf("2.JPG", 0)], "d": {"cv": leaf("\u00fc b.txt", 2)}},
        ('name="p[]"; filename="C:/x/1.jpg"\r\nContent-Type: image/jpeg', b"1"),
        ('name="p[]"; filename="2.JPG"', b""),
        ('name="d[cv]"; filename="\u00fc b.txt"', b"\r\n"),
    ),
    uploaded({}, {"f": leaf("x.php", 0, error=8)}, ('name="f"; filename="x.php"', b"<?php")),
    uploaded(
        {},
        {"f": leaf("first", 1)},
        ('name="f"; filename="first"', b"1"),
        ('name="f"; filename="second"', b"22"),
    ),
]

BEHIND_A_PROXY = [
    Pair(
        headers=("X-Forwarded-For: 203.0.113.9, 198.51.100.7",),
        asked={"remoteAddr": "198.51.100.7"},
        direct=True,  # nginx adds itself
    ),
    Pair(headers=("X-Real-Ip: 203.0.113.9",)),
    Pair(headers=("X-Forwarded-For: nonsense",), direct=True),
]
"""With `http.trusted_subnets`."""
RAW_FORMS = [
    Pair("POST", "/raw", (URLENCODED,), b"a=1&b=%20+", sent=b"a=1&b=%20+"),
    Pair("POST", "/raw", (URLENCODED,), b"%zz=&a=1&a[b]=2", sent=b"%zz=&a=1&a[b]=2"),
    Pair("GET", "/raw", (URLENCODED,), b"a=1", sent=b"a=1"),
    Pair("OPTIONS", "/raw", (URLENCODED,), b"a=1"),
    uploaded({"a": "1"}, {}, ('name="a"', b"1")),
]
"""With `http.raw_body`."""
