"""Clients of pages, files and monitoring: requests that are dear to read, to answer or to pass on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from chaos.attackers.connection import (
    Address,
    Attack,
    Connection,
    Stream,
    Target,
    close_all,
    frame,
    head,
    hit,
    pour,
)

FILE = "attacked.bin"
"""A file of `FILE_SIZE` bytes that the server has."""
FILE_SIZE = 100_000

_CONNECTIONS = 20
_FIELDS = 10_000
"""As many as a form may have."""
_BOUNDARY = "b"


def get(path: str, more: str = "") -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\nHost: app.test\r\n{more}\r\n".encode()


def post(body: bytes, content_type: str) -> bytes:
    """A request with a form."""
    start = f"POST /form HTTP/1.1\r\nHost: app.test\r\nContent-Type: {content_type}\r\n"
    return f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body


def deep_names() -> Iterator[bytes]:
    """As many fields as are allowed, with names of as many keys as count: each makes 127 maps."""
    for number in range(_FIELDS):
        yield b"%d%s" % (number, b"[a]" * 120)


def many_names() -> Iterator[bytes]:
    """Names with brackets that are none, which are many pieces."""
    for number in range(_FIELDS):
        yield b"%d" % number + b"[x]]" * 100


def urlencoded(names: Callable[[], Iterator[bytes]]) -> bytes:
    """An urlencoded form of these names, each without a value."""
    body = b"&".join(names()).replace(b"[", b"%5B")
    return post(body, "application/x-www-form-urlencoded")


def multipart(names: Callable[[], Iterator[bytes]]) -> bytes:
    """The same as multipart/form-data."""
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n\r\n'
    body = b"".join(part % name for name in names()) + b"--b--\r\n"
    return post(body, f"multipart/form-data; boundary={_BOUNDARY}")


def many_headers() -> bytes:
    """One part, with as many header fields of a few bytes as fit in a form."""
    body = b"--b\r\n" + b"a:\r\n" * 2_000_000 + b"\r\n\r\n--b--\r\n"
    return post(body, f"multipart/form-data; boundary={_BOUNDARY}")


def many_ranges() -> bytes:
    """A request for as many ranges of a file as fit into a head, of a byte each."""
    ranges = ",".join(f"{at}-{at}" for at in range(0, 2700, 2))
    return get(f"/{FILE}", f"Range: bytes={ranges}\r\n")


def asking(
    requests: Callable[[], Sequence[bytes]],
    where: Callable[[Target], Address] = lambda target: target.web,
    connections: int = _CONNECTIONS,
) -> Attack:
    """Attack by requests one behind the other, through some connections, as fast as the server takes them.

    Args:
        requests: makes them, in the attacker's process.
        where: the port.
        connections: how many.
    """

    def attack(target: Target) -> Iterator[None]:
        data = b"".join(requests())
        data *= max(1, 16_384 // len(data))
        opened: list[Connection] = []
        try:
            while len(opened) < connections:
                opened.append(Connection(where(target)))
            yield from pour([Stream(connection, data) for connection in opened])
        finally:
            close_all(opened)

    return attack


def probing(target: Target) -> Iterator[None]:
    """Ask for metrics and health, through as many connections as the server has for that."""
    names = "&".join(["plugin=websockets,nobody"] * 300)
    kinds = [
        (target.metrics, get("/metrics")),
        (target.status, get("/health")),
        (target.status, get(f"/ready?{names}")),
    ]
    for address, data in cycle(kinds):
        yield from hit(address, data, count=16)


def tiny_frames(target: Target) -> Iterator[None]:
    """Send fragments, pings and pongs of no byte or one, in bursts, through many connections."""
    text = frame(1, b"{", fin=False)
    pieces = (frame(0, b" ", fin=False), frame(0, fin=False), frame(10), frame(9, b"x"), frame(10, b"x"))
    data = text + b"".join(pieces) * 4000 + frame(0, b"}")
    opened: list[Connection] = []
    try:
        while len(opened) < _CONNECTIONS:
            opened.append(Connection(target.web))
            opened[-1].upgrade()
        yield from pour([Stream(connection, data) for connection in opened])
    finally:
        close_all(opened)


def dying_workers(target: Target) -> Iterator[None]:
    """Have PHP workers killed by what they are asked, again and again."""
    while True:
        yield from hit(target.web, head("?die"), count=4)


def verdicts(target: Target) -> Iterator[None]:
    """Be refused by PHP with thousands of headers."""
    while True:
        yield from hit(target.web, head("?headers"), count=4)


def answer(path: str) -> bytes:
    """What the hostile worker answers with as the context, by the path of the page."""
    match path:
        case "/headers":
            return json.dumps(
                {"status": 200, "headers": {f"X-{number}": ["a"] for number in range(200_000)}}
            ).encode()
        case "/values":
            return json.dumps({"status": 200, "headers": {"X": ["\u0007a"] * 500_000}}).encode()
        case "/nested":
            return b'{"status":200,"x":' + b'[{"a":[]},' * 100 + b"0" + b"]" * 100 + b"}"
        case "/lists":
            return b'{"status":200,"x":[%b{}]}' % (b"{}," * 4_000_000)
        case _:
            return b'{"status":200,"headers":{}}'


ANSWERS = ("/headers", "/values", "/nested", "/lists")

PAGES: dict[str, Attack] = {
    "forms": asking(lambda: [urlencoded(deep_names), urlencoded(many_names)], connections=4),
    "multipart-forms": asking(lambda: [multipart(deep_names), multipart(many_names)], connections=4),
    "part-headers": asking(lambda: [many_headers()], connections=4),
    "page-answers": asking(lambda: [get(path) for path in ANSWERS], connections=4),
    "ranges": asking(lambda: [many_ranges()]),
    "pipelined-files": asking(lambda: [get(f"/{FILE}")]),
}
"""What a server with pages and files can have beside it."""
