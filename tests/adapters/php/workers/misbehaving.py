"""A worker that breaks one rule, which its argument names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from threading import Thread
from typing import NoReturn

from rr_py_ws.devtools.pages import Pages, connect
from rr_py_ws.devtools.worker import serve
from rr_py_ws.wire.goridge import STREAM, Flag, Frame, FrameDecoder, encode_frame
from rr_py_ws.wire.worker import Message, encode_message, encode_pid_reply

ALLOW = encode_message(Message(b'{"status":200}'))
decoder = FrameDecoder()


def receive() -> Frame:
    while (frame := decoder.next_frame()) is None:
        data = os.read(0, 65536)
        if not data:
            sys.exit(9)
        decoder.receive_data(data)
    return frame


def greet() -> None:
    receive()
    os.write(1, encode_pid_reply(os.getpid()))


def answer_for_ever(stops: bool = True) -> NoReturn:
    while True:
        frame = receive()
        if not frame.flags & Flag.CONTROL:
            os.write(1, ALLOW)
        elif b"pid" in frame.payload:
            os.write(1, encode_pid_reply(os.getpid()))
        elif stops:
            sys.exit()


mode = sys.argv[1]
match mode:
    case "silent":
        time.sleep(600)
    case "exits":
        sys.stderr.write("no configuration\n")
        sys.exit(5)
    case "closes-stdout":
        os.close(1)
        time.sleep(600)
    case "noise":
        os.write(1, b"\xef\xbb\xbfNotice: undefined variable\n")
        greet()
    case "pid-zero":
        receive()
        os.write(1, encode_frame(Flag.CONTROL, (), b'{"pid":0}'))
        time.sleep(600)
    case "no-control":
        receive()
        os.write(1, ALLOW)
        time.sleep(600)
    case "stop-reply":
        receive()
        os.write(1, encode_frame(Flag.CONTROL, (), b'{"stop":true}'))
        time.sleep(600)
    case "ignores-stop":
        greet()
        answer_for_ever(stops=False)
    case "connects-twice":
        connections = [connect(os.environ["RR_RELAY"]) for _ in range(2)]
        pages = Pages(lambda topic: False)
        for one in connections:
            Thread(target=serve, args=(lambda one=one: one.recv(65536), one.sendall, (), pages)).start()
    case "with-child":
        subprocess.Popen(["sleep", "600"])
        greet()
        answer_for_ever(stops=False)
    case "dies-idle":  # once there is a file: sooner it might die while its pool still starts
        greet()
        while not os.path.exists(sys.argv[2]):
            time.sleep(0.01)
        sys.exit(6)
    case "talks-at-once":
        receive()
        os.write(1, encode_pid_reply(os.getpid()) + ALLOW)
        time.sleep(600)
    case "talks-idle":
        greet()
        time.sleep(0.1)
        os.write(1, ALLOW)
        time.sleep(600)
    case "restart-once":
        greet()
        receive()
        try:
            os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            os.write(1, ALLOW)
            answer_for_ever()
        os.write(1, encode_message(Message(b'{"stop":true}')))
        receive()
    case "byte-by-byte":
        greet()
        receive()
        for byte in ALLOW:
            os.write(1, bytes([byte]))
        receive()
    case "closes-stdin":
        greet()
        os.close(0)
        time.sleep(600)
    case "needs":
        if not os.path.exists(sys.argv[2]):
            sys.exit(7)
        greet()
        answer_for_ever()
    case "large-parts":  # two, the second is the last
        greet()
        for _ in range(2):
            receive()
            os.write(1, encode_frame(Flag(0), (2,), b"{}" + bytes(300_000), stream=STREAM))
            os.write(1, encode_frame(Flag(0), (2,), b"{}" + bytes(300_000)))
            receive()
            os.write(1, encode_pid_reply(os.getpid()))
        answer_for_ever()
    case "waits-for":
        while not os.path.exists(sys.argv[2]):
            time.sleep(0.01)
        greet()
        answer_for_ever()
