from __future__ import annotations

import pytest

from rr_py_ws.core import fail_closed
from rr_py_ws.wire.verdict import FAILED
from support.php_pool import RecordedLog


def test_what_an_authorizer_raises_is_a_refusal_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    log = RecordedLog()
    monkeypatch.setattr(fail_closed, "log", log)
    assert fail_closed.fail_closed(ValueError("broken")) is FAILED
    assert log.lines == [("error", "authorizer failed", {"error": "ValueError: broken"})]
