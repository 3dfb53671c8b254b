"""What an application may say beside yes."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.access import decode_answer
from rr_py_ws.wire.details import DETAILS_TYPE, NO_DETAILS, Details, Identity, decode_details


def answer(body: object, kind: str = DETAILS_TYPE, status: int = 200, name: str = "content-type") -> Details:
    context = {"status": status, "headers": {name: [kind]}}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_answer(json.dumps(context).encode(), data).details


def test_everything_is_said() -> None:
    body = {
        "user": "42",
        "info": {"name": "é"},
        "expire": 3600,
        "join": ["user.42", "user.42"],
        "allow": ["news.*"],
        "unknown": [1],
    }
    assert answer(body) == Details(
        Identity("42", '{"name":"é"}'.encode()), 3600.0, ("user.42",), ("news.*",), frozenset(), False
    )


@pytest.mark.parametrize(
    "kind",
    [DETAILS_TYPE, f"{DETAILS_TYPE}; charset=utf-8", "Application/VND.rr-ws+JSON", f" {DETAILS_TYPE} "],
)
def test_the_content_type_says_that_the_body_is_ours(kind: str) -> None:
    assert answer({"user": 42}, kind).identity == Identity("42")


@pytest.mark.parametrize("kind", ["application/json", "text/html", "", f"{DETAILS_TYPE}x"])
def test_a_body_of_another_type_is_ignored_as_before(kind: str) -> None:
    assert answer(b"anything", kind) is NO_DETAILS
    assert answer(b'{"user":[]}', kind) is NO_DETAILS


def test_a_refusal_has_no_details() -> None:
    assert answer(b"no JSON", status=403) is NO_DETAILS


@pytest.mark.parametrize(
    "body", [b"{}", b'{"user":null,"info":null,"expire":null,"join":null,"history":null}']
)
def test_each_key_may_be_left_out(body: bytes) -> None:
    assert answer(body) == NO_DETAILS


def test_histories_can_be_withheld() -> None:
    assert answer({"history": False}).without_histories
    assert not answer({"history": True}).without_histories
    assert answer({"history": {"a": False, "b": True}}).without_history == {"a"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not an object"),
        ({"user": []}, "has a user"),
        ({"user": ""}, "has a user"),
        ({"user": True}, "has a user"),
        ({"user": "é" * 65}, "more than 128 bytes"),
        ({"info": "x" * 2048}, "an info of 2050 bytes"),
        (b'{"info":%s%s}' % (b"[" * 300, b"]" * 300), "an info of too many levels"),
        ({"expire": 0}, "has an expire"),
        ({"expire": -1}, "has an expire"),
        ({"expire": "3600"}, "has an expire"),
        ({"expire": True}, "has an expire"),
        (b'{"expire":1e999}', "has an expire|is not JSON"),
        ({"join": "a"}, "has a join"),
        ({"join": [""]}, "has a join"),
        ({"allow": [5]}, "has a allow"),
        ({"allow": {"a": 1}}, "has a allow"),
        ({"history": "no"}, "has a history"),
        ({"history": {"a": 0}}, "has a history"),
    ],
)
def test_what_is_not_as_it_should_be_lets_nobody_in(body: object, told: str) -> None:
    """An application that has meant to limit a client must not find that it was let in without the limit."""
    with pytest.raises(WorkerError, match=told):
        answer(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["user", "info", "expire", "join", "allow", "history", "x"]), inner
            )
        ),
    )
)
def test_any_json_is_decoded_or_refused(body: object) -> None:
    with suppress(WorkerError):
        decode_details(json.dumps(body).encode())
