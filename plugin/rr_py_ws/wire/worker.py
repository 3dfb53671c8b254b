"""What server and PHP worker say to each other, in goridge frames.

::

    server                                    worker
    {"pid":N}      control frame         ->
                                         <-   {"pid":N}      control frame: it is ready
    context, body  one option            ->
                                         <-   context, body  one option: the answer
                                         <-   text           flag ERROR: it failed, and goes on
                                         <-   {"stop":true}  as context, no body: "restart me, ask another"
    {"pid":N}      control frame         ->   may come behind a question; the worker answers the two in order
    {"stop":true}  control frame         ->   ends

The option is the length of the context; the body is what follows it. One question at a time
(roadrunner-server/roadrunner worker/sync_worker.go @v2.7.1, spiral/roadrunner-worker src/Worker.php @v3.4.0).
"""

from __future__ import annotations

from mmap import mmap
from typing import NamedTuple

import orjson

from rr_py_ws.errors import SoftJobError, WorkerDied
from rr_py_ws.wire.goridge import STREAM, STREAM_PONG, STREAM_STOP, Flag, Frame, encode_frame, encode_header

_MAX_ERROR_TEXT = 4096
_MAX_CONTROL = 4096
"""Bytes of a control frame that are looked at."""
_RESTART = b'{"stop":true}'

# `&` with a member of an enum takes ten times as long as with a number.
_CONTROL, _ERROR = int(Flag.CONTROL), int(Flag.ERROR)
STOP = encode_frame(Flag.CONTROL | Flag.JSON, (), _RESTART)
"""Asks a worker to end."""
STOP_STREAM = encode_frame(0, (), b"", STREAM_STOP)
"""Asks a worker to end the answer that it streams. Libraries before those of RoadRunner 2023 die of it."""
PONG = encode_frame(0, (), b"", STREAM_PONG)
"""Answers the ping of a worker that streams."""

_SMALL = 64 * 1024


class Message(NamedTuple):
    """A question to a worker, or its answer.

    Attributes:
        context: the first part, by custom JSON.
        body: the second part, any bytes.
    """

    context: bytes
    body: bytes = b""

    @property
    def asks_for_restart(self) -> bool:
        """Whether the worker, instead of answering, wants to be stopped and another one to be asked."""
        return self.context == _RESTART and not self.body


class MappedQuestion(NamedTuple):
    """A question whose body is a file.

    Attributes:
        context: the first part.
        body: the second part.
        descriptor: of the file, which is open until the answer is here.
    """

    context: bytes
    body: mmap
    descriptor: int


Question = Message | MappedQuestion


def encode_pid(pid: int) -> bytes:
    """Encode the server's part of the handshake."""
    return encode_frame(Flag.CONTROL | Flag.JSON, (), b'{"pid":%d}' % pid)


def encode_pid_reply(pid: int) -> bytes:
    """Encode the worker's part of the handshake; PHP sets no codec."""
    return encode_frame(Flag.CONTROL, (), b'{"pid":%d}' % pid)


def encode_message(message: Message) -> bytes:
    """Encode a question or an answer. A question with nothing in it would end a PHP worker."""
    return encode_frame(0, (len(message.context),), message.context + message.body)


def encode_question(question: Question) -> tuple[bytes | memoryview, ...]:
    """Encode a question as pieces to be written one after the other: a large body is not copied."""
    context, body = question.context, question.body
    head = encode_header(0, (len(context),), len(context) + len(body))
    if isinstance(question, Message) and len(body) <= _SMALL:
        return (b"%b%b%b" % (head, context, question.body),)
    return head + context, memoryview(body)


def encode_error(text: str) -> bytes:
    """Encode a worker's error answer."""
    return encode_frame(Flag.ERROR, (), text.encode("utf-8", "replace"))


def decode_control(frame: Frame) -> int | None:
    """Return the process id in a frame of the handshake, or None for the stop command.

    Raises:
        WorkerDied: it is neither; the stream is of no use any more.
    """
    if not frame.flags & _CONTROL:
        raise WorkerDied(f"a frame came where a control frame was due: {frame.payload[:100]!r}")
    if len(frame.payload) > _MAX_CONTROL:
        raise WorkerDied(f"a control frame has {len(frame.payload)} bytes")
    try:
        fields = orjson.loads(frame.payload)
    except orjson.JSONDecodeError as error:
        raise WorkerDied(f"a control frame is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise WorkerDied("a control frame is not a JSON object")
    if fields.get("stop") is True:
        return None
    pid = fields.get("pid")
    if type(pid) is not int or pid <= 0:  # True is an int, too
        raise WorkerDied(f"the control frame has no pid: {frame.payload[:100]!r}")
    return pid


def decode_message(frame: Frame, *, streams: bool = False) -> Message:
    """Decode a question or an answer.

    Args:
        frame: what came.
        streams: whether it may be a part of an answer.

    Raises:
        SoftJobError: an error answer; the worker can be used further. Its text is the worker's, on one line.
        WorkerDied: it is something else; the stream is of no use any more.
    """
    if frame.flags & _ERROR:
        # It goes into a line of the log, and an exception of PHP may bring its whole trace.
        text = frame.payload[:_MAX_ERROR_TEXT].decode("utf-8", "replace")
        raise SoftJobError(" ".join(text.split()) or "an error without a text")
    if frame.flags & _CONTROL:
        raise WorkerDied("a control frame came where an answer was due")
    # The frames behind this one would be taken for the reply to the handshake.
    if frame.stream & STREAM and not streams:
        raise WorkerDied("its answer is streamed, which cannot be used; answer with a whole response")
    if len(frame.options) != 1:
        raise WorkerDied(f"a frame with {len(frame.options)} options, one is due")
    length = frame.options[0]
    if length > len(frame.payload):
        raise WorkerDied(f"a context of {length} bytes in a payload of {len(frame.payload)}")
    return Message(frame.payload[:length], frame.payload[length:])
