"""What is fuzzed: one function for each decoder.

A target takes any bytes and returns. The decoder under it may give a value or raise the exception that its
docstring names; everything else, and a value that breaks what is said of it, is a finding and gets out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from struct import pack, unpack_from
from zlib import crc32

import httptools

from fuzz import listener
from rr_py_ws import native
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.config import check, load_config, masked_json, problems, report_text
from rr_py_ws.core.origin import OriginRule
from rr_py_ws.errors import (
    CommandError,
    ConfigError,
    PayloadTooBig,
    ProtocolError,
    RPCError,
    SoftJobError,
    WorkerDied,
    WorkerError,
)
from rr_py_ws.wire import (
    command,
    forms,
    http,
    publish,
    publish_protobuf,
    push,
    rpc,
    upgrade,
    upstream,
    values,
    worker,
)
from rr_py_ws.wire.access import decode_answer, encode_request, join_question
from rr_py_ws.wire.body import CHUNKED, BodyDecoder
from rr_py_ws.wire.goridge import Flag, Frame, FrameDecoder, encode_frame
from rr_py_ws.wire.jsontext import encode_string
from rr_py_ws.wire.multipart import MultipartDecoder, PartBegin, PartEnd
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.publish_call import OKS
from rr_py_ws.wire.verdict import Verdict
from support.go_json import go_encode
from support.publish_calls import read_stream

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {}
"""By name, which is also that of the folder in the corpus."""

_MAX_PAYLOAD = 8192
_SMALL, _KEEP = 100, 16
_CODECS = (Flag.PROTO, Flag.JSON, Flag.MSGPACK, Flag.RAW, Flag.GOB, rpc.NO_CODEC)
_ORIGINS = OriginRule(("https://*.example.com", "http://localhost"))
_PROXIES = TrustedProxies(("127.0.0.0/8",))
_STRANGER = upstream.Sender(("203.0.113.9",), "http")
_FIELD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\x00-\x08\x0a-\x1f\x7f]*")


def target(function: Target) -> Target:
    """Enter a target into the list."""
    TARGETS[function.__name__] = function
    return function


@target
def page_body(data: bytes) -> None:
    """A body in chunks, in one piece and byte by byte: the same content, and the same end."""

    def read(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
        decoder = BodyDecoder(CHUNKED)
        content = rest = b""
        try:
            for piece in pieces:
                some, rest = decoder.feed(rest + piece)
                content += some
        except ProtocolError:
            return None
        assert decoder.complete or not rest
        return content, rest

    assert read([data]) == read([data[at : at + 1] for at in range(len(data))])


@target
def page_form(data: bytes) -> None:
    """An urlencoded form, from its bytes to the JSON that PHP gets."""
    with suppress(ProtocolError):
        fields = _done(forms.parse_urlencoded(data, forms.FieldLimit(100, lambda _: None)))
        tree = _done(forms.make_tree(fields))
        assert json.loads(forms.encode_tree(tree)) == tree


def _done(work: forms.Work[forms.T]) -> forms.T:
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: forms.T = end.value
            return result


@target
def page_multipart(data: bytes) -> None:
    """A form with files; a part begins, has content, and ends."""
    decoder, inside = MultipartDecoder("multipart/form-data; boundary=x"), False
    with suppress(ProtocolError):
        for event in (event for at in range(0, len(data), 7) for event in decoder.feed(data[at : at + 7])):
            if isinstance(event, PartBegin):
                assert event.name and (event.file is None or "/" not in event.file)
            assert inside is not isinstance(event, PartBegin)
            inside = not isinstance(event, PartEnd)


@target
def goridge(data: bytes) -> None:
    """A stream of frames, in any chunks. The first byte says which, and whether checksums are mended."""
    how, stream = data[:1] or b"\0", data[1:]
    if how[0] & 1:
        stream = _with_checksums(stream)
    whole = _decode_stream([stream])
    assert _decode_stream(_cut(stream, (how[0] >> 1) + 1)) == whole
    passing = _pass_over_stream([stream])
    assert _pass_over_stream(_cut(stream, (how[0] >> 1) + 1)) == passing
    frames, end = whole
    beginnings = [
        frame if len(frame.payload) <= _SMALL else frame._replace(payload=frame.payload[:_KEEP])
        for frame in frames
    ]
    assert passing[: len(frames)] == beginnings
    assert end is not None or passing == [*beginnings, None]
    encoded = b"".join(encode_frame(*frame) for frame in frames)
    assert _decode_stream([encoded]) == (frames, None)


def _cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def _decode_stream(chunks: list[bytes]) -> tuple[list[Frame], type[Exception] | None]:
    decoder, frames = FrameDecoder(_MAX_PAYLOAD), []
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            while (frame := decoder.next_frame()) is not None:
                assert len(frame.payload) <= _MAX_PAYLOAD
                frames.append(frame)
        decoder.receive_eof()
    except ProtocolError as error:
        return frames, type(error)
    return frames, None


def _pass_over_stream(chunks: list[bytes]) -> list[Frame | type[Exception] | None]:
    """The same for a decoder that goes on behind a frame that is too big; the last item says how it ends."""
    decoder = FrameDecoder(_SMALL, keep=_KEEP)
    found: list[Frame | type[Exception] | None] = []
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            while True:
                try:
                    frame = decoder.next_frame()
                except PayloadTooBig:
                    frame = decoder.oversized
                    assert frame is not None
                    assert len(frame.payload) <= _KEEP
                if frame is None:
                    break
                found.append(frame)
        decoder.receive_eof()
    except ProtocolError as error:
        return [*found, type(error)]
    return [*found, None]


def _with_checksums(stream: bytes) -> bytes:
    """Put the right checksum into each header: no fuzzer finds one by chance."""
    mended, at = bytearray(stream), 0
    while at + 12 <= len(mended):
        mended[at + 6 : at + 10] = pack("<I", crc32(mended[at : at + 6]))
        at += 4 * (mended[at] & 0x0F) + unpack_from("<I", mended, at + 2)[0] or 12
    return bytes(mended)


def _frame(data: bytes) -> Frame:
    """Make any frame of any bytes: flags, stream bits, number of options, options of a byte, payload."""
    flags, stream, count = data[:3].ljust(3, b"\0")
    count %= 11
    return Frame(flags, tuple(data[3 : 3 + count].ljust(count, b"\0")), data[3 + count :], stream)


@target
def rpc_request(data: bytes) -> None:
    frame = _frame(data)
    try:
        rpc.parse_reply(frame)
    except ProtocolError as error:
        assert type(error) is ProtocolError  # the payload is here, so it cannot be too big any more
    try:
        request = rpc.parse_request(frame)
    except ProtocolError as error:
        assert type(error) is ProtocolError
        return
    assert request.method + request.body == frame.payload
    for encoded, result in (
        (rpc.encode_reply(request, b"result"), (request.sequence, b"result", False)),
        (rpc.encode_error(request, "text"), (request.sequence, b"text", True)),
    ):
        (reply,), _ = _decode_stream([encoded])
        assert rpc.parse_reply(reply) == result


@target
def twins(data: bytes) -> None:
    """Functions in C and in Python say the same of everything, and of what is nearly right."""
    at, text = (data[0] if data else 0), data[:125]
    for name, arguments in (
        ("read_calls", (data[1:], at, OKS, 9, 999, 7, _MAX_PAYLOAD)),
        ("read_calls", (_with_checksums(data), 0, OKS, 9, 999, 7, _MAX_PAYLOAD)),
        ("read_small_frame", (data,)),
        ("read_small_frame", (bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text,)),
        ("encode_push", (Publication(data[:9].decode("utf-8", "surrogateescape"), data[9:]),)),
    ):
        python, compiled = native.TWINS[name]
        assert compiled is None or compiled(*arguments) == python(*arguments)


@target
def rpc_publish(data: bytes) -> None:
    """The argument of both `Publish` methods; the first byte chooses codec and schema."""
    choice, body = (data[:1] or b"\0")[0], data[1:]
    codec = _CODECS[choice % len(_CODECS)]
    has_broker = bool(choice & 0x80)
    decode = publish.decode_websockets if has_broker else publish.decode_broadcast
    try:
        messages = decode(codec, body)
    except RPCError as error:
        _one_line(str(error))
        return
    for broker, topics, payload in messages:
        assert type(broker) is str and (has_broker or not broker)
        assert type(payload) is bytes
        for topic in topics:
            assert type(topic) is str
            for encoding in (push.STRING, push.JSON, push.BINARY):
                assert encoding.push(Publication(topic, payload))
    if codec is Flag.PROTO and not has_broker:
        assert publish.decode_broadcast(codec, publish_protobuf.encode_broadcast(messages)) == messages


@target
def rpc_calls(data: bytes) -> None:
    """A stream of calls, cut as the first byte says: the same by the fast way and the general one."""
    how, stream = (data[:1] or b"\0")[0], data[1:]
    if how & 1:
        stream = _with_checksums(stream)
    calls, _, sound = read_stream([stream], fast=False)
    for chunks in ([stream], _cut(stream, (how >> 1) + 1)):
        fast_calls, _, fast_sound = read_stream(chunks, fast=True)
        assert (fast_calls, fast_sound) == (calls, sound)


@target
def rpc_argument(data: bytes) -> None:
    """The argument of the other methods: a bool or a string. The first byte chooses the codec."""
    codec, body = _CODECS[(data[:1] or b"\0")[0] % len(_CODECS)], data[1:]
    for kind in (bool, str):
        with suppress(RPCError):
            assert type(values.decode_argument(codec, body, kind)) is kind
    with suppress(RPCError):
        publish_protobuf.decode_ok(body)


@target
def worker_answer(data: bytes) -> None:
    """A frame of a PHP worker, as an answer and as a control frame."""
    frame = _frame(data)
    try:
        message = worker.decode_message(frame)
        assert message.context + message.body == frame.payload
    except SoftJobError as error:
        assert str(error)
        _one_line(str(error))
    except WorkerDied as error:
        _one_line(str(error))
    try:
        pid = worker.decode_control(frame)
        assert pid is None or pid > 0
    except WorkerDied:
        pass


@target
def access_answer(data: bytes) -> None:
    """PHP's verdict, context and body with a NUL between; a refusal must be one sound HTTP response."""
    context, _, body = data.partition(b"\0")
    try:
        verdict = decode_answer(context, body)
    except WorkerError:
        return
    assert 100 <= verdict.status <= 599
    _check_response(verdict)


