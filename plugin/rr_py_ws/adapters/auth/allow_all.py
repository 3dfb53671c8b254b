"""The authorizer for `authorize: none`: everybody may connect and join."""

from __future__ import annotations

from collections.abc import Sequence

from rr_py_ws.wire.http import Request
from rr_py_ws.wire.verdict import ALLOWED, Verdict


class AllowAll:
    """Implements the port `Authorizer` without asking anybody."""

    def connect(self, request: Request) -> Verdict:
        """Allow every handshake; there is nothing to remember for joins."""
        return ALLOWED

    def join(self, grant: object, topics: Sequence[str]) -> Verdict:
        """Allow every join."""
        return ALLOWED
