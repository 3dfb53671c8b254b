"""What the listener can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rr_py_ws.core.limits import CommandLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the listener needs to know. Sizes in bytes, durations in seconds.

    Attributes:
        path: served path, compared exactly.
        allowed_origin: see `OriginRule`.
        trusted_subnets: see `TrustedProxies`.
        authorize_timeout: how long a handshake may take to be decided, with the wait for its turn.
        max_connections: TCP connections at a time, with those that are no WebSocket yet; over it the answer
            is 503. 0 for no limit.
        max_connections_per_address: the same for one client's address; over it the answer is 429.
        max_refusals: connections over these limits that are being answered; more are cut.
        max_handshakes: handshakes that are being decided at a time; others wait in order.
        handshakes_per_second: handshakes that are begun to be decided in a second; others wait in order.
            0 for no limit.
        handshake_wait: how long they wait; then the answer is 503.
        max_message_size: largest client message; over it the connection is closed with 1009.
        max_head_size: largest request head; over it the answer is 431.
        head_timeout: how long a request head may take to come, from the beginning of the connection.
        close_timeout: how long a peer may take to read the last of what we sent and to close its side; then
            the connection is cut.
        send_queue: what may wait for one slow receiver.
        send_queue_policy: what happens over it: the connection is closed with 1013, or the oldest messages
            are dropped.
        commands_per_second: frames of one client in a second, and at once; one that sends more is read more
            slowly. 0 for no limit.
        max_commands_waiting: commands of one client that may wait; then its socket is not read.
        commands: what the commands of clients may ask for.
        ping_interval: between server pings; 0 for none.
        ping_timeout: how long a peer may be silent after a ping.
        compression_level: 1 to 9 for clients that offer permessage-deflate; 0 declines all offers.
        compression_min_size: shorter messages are not compressed.
    """

    path: str = "/ws"
    allowed_origin: Sequence[str] = ("*",)
    trusted_subnets: Sequence[str] = ()
    authorize_timeout: float = 8.0
    max_connections: int = 0
    max_connections_per_address: int = 0
    max_refusals: int = 128
    max_handshakes: int = 256
    handshakes_per_second: int = 0
    handshake_wait: float = 5.0
    max_message_size: int = 64 * 1024
    max_head_size: int = 16 * 1024
    head_timeout: float = 10.0
    close_timeout: float = 10.0
    send_queue: int = 1024 * 1024
    send_queue_policy: Literal["close", "drop"] = "close"
    commands_per_second: int = 500
    max_commands_waiting: int = 64
    commands: CommandLimits = field(default_factory=CommandLimits)
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    compression_level: int = 0
    compression_min_size: int = 256
