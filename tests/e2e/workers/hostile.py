"""A worker for pages that was taken over: its answers (`chaos.attackers.pages`) are dear to read."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from urllib.parse import urlsplit

from chaos.attackers.pages import answer
from rr_py_ws.wire.goridge import FrameDecoder
from rr_py_ws.wire.worker import Message, encode_message, encode_pid_reply

frame_of = cache(lambda path: encode_message(Message(answer(path), b"x")))
decoder = FrameDecoder(1 << 30)
while data := os.read(0, 1 << 16):
    decoder.receive_data(data)
    while (frame := decoder.next_frame()) is not None:
        fields = json.loads(frame.payload[: frame.options[0]] if frame.options else frame.payload)
        if fields.get("stop"):
            sys.exit()
        reply = encode_pid_reply(os.getpid()) if "pid" in fields else frame_of(urlsplit(fields["uri"]).path)
        while reply:
            reply = reply[os.write(1, reply) :]
