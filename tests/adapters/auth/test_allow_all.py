from __future__ import annotations

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.wire.access import NO_REQUEST


def test_allow_all_lets_everybody_in() -> None:
    authorizer = AllowAll()
    assert authorizer.reads_requests is False
    assert authorizer.connect(NO_REQUEST).allowed
    assert authorizer.join(NO_REQUEST, ["any"]).allowed
