"""A publisher that sends all its calls before it looks for answers; prints how many were `ok`.

Arguments: host:port of the RPC listener, its own number, number of calls, bytes of each payload.
"""

from __future__ import annotations

import socket
import sys
import threading

from rr_py_ws.wire.goridge import Flag, FrameDecoder
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_protobuf import decode_ok, encode_broadcast
from rr_py_ws.wire.rpc import encode_request, parse_reply

address, own, calls, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
host, _, port = address.rpartition(":")


def flood(peer: socket.socket) -> None:
    for number in range(calls):
        payload = f"{own}{number:06}".encode().ljust(size, b".")
        body = encode_broadcast([Message("", ["flood"], payload)])
        peer.sendall(encode_request(number, "broadcast.Publish", body, Flag.PROTO))


with socket.create_connection((host, int(port))) as peer:
    sender = threading.Thread(target=flood, args=(peer,))
    sender.start()
    decoder, answered = FrameDecoder(), 0
    while answered < calls:
        decoder.receive_data(peer.recv(1 << 16))
        while (frame := decoder.next_frame()) is not None:
            _, result, failed = parse_reply(frame)
            assert not failed
            answered += decode_ok(result)
    sender.join()
    sys.stdout.write(f"{answered}\n")