def _check_response(verdict: Verdict) -> None:
    data = http.refusal_response(verdict)
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode("utf-8", "surrogateescape").split("\r\n")
    assert re.fullmatch(r"HTTP/1\.1 [2-5][0-9][0-9] [A-Za-z0-9' -]+", status), status
    assert all(_FIELD.fullmatch(field) for field in fields), fields
    names = [field.partition(":")[0].lower() for field in fields]
    assert fields[-1] == "Connection: close" and names.count("connection") == 1
    if verdict.status in (204, 304):
        assert not body and "content-length" not in names
    else:
        assert body == verdict.body and fields[-2] == f"Content-Length: {len(body)}"
    assert "transfer-encoding" not in names and names.count("content-length") <= 1
    httptools.HttpResponseParser(object()).feed_data(data)


@target
def browser_command(data: bytes) -> None:
    """A browser's command: the same by the fast way and the slow one, and every reply to it is JSON."""
    decoded = _decode_command(data)
    slow = _made_slow(data)
    if slow is not None:
        assert _decode_command(slow) == decoded, (decoded, _decode_command(slow))
    if decoded is None:
        return
    assert type(decoded.name) is str and type(decoded.broker) is str
    for kind in ("@join", "#join"):
        reply = json.loads(_content(push.STRING.reply(kind, decoded.topics, id=decoded.id, reason="no")))
        assert reply["topic"] == kind
        assert len(reply["payload"] or ()) == len(decoded.topics or ())


