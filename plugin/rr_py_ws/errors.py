"""Every exception that this package raises on purpose.

::

    RRWSError
    ├── ConfigError            a key, a file or a flag is wrong; the text names it
    ├── ProtocolError          a peer sent bytes that break its protocol
    │   ├── FrameError         goridge: bad header length, checksum, options
    │   ├── PayloadTooBig      goridge: the announced payload is over the limit
    │   ├── HandshakeError     HTTP: the upgrade request cannot be read
    │   └── CommandError       a browser's JSON command cannot be decoded
    ├── RPCError               an RPC call failed; the text goes to the caller
    ├── BrokerError            a broker did not take a message or a subscription
    └── WorkerError            a PHP worker did not answer a request
        ├── WorkerStartError   it could not be started, or its handshake failed
        ├── WorkerDied         it went away, or what it wrote is no frame
        ├── SoftJobError       it answered with an error frame
        ├── ExecTimeout        it took too long and was killed
        ├── NoFreeWorkers      none became free in time
        └── WorkersDown        none was asked, because none would have answered
"""

from __future__ import annotations


class RRWSError(Exception):
    """Root of the tree. Its text is one line, meant for a person."""


class ConfigError(RRWSError):
    """The configuration cannot be used.

    Attributes:
        key: the dotted path of the key (or the file, or the flag) that is wrong.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key


class ProtocolError(RRWSError):
    """A peer sent bytes that break its protocol."""


class FrameError(ProtocolError):
    """The bytes are no goridge frame."""


class PayloadTooBig(ProtocolError):
    """A goridge frame announces more payload than the limit allows."""


class HandshakeError(ProtocolError):
    """The HTTP request that should become a WebSocket cannot be read."""


class CommandError(ProtocolError):
    """A client's JSON command cannot be decoded.

    Attributes:
        id: the command's own id, when that much of it could be read.
    """

    def __init__(self, problem: str, id: str | int | None = None) -> None:
        super().__init__(problem)
        self.id = id


class RPCError(RRWSError):
    """An RPC call failed; the text is what the caller gets."""


class BrokerError(RRWSError):
    """A broker did not take a message or a subscription."""


class WorkerError(RRWSError):
    """A PHP worker did not answer a request."""


class WorkerStartError(WorkerError):
    """A worker could not be started, or its handshake failed."""


class WorkerDied(WorkerError):
    """A worker went away, or wrote something that is no frame."""


class SoftJobError(WorkerError):
    """A worker answered with an error frame; it is still usable."""


class ExecTimeout(WorkerError):
    """A worker took too long and was killed."""


class NoFreeWorkers(WorkerError):
    """No worker became free in time."""


class WorkersDown(WorkerError):
    """No worker was asked, because none would have answered."""
