"""Pages of the worker in Python: enough for a page of static files whose forms publish.

`/` is redirected to a file, which the server's middleware `static` serves. A form that is posted with a field
`topic` is published to this topic, as a JSON object of its other fields. Everything else needs an
application.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from rr_py_ws.address import UnixAddress, parse_dsn
from rr_py_ws.errors import ProtocolError, RPCError
from rr_py_ws.wire import publish
from rr_py_ws.wire.goridge import Flag, FrameDecoder
from rr_py_ws.wire.publish_protobuf import decode_ok, encode_broadcast
from rr_py_ws.wire.rpc import encode_request, parse_reply
from rr_py_ws.wire.worker import Message

_CHUNK = 64 * 1024
_TIMEOUT = 10.0
DEFAULT_RPC = "tcp://127.0.0.1:6001"


def connect(dsn: str, timeout: float | None = None) -> socket.socket:
    """Connect to `tcp://host:port` or `unix://path`.

    Raises:
        OSError: nobody answers there.
        ValueError: this is no address.
    """
    address = parse_dsn(dsn)
    if not isinstance(address, UnixAddress):
        return socket.create_connection((address.host or "127.0.0.1", address.port), timeout)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(address.path)
    except OSError:
        connection.close()
        raise
    return connection


class Refused(Exception):
    """A form that is not carried out.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Pages:
    """Answers requests for pages.

    Args:
        may_publish: whether a form may publish to this topic.
        index: where `/` is redirected to; empty: nowhere.
        rpc: where forms are published.
    """

    def __init__(self, may_publish: Callable[[str], bool], index: str = "", rpc: str = DEFAULT_RPC) -> None:
        self._may_publish = may_publish
        self._index = index
        self._rpc = rpc

    def answer(self, request: dict[str, Any], body: bytes) -> Message:
        """Answer one request.

        Args:
            request: its context.
            body: its body; the JSON tree of the fields when it is a form.
        """
        try:
            if request["method"] == "POST":
                self._publish(request, body)
                return _answer(204)
            if self._index and urlsplit(request["uri"]).path in ("", "/"):
                return _answer(302, {"Location": [self._index]})
            raise Refused(404, "There is no such page.")
        except Refused as refused:
            error = json.dumps({"error": str(refused)}).encode()
            return _answer(refused.status, {"Content-Type": ["application/json"]}, error)

    def _publish(self, request: dict[str, Any], body: bytes) -> None:
        # A form of another site may be sent here in the name of a visitor.
        for origin in (request.get("headers") or {}).get("Origin", ()):
            if urlsplit(origin).netloc != urlsplit(request["uri"]).netloc:
                raise Refused(403, "This form belongs to another site.")
        fields = json.loads(body) if request.get("parsed") and body else {}
        topic = fields.pop("topic", None)
        if not isinstance(topic, str) or not topic or request.get("uploads"):
            raise Refused(501, "This needs PHP, which is not installed here: only messages are published.")
        if not self._may_publish(topic):
            raise Refused(403, f"Nobody may write to {topic}.")
        payload = json.dumps(fields, ensure_ascii=False).encode()
        try:
            self._call("broadcast.Publish", encode_broadcast([publish.Message("", [topic], payload)]))
        except (OSError, ValueError, ProtocolError, RPCError) as error:
            raise Refused(503, f"Cannot publish: {error}") from None

    def _call(self, method: str, argument: bytes) -> None:
        decoder = FrameDecoder()
        with connect(self._rpc, _TIMEOUT) as connection:
            connection.sendall(encode_request(1, method, argument, Flag.PROTO))
            while (frame := decoder.next_frame()) is None:
                data = connection.recv(_CHUNK)
                if not data:
                    raise RPCError("the server closed the connection")
                decoder.receive_data(data)
        _, result, failed = parse_reply(frame)
        if failed:
            raise RPCError(result.decode("utf-8", "replace"))
        if not decode_ok(result):
            raise RPCError("the server did not accept the message")


def _answer(status: int, headers: dict[str, list[str]] | None = None, body: bytes = b"") -> Message:
    return Message(json.dumps({"status": status, "headers": headers or {}}).encode(), body)
