"""The sections below `websockets` that RoadRunner does not have: extensions."""

from __future__ import annotations

from typing import Annotated, Literal

from rr_py_ws.config import quantities, values
from rr_py_ws.config.section import (
    Address,
    Count,
    Duration,
    ExtensionSection,
    Flag,
    PositiveCount,
    PositiveDuration,
    Size,
    decoded,
)


class RPCExtension(ExtensionSection):
    """`websockets.rpc`: an RPC listener beside a RoadRunner that listens on `rpc.listen`.

    Attributes:
        listen: the DSN; None: `rpc.listen`.
        mode: permissions of the socket file; None leaves them to the umask.
    """

    listen: Annotated[str, decoded(values.listen_dsn)] | None = None
    mode: Annotated[int, decoded(values.file_mode)] | None = None


class AddressExtension(ExtensionSection):
    """`websockets.metrics`, `websockets.status`: an address beside RoadRunner's; empty: no listener."""

    address: Address


class Limits(ExtensionSection):
    """`websockets.limits`: what a peer may make this program hold or do.

    Sizes are bytes, durations are seconds. A count of 0 is no limit. The adapters are handed this section as
    it is, so that no limit is written down twice.

    Attributes:
        max_connections: TCP connections of clients at a time, with those that are not a WebSocket yet; over
            it the answer is 503. 0: as many as the process has file descriptors for.
        max_connections_per_address: the same for one client's address; over it the answer is 429.
        max_handshakes: handshakes that are being decided at a time; others wait in the handshake queue.
        handshakes_per_second: handshakes of which the decision begins in a second; others wait in the
            handshake queue.
        handshake_wait: how long a handshake may wait in the queue; then the answer is 503. 0: no handshake
            waits.
        max_head_size: largest head of a request; over it the answer is 431.
        max_headers: most headers of a request; over it the answer is 431.
        head_timeout: how long the head of a request may take to arrive, from the start of the connection;
            then the answer is 408.
        max_refusal_size: largest headers and body of a refusal, of those that PHP has answered; over it, only
            the status is passed on. At most `refusal_memory`.
        refusal_memory: all refusals together whose connections are not closed yet; over it, the oldest of
            these connections are cut.
        max_message_size: largest message of a client; over it the connection is closed with 1009.
        max_topics: topics that one client may be in, over all brokers; over it a join is refused.
        max_topics_per_command: topics that one join or leave may name, counted as often as they are named;
            over it the command is refused.
        max_topic_length: longest topic of a join, bytes of UTF-8; over it the join is refused.
        commands_per_second: rate and burst of the token bucket for what one client asks for: a frame and what
            it costs to carry out, in small commands; a client that sends more is read more slowly.
        max_commands_waiting: commands of one client that may wait; then its socket is not read
            (backpressure).
        command_queue: the same in bytes of commands; one command more may come.
        max_joins_waiting: joins of all clients that may wait for the authorizer; over it a join is refused.
        send_queue: bytes that may wait for one slow client, besides what the kernel holds; a single message
            may be larger.
        send_queue_policy: what happens over `send_queue`: the connection is closed with 1013, or the oldest
            messages are dropped.
        max_rpc_connections: RPC connections at a time; one more is closed at once.
        rpc_payload: largest payload of an RPC frame; a larger one is skipped, and answered with an error.
        rpc_elements: most elements of one `Publish` call: messages, topics and all other fields; a call with
            more is answered with an error before it is decoded.
        rpc_frame_timeout: how long an RPC frame may take to arrive, for each MiB of it; then the connection
            is closed.
        rpc_memory: memory of all RPC frames together that have arrived in part; over it, only the frame that
            began first is read on. Half of it may be taken by calls that wait for receivers of a topic.
        max_rpc_calls: unfinished calls of one RPC connection; then the connection is not read (backpressure).
        max_monitoring_connections: connections of one monitoring listener (`metrics`, `status`) at a time;
            one more takes the place of the oldest that is idle for a second, or is closed at once.
        worker_answer: largest answer of a PHP worker; a worker with a larger one is replaced.
        worker_output_lines: lines of what all PHP workers print that are logged in 10 seconds, a longer one
            counts as one for each 512 bytes; more are skipped.
        log_queue: memory of the log lines that may wait for one output; more are dropped.
    """

    max_connections: Count = 0
    max_connections_per_address: Count = 0
    max_handshakes: PositiveCount = 256
    handshakes_per_second: Count = 0
    handshake_wait: Duration = 5.0
    max_head_size: Size = 16 * 1024
    max_headers: PositiveCount = 100
    head_timeout: PositiveDuration = 10.0
    max_refusal_size: Size = 64 * 1024
    refusal_memory: Size = 16 * 1024 * 1024
    max_message_size: Size = 64 * 1024
    max_topics: PositiveCount = 1024
    max_topics_per_command: PositiveCount = 1024
    max_topic_length: Size = 1024
    commands_per_second: Count = 500
    max_commands_waiting: PositiveCount = 64
    command_queue: Size = 128 * 1024
    max_joins_waiting: PositiveCount = 4096
    send_queue: Size = 1024 * 1024
    send_queue_policy: Annotated[Literal["close", "drop"], decoded(values.one_of("close", "drop"))] = "close"
    max_rpc_connections: PositiveCount = 1024
    rpc_payload: Size = 64 * 1024 * 1024
    rpc_elements: PositiveCount = 65_536
    rpc_frame_timeout: PositiveDuration = 30.0
    rpc_memory: Size = 256 * 1024 * 1024
    max_rpc_calls: PositiveCount = 1024
    max_monitoring_connections: PositiveCount = 32
    worker_answer: Size = 8 * 1024 * 1024
    worker_output_lines: PositiveCount = 500
    log_queue: Size = 1024 * 1024


class Ping(ExtensionSection):
    """`websockets.ping`: how a dead connection is found.

    Attributes:
        interval: seconds between two pings of the server; 0: no pings.
        timeout: seconds that a client may be silent after a ping; then the connection is given up.
    """

    interval: Duration = 25.0
    timeout: PositiveDuration = 20.0


class Drain(ExtensionSection):
    """`websockets.drain`: how a stopping server closes its connections.

    Attributes:
        time: seconds over which the close frames are spread.
    """

    time: Duration = 3.0


class Compression(ExtensionSection):
    """`websockets.compression`: permessage-deflate for clients that offer it.

    Attributes:
        enabled: true unless the section says otherwise; a file without the section has it off.
        level: of zlib, 1 (fast) to 9 (small).
        min_size: bytes; shorter messages are not compressed.
    """

    enabled: Flag = True
    level: Annotated[int, decoded(quantities.compression_level)] = 3
    min_size: Size = 256
