"""A worker in Python, for machines without PHP: `python -m rr_py_ws.devtools.worker`.

It speaks the protocol of PHP workers over the relay that the server names in `RR_RELAY`, and stands for an
application that lets everybody connect, and join all topics but those that `--deny-topics` names. What forms
send is published; see `pages`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase

from rr_py_ws.devtools.pages import DEFAULT_RPC, Pages, connect
from rr_py_ws.errors import ProtocolError, WorkerError
from rr_py_ws.wire.details import DETAILS_TYPE
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


def is_denied(topic: str, denied: Sequence[str]) -> bool:
    """Whether a topic is one that nobody may join."""
    return any(fnmatchcase(topic, pattern) for pattern in denied)


def decide(question: Message, denied: Sequence[str], pages: Pages, details: str = "") -> Message:
    """Answer one request.

    Args:
        question: the request.
        denied: shell patterns of topics that nobody may join.
        pages: answer what is no question of the websockets plugin.
        details: JSON that is said of everybody who connects.

    Raises:
        ValueError: the request cannot be read.
    """
    request = json.loads(question.context)
    attributes = request["attributes"]
    topics = attributes.get("ws:joinTopics")
    if attributes.get("ws:joinServer"):
        if details:
            head = {"status": 200, "headers": {"Content-Type": [DETAILS_TYPE]}}
            return Message(json.dumps(head).encode(), details.encode())
        status = 200
    elif isinstance(topics, str):
        status = 403 if any(is_denied(topic, denied) for topic in topics.split(",")) else 200
    else:
        return pages.answer(request, question.body)
    return Message(json.dumps({"status": status, "headers": {}}).encode())


def serve(
    read: Callable[[], bytes],
    write: Callable[[bytes], object],
    denied: Sequence[str],
    pages: Pages,
    details: str = "",
) -> None:
    """Answer requests until the server says stop or closes the relay.

    Args:
        read: returns what arrived, nothing at the end.
        write: sends a whole frame.
        denied: shell patterns of topics that nobody may join.
        pages: answer what is no question of the websockets plugin.
        details: JSON that is said of everybody who connects.

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
                answer = encode_message(decide(decode_message(frame), denied, pages, details))
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
    parser.add_argument(
        "--details",
        metavar="JSON",
        default="",
        help="what is said of everybody who connects, such as "
        """{"user":"42","join":["user.42"],"expire":3600}""",
    )
    parser.add_argument("--index", metavar="PATH", default="", help="where / is redirected to")
    options = parser.parse_args(arguments)
    denied, details = options.deny_topics, options.details
    pages = Pages(
        lambda topic: not is_denied(topic, denied),
        options.index,
        os.environ.get("RR_RPC") or DEFAULT_RPC,
    )
    relay = os.environ.get("RR_RELAY", "pipes")
    try:
        with ExitStack() as stack:
            if relay == "pipes":
                serve(lambda: os.read(0, _CHUNK), lambda frame: os.write(1, frame), denied, pages, details)
            else:
                connection = stack.enter_context(connect(relay))
                serve(lambda: connection.recv(_CHUNK), connection.sendall, denied, pages, details)
    except (OSError, ValueError, ProtocolError, WorkerError) as error:
        print(f"rr_py_ws.devtools.worker: {relay}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
