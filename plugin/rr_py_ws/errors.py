"""Every exception that this package raises on purpose.

::

    RRWSError
    ├── ConfigError            a key, a file or a flag is wrong; the text names it
    │   └── ConfigErrors       several of them
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

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value of the configuration was written.

    Attributes:
        source: the file, the flag `-o`, or the name of an environment variable.
        line: of the file, from 1; None where there are no lines.
    """

    source: str
    line: int | None = None

    @property
    def order(self) -> tuple[str, int]:
        """By file and line."""
        return self.source, self.line or 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class RRWSError(Exception):
    """Root of the tree. Its text is one line for a person."""


class ConfigError(RRWSError):
    """The configuration cannot be used.

    Attributes:
        key: the dotted path of the key (or the file, or the flag) that is wrong.
        place: where it was written; None: nowhere, or nobody knows.
    """

    def __init__(self, key: str, problem: str, place: Place | None = None) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.place = place

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """All that is wrong, each by itself."""
        return (self,)

    @property
    def located(self) -> str:
        """The text, after the place."""
        text = str(self)
        # The key of a wrong file is its name.
        return text if self.place is None or text.startswith(str(self.place)) else f"{self.place}: {text}"


class ConfigErrors(ConfigError):
    """Several things are wrong; text, key and place are those of the first."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self._errors = tuple(errors)
        first = self._errors[0]
        super().__init__("", f"{first} (and {len(self._errors) - 1} more)", first.place)
        self.key = first.key

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """All that is wrong, each by itself."""
        return self._errors


def all_of(errors: Iterable[ConfigError]) -> ConfigError:
    """Make one exception of one error or more."""
    found = tuple(errors)
    return found[0] if len(found) == 1 else ConfigErrors(found)


class ProtocolError(RRWSError):
    """A peer sent bytes that break its protocol.

    Attributes:
        status: of the answer, when the protocol is HTTP.
    """

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


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
    """A broker did not accept a publication or a subscription.

    Args:
        text: what happened, in words of this program.
        detail: why, which may be words of Redis or of the system: for the log.

    Attributes:
        public: the text alone, which is all that a peer is told.
    """

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(f"{text}: {detail}" if detail else text)
        self.public = text

    def within(self, what: str) -> BrokerError:
        """Return the same error of a larger undertaking, which is named before it."""
        error = BrokerError(f"{what}: {self}")
        error.public = f"{what}: {self.public}"
        return error


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
