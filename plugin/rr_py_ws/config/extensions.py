"""The sections below `websockets` that RoadRunner does not have: extensions."""

from __future__ import annotations

from typing import Annotated, Literal

from rr_py_ws.config import addresses, quantities, values
from rr_py_ws.config.section import (
    Address,
    Count,
    Duration,
    ExtensionSection,
    Flag,
    Interval,
    Patience,
    PositiveCount,
    PositiveDuration,
    Size,
    decoded,
)


class RPCExtension(ExtensionSection):
    """`websockets.rpc`: an RPC listener beside a RoadRunner that listens on `rpc.listen`.

    Attributes:
        listen: the DSN; None: `rpc.listen`.
        forward: DSN of RoadRunner's RPC, for the calls of services that are not ours; None: they are errors.
        mode: permissions of the socket file; None leaves them to the umask.
    """

    listen: Annotated[str, decoded(addresses.listen_dsn)] | None = None
    forward: Annotated[str, decoded(addresses.listen_dsn)] | None = None
    mode: Annotated[int, decoded(values.file_mode)] | None = None


class HTTPExtension(ExtensionSection):
    """`websockets.http`: requests that this program does not answer itself.

    Attributes:
        forward: the server that they are passed on to, `http://host:port` or `unix://path`; empty: nobody.
        connect_timeout: how long a connection to it may take, and how long a request may wait for its turn;
            then the answer is 504 or 503.
        response_timeout: how long it may be silent before the head of its answer; then the answer is 504.
        max_connections: requests that are passed on at a time; others wait.
        max_tunnels: upgraded connections (WebSockets of other paths) at a time; over it the answer is 503.
    """

    forward: Annotated[str, decoded(addresses.forward_target)] = ""
    connect_timeout: PositiveDuration = 5.0
    response_timeout: PositiveDuration = 60.0
    max_connections: PositiveCount = 256
    max_tunnels: PositiveCount = 1024


class AddressExtension(ExtensionSection):
    """`websockets.metrics`, `websockets.status`: an address beside RoadRunner's; empty: no listener."""

    address: Address


class HistoryRule(ExtensionSection):
    """One rule of `websockets.history`: what is kept of the messages of some topics.

    Attributes:
        topics: patterns, in which `*` stands for any text.
        size: messages of a topic.
        ttl: seconds that a message is kept.
        bytes: of the payloads of a topic; one message is kept however large it is.
    """

    topics: Annotated[tuple[str, ...], decoded(values.patterns)]
    size: PositiveCount
    ttl: Patience
    bytes: Size = 1024 * 1024