def _decode_command(data: bytes) -> command.Command | None:
    try:
        return command.decode_command(data)
    except CommandError as error:
        _one_line(str(error))
        return None


def _content(frame: bytes) -> bytes:
    """Take a server's frame apart."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def _made_slow(data: bytes) -> bytes | None:
    """Give an object a key that orjson refuses; None where the two ways may differ: nested deeply."""
    start = data.lstrip(b" \t\r\n")
    if not start.startswith(b"{") or data.count(b"[") + data.count(b"{") > 100:
        return None
    rest = start[1:].lstrip(b" \t\r\n")
    return b'{"x":"\xff"' + (b"" if rest.startswith(b"}") else b",") + rest


@target
def request_head(data: bytes) -> None:
    """A client's handshake, through every step that reads it."""
    head, _, _ = data.partition(b"\r\n\r\n")
    with suppress(ProtocolError):
        page = http.parse_request_head(head + b"\r\n\r\n", bodies=True)
        assert page.body >= CHUNKED
        http.check_page_request(page)
    try:
        request = http.parse_request_head(head + b"\r\n\r\n")
    except ProtocolError as error:
        assert type(error) is ProtocolError
        _check_response(Verdict(400, (), str(error).encode("utf-8", "replace")))
        return
    assert type(request.path) is str
    _ORIGINS.allows(request.header(b"origin"))
    encoded = encode_request(
        remote_addr=_PROXIES.client_address("127.0.0.1", request),
        protocol=f"HTTP/{request.version}",
        method=request.method,
        uri=f"http://{request.header(b'host')}{request.target}",
        headers=request.headers,
        raw_query=request.query,
    )
    question = json.loads(join_question(encoded, ["a"]))
    assert question["attributes"] == {"ws:joinTopics": "a"}
    assert all(len(value) >= 1 for value in question["headers"].values())
    refusal = upgrade.check_upgrade(request)
    if refusal is not None:
        _check_response(refusal)
        return
    offers = upgrade.requested_subprotocols(request)
    chosen = next((offer for offer in offers if offer in push.BY_SUBPROTOCOL), "")
    response = upgrade.accept_response(request, chosen)
    assert response.count(b"\r\n") == (6 if chosen else 5)


