"""A worker in Python, for machines without PHP: `python -m rr_py_ws.devtools.worker`.

It speaks the protocol of PHP workers over the relay that the server names in `RR_RELAY`, and stands for an
application that lets everybody connect, and join all topics but those that `--deny-topics` names.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase

from rr_py_ws.address import UnixAddress, parse_dsn
from rr_py_ws.errors import ProtocolError, WorkerError
from rr_py_ws.wire.goridge import Flag, FrameDecoder
from rr_py_ws.wire.worker import (
    Message,
    decode_control,
    decode_message,
    encode_error,
    encode_message,
    encode_pid_reply,
)

_CHUNK = 64 * 1024


def decide(context: bytes, denied: Sequence[str]) -> Message:
    """Answer one request.

    Args:
        context: the request, as JSON.
        denied: shell patterns of topics that nobody may join.

    Raises:
        ValueError: the request cannot be read.
    """
    attributes = json.loads(context)["attributes"]
    topics = attributes.get("ws:joinTopics")
    if attributes.get("ws:joinServer"):
        status = 200
    elif isinstance(topics, str):
        matches = any(fnmatchcase(topic, pattern) for topic in topics.split(",") for pattern in denied)
        status = 403 if matches else 200
    else:
        status = 404  # not a question of the websockets plugin
    return Message(json.dumps({"status": status, "headers": {}}).encode())


def serve(read: Callable[[], bytes], write: Callable[[bytes], object], denied: Sequence[str]) -> None:
    """Answer requests until the server says stop or closes the relay.

    Args:
        read: returns what arrived, nothing at the end.
        write: sends a whole frame.
        denied: shell patterns of topics that nobody may join.

    Raises:
        ProtocolError: the server sends something that is not a frame.
        WorkerError: it sends a frame that cannot come here.
    """
    decoder = FrameDecoder()
    while data := read():
        decoder.receive_data(data)
        while (frame := decoder.next_frame()) is not None:
            if frame.flags & Flag.CONTROL:
                if decode_control(frame) is None:
                    return
                write(encode_pid_reply(os.getpid()))
                continue
            try:
                answer = encode_message(decide(decode_message(frame).context, denied))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                answer = encode_error(f"this is not a request: {error!r}")
            write(answer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rr_py_ws.devtools.worker", description=__doc__)
    parser.add_argument(
        "--deny-topics",
        metavar="PATTERN",
        action="append",
        default=[],
        help="a shell pattern of topics that nobody may join, such as 'private-*'; may be repeated",
    )
    denied = parser.parse_args(arguments).deny_topics
    relay = os.environ.get("RR_RELAY", "pipes")
    try:
        with ExitStack() as stack:
            if relay == "pipes":
                serve(lambda: os.read(0, _CHUNK), lambda frame: os.write(1, frame), denied)
            else:
                connection = stack.enter_context(_connect(relay))
                serve(lambda: connection.recv(_CHUNK), connection.sendall, denied)
    except (OSError, ValueError, ProtocolError, WorkerError) as error:
        print(f"rr_py_ws.devtools.worker: {relay}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _connect(relay: str) -> socket.socket:
    address = parse_dsn(relay)
    if not isinstance(address, UnixAddress):
        return socket.create_connection((address.host or "127.0.0.1", address.port))
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address.path)
    except OSError:
        connection.close()
        raise
    return connection


if __name__ == "__main__":
    sys.exit(main())
