"""The authorizer for `authorize: none`: everybody may connect and join."""

from __future__ import annotations

from collections.abc import Sequence

from rr_py_ws.wire.access import ALLOWED, AccessRequest, Verdict


class AllowAll:
    """Implements the port `Authorizer` without asking anybody."""

    reads_requests = False

    def connect(self, request: AccessRequest) -> Verdict:
        """See `Authorizer.connect`."""
        return ALLOWED

    def join(self, request: AccessRequest, topics: Sequence[str]) -> Verdict:
        """See `Authorizer.join`."""
        return ALLOWED
