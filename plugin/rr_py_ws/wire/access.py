"""The question to PHP "may this client connect, or join?", and PHP's answer.

The question is the context part of a worker request: a JSON object that PHP reads as an HTTP request with one
attribute (roadrunner-server/websockets validator/access_validator.go @v2.16.5). The answer is a status, headers
and a body; exactly 200 means yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer about one handshake or join.

    Attributes:
        status: HTTP status; exactly 200 allows.
        headers: name and value pairs, in order, to pass on with a refusal.
        body: bytes to pass on with a refusal.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def allowed(self) -> bool:
        """Whether the client may go on."""
        return self.status == 200


ALLOWED = Verdict(200)
FAILED = Verdict(400)
"""What a handshake is refused with when nobody could decide."""


class AccessRequest:
    """One client's upgrade request, as PHP gets it with every question about this client.

    Only the encoded form is kept, because there is one of these per connection.
    """

    __slots__ = ("_prefix",)

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix

    @classmethod
    def encode(
        cls,
        *,
        remote_addr: str,
        protocol: str,
        method: str,
        uri: str,
        headers: Sequence[tuple[bytes, bytes]],
        raw_query: str,
    ) -> AccessRequest:
        """Encode the request once."""
        raise NotImplementedError

    def context(self, attributes: Mapping[str, object]) -> bytes:
        """Return the context part of a worker request, with these attributes."""
        return b"%s%s}" % (self._prefix, orjson.dumps(attributes))
