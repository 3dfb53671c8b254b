"""A worker that lies once, in the way that its first argument names, and is honest when the file is there.

It answers at any relay. The file of its second argument says that it has lied.
"""

from __future__ import annotations

import os
import sys
import time

from rr_py_ws.devtools.pages import connect
from rr_py_ws.wire.goridge import Flag, Frame, FrameDecoder, encode_frame
from rr_py_ws.wire.worker import Message, encode_message, encode_pid_reply

ALLOW = encode_message(Message(b'{"status":200}', b"lie"))
HONEST = encode_message(Message(b'{"status":200}', b"honest"))
PID = encode_pid_reply(os.getpid())
LIES = {
    "wrong-checksum": ALLOW[:6] + b"\0\0\0\0" + ALLOW[10:],
    "header-of-15-words": b"\x1f" + ALLOW[1:],
    "4-gib": encode_frame(0, (2,), b"{}")[:2] + b"\xff\xff\xff\xff",  # and its checksum, see below
    "no-option": encode_frame(0, (), b'{"status":200}'),
    "two-options": encode_frame(0, (14, 0), b'{"status":200}'),
    "long-context": encode_frame(0, (2**32 - 1,), b'{"status":200}'),
    "control": encode_frame(Flag.CONTROL, (14,), b'{"status":200}'),
    "every-flag": encode_frame(0xFF, (14,), b'{"status":200}'),
    "a-stream": encode_frame(0, (14,), b'{"status":200}', 0x01),
    "half-a-frame": ALLOW[:-2],
    "half-a-header": ALLOW[:7],
    "pid-first": PID + ALLOW,
    "no-json": encode_frame(0, (3,), b"{]}"),
    "another-version": b"\xf4" + ALLOW[1:],
    "answers-twice": ALLOW + ALLOW,
    "pid-of-another": ALLOW + encode_pid_reply(1),
    "stop-as-pid": ALLOW + encode_frame(Flag.CONTROL, (), b'{"stop":true}'),
    "more-behind-the-pid": ALLOW + PID + ALLOW,
}
"""Whole answers, with what the worker says to the handshake behind it, if anything."""
GOES_ON = ("every-flag", "no-json")
"""After these the worker is as it should be."""


def checked(header: bytes) -> bytes:
    """The header of a frame with a sound checksum: it announces more than follows."""
    from zlib import crc32

    return header + crc32(header).to_bytes(4, "little") + bytes(2) + (2).to_bytes(4, "little")


LIES["4-gib"] = checked(LIES["4-gib"])
LIES["another-version"] = checked(b"\xf4" + ALLOW[1:6])[:12] + ALLOW[12:]


def main(lie: str, marker: str) -> None:
    if os.environ["RR_RELAY"] == "pipes":
        read, write = (lambda: os.read(0, 65536)), (lambda data: os.write(1, data))
    else:
        relay = connect(os.environ["RR_RELAY"])
        read, write = (lambda: relay.recv(65536)), relay.sendall
    decoder = FrameDecoder()

    def receive() -> Frame:
        while (frame := decoder.next_frame()) is None:
            data = read()
            if not data:
                sys.exit()
            decoder.receive_data(data)
        return frame

    while True:
        frame = receive()
        if not frame.flags & Flag.CONTROL:
            if not os.path.exists(marker):
                open(marker, "w").close()
                write(LIES[lie])
                if lie not in GOES_ON:
                    time.sleep(600)
                continue
            write(HONEST)
        elif b"pid" in frame.payload:
            write(PID)
        else:
            sys.exit()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