@target
def forwarded_head(data: bytes) -> None:
    """A request as it is passed on: one request, the same one; who sent it is not for the client to say."""
    head, _, _ = data.partition(b"\r\n\r\n")
    try:
        request = http.parse_request_head(head + b"\r\n\r\n", bodies=True)
    except ProtocolError:
        return
    headers = [(name.lower(), value) for name, value in request.headers]
    protocols = upgrade.requested_protocols(request)
    target = request.target.encode("utf-8", "surrogateescape")
    sent = upstream.request_head(
        request.method, target, headers, _STRANGER, b"behind.test", b"mark", b", ".join(protocols)
    )
    again = http.parse_request_head(sent, bodies=True)
    assert (again.method, again.target, again.body) == (request.method, request.target, request.body)
    assert again.lines(b"x-forwarded-for") == ["203.0.113.9"]
    assert again.lines(b"x-forwarded-proto") == ["http"]
    assert again.lines(b"x-forwarded-host") == again.lines(b"host")
    names = {name.replace(b"_", b"-") for name, _ in again.headers}
    assert not names & {b"forwarded", b"x-real-ip", b"x-forwarded-port", b"proxy", b"te", b"keep-alive"}
    assert upgrade.requested_protocols(again) == protocols


@target
def upstream_answer(data: bytes) -> None:
    """What the server behind sends, cut as the first byte says: as in one piece, and sound to pass on."""
    how, stream = (data[:1] or b"\0")[0], data[1:]
    to_head, switches = bool(how & 1), bool(how & 2)
    whole = _read_answer([stream], to_head, switches)
    assert _read_answer(_cut(stream, (how >> 2) + 1), to_head, switches) == whole
    if whole is None:
        return
    status, headers, body, _, _ = whole
    assert 200 <= status <= 599 or (status == 101 and switches)
    passed_on = upstream.answer_headers(headers, status)
    for name, value in passed_on:
        assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9a-z]+", name), name
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value), value
    lengths = [int(value) for name, value in passed_on if name == b"content-length"]
    assert len(lengths) <= 1 and not {b"connection", b"transfer-encoding"} & {name for name, _ in passed_on}
    if to_head or status in (101, 204, 304):
        assert not body
    elif lengths:
        assert lengths == [len(body)]


def _read_answer(
    chunks: list[bytes], to_head: bool, switches: bool
) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool, bytes] | None:
    """Read a whole answer and the end of the connection; None when it cannot be passed on."""
    reader = upstream.AnswerReader(to_head=to_head, upgrade=switches)
    rest, reusable = b"", False
    try:
        for chunk in chunks:
            if reader.status == 101:
                rest += chunk
            else:
                reader.feed(chunk)
        reusable = reader.reusable
        reader.end()
    except ProtocolError as error:
        _one_line(str(error))
        assert error.status == 502
        return None
    return reader.status, reader.headers, b"".join(reader.body), reusable, reader.rest + rest


@target
def client_stream(data: bytes) -> None:
    """All that a client sends, cut as the first byte says: the answer is the same as to one packet."""
    how, stream = data[:1] or b"\0", data[1:]
    whole, cut = listener.exchange([stream]), listener.exchange(_cut(stream, how[0] + 1))
    if any(answer.refuses_text for answer in (whole, cut)):
        # The protocol core reads on to the end of a packet before it is told that a text in it is bad: a ping
        # after that text may get its pong, and another reason to close may come first.
        assert whole.rest[:-1] == cut.rest[:-1]
    else:
        assert whole == cut, (whole, cut)


@target
def json_string(data: bytes) -> None:
    assert encode_string(data) == go_encode(data)
    assert encode_string(data.decode("utf-8", "surrogateescape")) == go_encode(data)


@target
def config_file(data: bytes) -> None:
    """A configuration: YAML, and what begins like JSON as JSON too. Writes to the current directory."""
    names = ("fuzzed.yaml", "fuzzed.json") if data.startswith(b"{") else ("fuzzed.yaml",)
    for name in names:
        path = Path(name)
        path.write_bytes(data)
        try:
            config = load_config(path, environ={"SET": "value", "RR_LOGS_LEVEL": "info"})
        except ConfigError as error:
            assert str(error).isprintable(), str(error)
            continue
        assert all(line.isprintable() for line in report_text(path, check(config)).split("\n"))
        json.loads(masked_json(config))
        for problem in problems(config):
            assert str(problem).isprintable(), str(problem)


def _one_line(text: str) -> None:
    assert text and "\n" not in text and "\r" not in text, text
