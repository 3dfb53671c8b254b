"""The sections below `websockets` that only this program reads."""

from __future__ import annotations

from typing import Annotated, Literal

from rr_py_ws.config import values
from rr_py_ws.config.section import (
    Address,
    Count,
    Duration,
    Flag,
    OwnSection,
    PositiveCount,
    PositiveDuration,
    Size,
    decoded,
)


class OwnRPC(OwnSection):
    """`websockets.rpc`: this program's own RPC listener, beside a RoadRunner that owns `rpc.listen`.

    Attributes:
        listen: the DSN; None leaves it to `rpc.listen`.
        mode: permissions of the socket file; None leaves them to the umask.
    """

    listen: Annotated[str, decoded(values.listen_dsn)] | None = None
    mode: Annotated[int, decoded(values.file_mode)] | None = None


class Limits(OwnSection):
    """`websockets.limits`: what a peer may make this program hold or do. A count of 0 is no limit."""

    max_connections: Count = 0
    max_connections_per_address: Count = 0
    max_handshakes: PositiveCount = 256
    handshakes_per_second: Count = 0
    handshake_wait: Duration = 5.0
    max_head_size: Size = 16 * 1024
    head_timeout: PositiveDuration = 10.0
    max_message_size: Size = 64 * 1024
    max_topics: PositiveCount = 1024
    max_topics_per_command: PositiveCount = 1024
    max_topic_length: Size = 1024
    commands_per_second: Count = 500
    max_commands_waiting: PositiveCount = 64
    max_joins_waiting: PositiveCount = 4096
    send_queue: Size = 1024 * 1024
    send_queue_policy: Annotated[Literal["close", "drop"], decoded(values.one_of("close", "drop"))] = "close"
    max_rpc_connections: PositiveCount = 1024
    rpc_payload: Size = 64 * 1024 * 1024
    rpc_frame_timeout: PositiveDuration = 30.0
    rpc_memory: Size = 256 * 1024 * 1024
    max_rpc_calls: PositiveCount = 1024


class Ping(OwnSection):
    """`websockets.ping`: how a dead connection is found; interval 0 is off."""

    interval: Duration = 25.0
    timeout: PositiveDuration = 20.0


class Compression(OwnSection):
    """`websockets.compression`: permessage-deflate for clients that offer it. A section that is there is on.

    Attributes:
        level: zlib's.
    """

    enabled: Flag = True
    level: Annotated[int, decoded(values.compression_level)] = 3
    min_size: Size = 256


class Drain(OwnSection):
    """`websockets.drain`: over how long a stopping server spreads the closing of its connections."""

    time: Duration = 3.0


class OwnAddress(OwnSection):
    """`websockets.metrics`, `websockets.status`: an address that is not RoadRunner's; empty is off."""

    address: Address