class Limits(ExtensionSection):
    """`websockets.limits`: what a peer may make this program hold or do.

    Sizes are bytes, durations are seconds. A count of 0 is no limit. The adapters are handed this section as
    it is, so that no limit is written down twice.

    Attributes:
        max_connections: TCP connections of clients at a time, with those that are not a WebSocket yet; over
            it the answer is 503. 0: as many as the process has file descriptors for.
        max_connections_per_address: the same for one client's address; over it the answer is 429.
        max_handshakes: handshakes that are being decided at a time; others wait in the handshake queue. 0:
            four for each worker.
        handshakes_per_second: handshakes of which the decision begins in a second; others wait in the
            handshake queue.
        handshake_wait: how long a handshake may wait in the queue; then the answer is 503. 0: no handshake
            waits.
        max_head_size: largest head of a request; over it the answer is 431.
        max_headers: most headers of a request; over it the answer is 431.
        head_timeout: how long the head of a request may take to arrive, from the start of the connection;
            then the answer is 408.
        keep_alive: how long a connection is kept behind a page without another request.
        page_timeout: how long a client may send nothing of the body that it has announced, or take nothing of
            the answer of a page; then the connection is cut.
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
        send_queue: bytes that may wait for one client that takes nothing, besides what the kernel holds; a
            single message may be larger.
        send_queue_grace: how long a client for which more waits may take nothing.
        send_queue_burst: so many times `send_queue` may wait for a client that takes some.
        send_queue_policy: what happens to a client that is too slow by these: the connection is closed with
            1013, or the oldest messages are dropped.
        max_rpc_connections: RPC connections at a time; one more is closed at once.
        rpc_payload: largest payload of an RPC frame; a larger one is skipped, and answered with an error.
        rpc_own_payload: the same of a call that this server carries out itself, and does not pass on; of a
            file that sets only `rpc_payload`, that.
        rpc_elements: most elements of one `Publish` call: messages, topics and all other fields; a call with
            more is answered with an error before it is decoded.
        rpc_frame_timeout: how long an RPC frame may take to arrive, for each MiB of it; then the connection
            is closed.
        rpc_memory: memory of all RPC frames together that have arrived in part; over it, only the frame that
            began first is read on. Half of it may be taken by calls that wait for receivers of a topic.
        max_rpc_calls: unfinished calls of one RPC connection; then the connection is not read (backpressure).
        max_monitoring_connections: connections of one monitoring listener (`metrics`, `status`) at a time;
            one more takes the place of the oldest that is idle for a second, or is closed at once.
        max_form: largest form of a request to PHP, without its files; over it the answer is 413.
        max_form_fields: most fields of a form; over it the answer is 413.
        page_answer: largest answer of a PHP worker to a request for a page, or part of one that it streams; a
            worker with a larger one is replaced.
        page_memory: all forms of requests to PHP together that are over 64 KiB; more are answered 503. And
            all answers to such requests that clients have not taken, over 64 KiB; over it, those that were
            begun first are cut.
        worker_answer: largest answer of a PHP worker; a worker with a larger one is replaced.
        worker_output_lines: lines of what all PHP workers print that are logged in 10 seconds, a longer one
            counts as one for each 512 bytes; more are skipped.
        log_queue: memory of the log lines that may wait for one output; more are dropped.
        history_memory: memory of all histories of a memory broker; over it, the messages of the topics that
            nothing was published to for longest are dropped.
        recovery_messages: messages of one topic that a client gets at most when it joins with a position.
        recovery_topic_size: the same in bytes of payloads.
        recovery_size: bytes that all topics of one join get together.
    """

    max_connections: Count = 0
    max_connections_per_address: Count = 0
    max_handshakes: Count = 0
    handshakes_per_second: Count = 0
    handshake_wait: Duration = 5.0
    max_head_size: Size = 16 * 1024
    max_headers: PositiveCount = 100
    head_timeout: PositiveDuration = 10.0
    keep_alive: PositiveDuration = 75.0
    page_timeout: PositiveDuration = 60.0
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
    send_queue_grace: Duration = 10.0
    send_queue_burst: PositiveCount = 8
    send_queue_policy: Annotated[Literal["close", "drop"], decoded(values.one_of("close", "drop"))] = "close"
    max_rpc_connections: PositiveCount = 1024
    rpc_payload: Size = 64 * 1024 * 1024
    rpc_own_payload: Size = 12 * 1024 * 1024
    rpc_elements: PositiveCount = 65_536
    rpc_frame_timeout: PositiveDuration = 30.0
    rpc_memory: Size = 256 * 1024 * 1024
    max_rpc_calls: PositiveCount = 1024
    max_monitoring_connections: PositiveCount = 32
    max_form: Size = 10 * 1024 * 1024
    max_form_fields: PositiveCount = 10_000
    page_answer: Size = 64 * 1024 * 1024
    page_memory: Size = 256 * 1024 * 1024
    worker_answer: Size = 8 * 1024 * 1024
    worker_output_lines: PositiveCount = 500
    log_queue: Size = 1024 * 1024
    history_memory: Size = 64 * 1024 * 1024
    recovery_messages: PositiveCount = 300
    recovery_topic_size: Size = 512 * 1024
    recovery_size: Size = 2 * 1024 * 1024

    @property
    def own_payload(self) -> int:
        """What `rpc_own_payload` comes to; a file from before that key means both by the other one."""
        if "rpc_payload" in self.model_fields_set and "rpc_own_payload" not in self.model_fields_set:
            return self.rpc_payload
        return min(self.rpc_payload, self.rpc_own_payload)


class Ping(ExtensionSection):
    """`websockets.ping`: how a dead connection is found.

    Attributes:
        interval: seconds between two pings of the server; 0: no pings.
        timeout: seconds that a client may be silent after a ping; then the connection is given up.
    """

    interval: Interval = 25.0
    timeout: Patience = 20.0


class Drain(ExtensionSection):
    """`websockets.drain`: how a stopping server closes its connections.

    Attributes:
        delay: seconds that everybody is still served, newcomers too, while readiness says no already.
        time: seconds over which the close frames are spread.
    """

    delay: Duration = 0.0
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
