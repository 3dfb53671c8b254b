from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rr_py_ws.wire import go_base64
from rr_py_ws.wire.go_base64 import decode_base64, error_position


@pytest.fixture(params=[4, 8, go_base64._PIECE], autouse=True)
def piece(request: pytest.FixtureRequest) -> Iterator[None]:
    """Digits that are decoded at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(go_base64, "_PIECE", request.param)
        yield


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("not base64!", 3),
        ("aGk", 0),
        ("aGkaGk", 4),
        ("a", 0),
        ("aGk==", 4),
        ("aG k=", 2),
        ("aGk=aGk=", 4),
        ("aG=k", 2),
        ("aG=", 3),
        ("a0Gl=", 4),
        ("a0Gl====", 4),
        ("====", 0),
        ("=", 0),
        ("aG==\0", 4),
        ("-_8=", 0),
        ("é===", 0),
    ],
)
def test_what_is_no_base64_has_the_position_that_go_names(text: str, position: int) -> None:
    """Point 24: Python took more padding than there can be."""
    assert error_position(text.encode()) == position
    with pytest.raises(ValueError, match=r"."):
        decode_base64(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(alphabet="aZ09+/=\r\n ", max_size=14)
    | st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode())
)
def test_what_has_no_such_position_is_decoded(text: str) -> None:
    if error_position(text.encode()) < 0:
        assert decode_base64(text) == base64.b64decode(text)
    else:
        with pytest.raises(ValueError, match=r"."):
            decode_base64(text)
