"""Goridge frames that were exchanged with RoadRunner's codec and with PHP, byte for byte."""

from __future__ import annotations

from rr_py_ws.wire.goridge import Frame

FRAMES: dict[str, tuple[bytes, Frame]] = {
    "publish_proto": (  # a PHP publish: topic "chat", payload "hi"
        bytes.fromhex(
            "15 80 26 00 00 00 fb 72 66 d6 00 00 01 00 00 00 11 00 00 00"
            " 62 72 6f 61 64 63 61 73 74 2e 50 75 62 6c 69 73 68 0a 13 0a 07 70 75 62 6c 69 73 68 12 04 63 68"
            " 61 74 1a 02 68 69"
        ),
        Frame(0x80, (1, 17), b"broadcast.Publish\n\x13\n\x07publish\x12\x04chat\x1a\x02hi"),
    ),
    "publish_ok": (  # the reply to it
        bytes.fromhex(
            "15 80 13 00 00 00 68 7a 93 11 00 00 01 00 00 00 11 00 00 00"
            " 62 72 6f 61 64 63 61 73 74 2e 50 75 62 6c 69 73 68 08 01"
        ),
        Frame(0x80, (1, 17), b"broadcast.Publish\x08\x01"),
    ),
    "workers_json": (  # a JSON call
        bytes.fromhex(
            "15 08 16 00 00 00 09 71 db a7 00 00 02 00 00 00 10 00 00 00"
            " 69 6e 66 6f 72 6d 65 72 2e 57 6f 72 6b 65 72 73 22 68 74 74 70 22"
        ),
        Frame(0x08, (2, 16), b'informer.Workers"http"'),
    ),
    "workers_unknown_plugin": (  # its reply when there is no such plugin
        bytes.fromhex(
            "15 08 20 00 00 00 74 d6 9b 72 00 00 02 00 00 00 10 00 00 00"
            " 69 6e 66 6f 72 6d 65 72 2e 57 6f 72 6b 65 72 73 7b 22 77 6f 72 6b 65 72 73 22 3a 6e 75 6c 6c 7d"
        ),
        Frame(0x08, (2, 16), b'informer.Workers{"workers":null}'),
    ),
    "list_json": (  # a JSON call with a bool
        bytes.fromhex(
            "15 08 11 00 00 00 b0 49 0c 3a 00 00 03 00 00 00 0d 00 00 00"
            " 69 6e 66 6f 72 6d 65 72 2e 4c 69 73 74 74 72 75 65"
        ),
        Frame(0x08, (3, 13), b"informer.Listtrue"),
    ),
    "unknown_method": (  # error reply to a JSON call
        bytes.fromhex(
            "15 48 31 00 00 00 c7 be cd c2 00 00 03 00 00 00 0d 00 00 00"
            " 69 6e 66 6f 72 6d 65 72 2e 4c 6f 73 74 72 70 63 3a 20 63 61 6e 27 74 20 66 69 6e 64 20 6d 65 74"
            " 68 6f 64 20 69 6e 66 6f 72 6d 65 72 2e 4c 6f 73 74"
        ),
        Frame(0x48, (3, 13), b"informer.Lostrpc: can't find method informer.Lost"),
    ),
    "unknown_service": (  # error reply to a protobuf call
        bytes.fromhex(
            "15 c0 2a 00 00 00 0a 95 43 c4 00 00 04 00 00 00 09 00 00 00"
            " 6e 6f 73 76 63 2e 46 6f 6f 72 70 63 3a 20 63 61 6e 27 74 20 66 69 6e 64 20 73 65 72 76 69 63 65"
            " 20 6e 6f 73 76 63 2e 46 6f 6f"
        ),
        Frame(0xC0, (4, 9), b"nosvc.Foorpc: can't find service nosvc.Foo"),
    ),
    "raw_request": (  # a raw call
        bytes.fromhex("15 04 07 00 00 00 f2 ac 8e 8a 00 00 05 00 00 00 05 00 00 00 74 2e 52 61 77 00 ff"),
        Frame(0x04, (5, 5), b"t.Raw\x00\xff"),
    ),
    "publish_from_go": (  # the publish above as a Go client sends it: two codec bits
        bytes.fromhex(
            "15 a0 26 00 00 00 ff 5d a7 17 00 00 00 00 00 00 11 00 00 00"
            " 62 72 6f 61 64 63 61 73 74 2e 50 75 62 6c 69 73 68 0a 13 0a 07 70 75 62 6c 69 73 68 12 04 63 68"
            " 61 74 1a 02 68 69"
        ),
        Frame(0xA0, (0, 17), b"broadcast.Publish\n\x13\n\x07publish\x12\x04chat\x1a\x02hi"),
    ),
    "pid_to_worker": (  # RoadRunner 2.7 and newer: the JSON bit is set
        bytes.fromhex("13 09 0c 00 00 00 5f 0c 46 73 00 00 7b 22 70 69 64 22 3a 34 32 34 32 7d"),
        Frame(0x09, (), b'{"pid":4242}'),
    ),
    "pid_to_worker_old": (  # RoadRunner up to 2.6
        bytes.fromhex("13 01 0c 00 00 00 9e 47 36 43 00 00 7b 22 70 69 64 22 3a 34 32 34 32 7d"),
        Frame(0x01, (), b'{"pid":4242}'),
    ),
    "pid_from_worker": (  # what every PHP worker answers
        bytes.fromhex("13 01 0c 00 00 00 9e 47 36 43 00 00 7b 22 70 69 64 22 3a 38 31 32 38 7d"),
        Frame(0x01, (), b'{"pid":8128}'),
    ),
    "exec": (  # context of 7 bytes, then the body
        bytes.fromhex("14 08 09 00 00 00 65 e5 fd 64 00 00 07 00 00 00 7b 22 63 22 3a 31 7d 68 69"),
        Frame(0x08, (7,), b'{"c":1}hi'),
    ),
    "worker_reply": (
        bytes.fromhex("14 00 0a 00 00 00 4a 01 38 46 00 00 03 00 00 00 63 74 78 62 6f 64 79 3a 68 69"),
        Frame(0x00, (3,), b"ctxbody:hi"),
    ),
    "worker_error": (  # no options
        bytes.fromhex("13 40 0f 00 00 00 89 99 10 34 00 00 73 6f 6d 65 20 65 72 72 6f 72 20 74 65 78 74"),
        Frame(0x40, (), b"some error text"),
    ),
    "stop_worker": (
        bytes.fromhex("13 09 0d 00 00 00 3a 6b fa cb 00 00 7b 22 73 74 6f 70 22 3a 74 72 75 65 7d"),
        Frame(0x09, (), b'{"stop":true}'),
    ),
    "stop_worker_old": (
        bytes.fromhex("13 01 0d 00 00 00 fb 20 8a fb 00 00 7b 22 73 74 6f 70 22 3a 74 72 75 65 7d"),
        Frame(0x01, (), b'{"stop":true}'),
    ),
    "restart_me": (  # an ordinary reply with a context
        bytes.fromhex(
            "14 00 0d 00 00 00 f3 39 ef db 00 00 0d 00 00 00 7b 22 73 74 6f 70 22 3a 74 72 75 65 7d"
        ),
        Frame(0x00, (13,), b'{"stop":true}'),
    ),
    "stream_chunk_with_ping": (  # both bits are outside the checksum
        bytes.fromhex("14 00 02 00 00 00 a5 29 8c 83 05 00 00 00 00 00 63 31"),
        Frame(0x00, (0,), b"c1", 0x05),
    ),
    "pong": (
        bytes.fromhex("13 00 00 00 00 00 96 d1 80 34 08 00"),
        Frame(0x00, (), b"", 0x08),
    ),
    "stream_stop": (
        bytes.fromhex("13 00 00 00 00 00 96 d1 80 34 02 00"),
        Frame(0x00, (), b"", 0x02),
    ),
    "last_stream_chunk": (
        bytes.fromhex("14 00 02 00 00 00 a5 29 8c 83 00 00 00 00 00 00 63 32"),
        Frame(0x00, (0,), b"c2"),
    ),
}
