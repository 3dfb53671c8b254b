from __future__ import annotations

from rr_py_ws.adapters.auth import AllowAll
from support.php_pool import request


def test_allow_all_lets_everybody_in() -> None:
    authorizer = AllowAll()
    verdict = authorizer.connect(request())
    assert verdict.allowed
    assert verdict.grant is None
    assert authorizer.join(verdict.grant, ["any"]).allowed
