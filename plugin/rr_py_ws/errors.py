"""Every exception that this package raises on purpose.

::

    RRWSError
    ├── ConfigError            a key, a file or a flag is wrong; the text names it
    ├── ProtocolError          a peer sent bytes that break its protocol (goridge, HTTP, WebSocket)
    │   ├── PayloadTooBig      goridge: the announced payload is over the limit
    │   └── CommandError       a client's JSON command cannot be decoded
    ├── RPCError               an RPC call failed; the text goes to the caller
    ├── BrokerError            a broker did not accept a publication or a subscription
    └── WorkerError            a request to a PHP worker failed
        ├── WorkerStartError   a worker could not be started, or its handshake failed
        ├── WorkerDied         the worker exited, or sent something that is not a valid frame
        ├── SoftJobError       the worker answered with an error frame
        ├── ExecTimeout        the worker took too long and was killed
        ├── NoFreeWorkers      no worker became free in time
        └── WorkersDown        the request was refused, because no worker would have answered

The kinds of `WorkerError` are those of RoadRunner's pool, and the labels of a metric tell them apart.
"""

from __future__ import annotations


class RRWSError(Exception):
    """Root of the tree. Its text is one line for a person."""


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


class PayloadTooBig(ProtocolError):
    """A goridge frame announces more payload than the limit allows."""


class CommandError(ProtocolError):
    """A client's JSON command cannot be decoded.

    Attributes:
        id: the command's own id, when that much of it could be read.
    """

    def __init__(self, problem: str, id: str | int | None = None) -> None:
        super().__init__(problem)
        self.id = id


class RPCError(RRWSError):
    """An RPC call failed; the text goes to the caller."""


class BrokerError(RRWSError):
    """A broker did not accept a publication or a subscription."""


class WorkerError(RRWSError):
    """A request to a PHP worker failed."""


class WorkerStartError(WorkerError):
    """A worker could not be started, or its handshake failed."""


class WorkerDied(WorkerError):
    """A worker exited, or sent something that is not a valid frame."""


class SoftJobError(WorkerError):
    """A worker answered with an error frame; the worker is still usable."""


class ExecTimeout(WorkerError):
    """A worker took too long and was killed."""


class NoFreeWorkers(WorkerError):
    """No worker became free in time."""


class WorkersDown(WorkerError):
    """The request was refused, because no worker would have answered."""
