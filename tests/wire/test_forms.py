"""The grammar of names is that of RoadRunner's http plugin, values are decoded as by Go's net/url."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire import forms
from rr_py_ws.wire.forms import FieldLimit, T, Work, encode_tree, parse_urlencoded, split_name


def done(work: Work[T], steps: list[int] | None = None) -> T:
    """Drive a generator to its end; `steps` gets how many functions were called in each step."""
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event.endswith("call")

    while True:
        calls = 0
        sys.setprofile(count if steps is not None else None)
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            sys.setprofile(None)
            if steps is not None:
                steps.append(calls)


def parse(body: bytes, max_fields: int = 1000) -> dict[str, list[str]]:
    return done(parse_urlencoded(body, FieldLimit(max_fields, lambda _: None)))


def make_tree(fields: Mapping[str, Sequence[Any]], *, last: bool = True) -> dict[str, Any]:
    return done(forms.make_tree(fields, last=last))


def keys_as_in_go(name: str) -> list[str]:
    """`FetchIndexes` of RoadRunner, character by character."""
    keys, state = [""], 0
    for char in name:
        if char == " ":
            continue
        if char == "[":
            state = 1
        elif char == "]":
            if state == 1:
                keys.append("")
            state = 2
        else:
            if state:
                keys.append("")
            keys[-1] += char
            state = 0
    return keys


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("a", ["a"]),
        ("a[]", ["a", ""]),
        ("a[b][c]", ["a", "b", "c"]),
        ("a[b][]", ["a", "b", ""]),
        ("a [ b ]", ["a", "b"]),
        ("[]", ["", ""]),
        ("a[[b", ["a", "b"]),
        ("a]b", ["a", "b"]),
    ],
)
def test_names(name: str, keys: list[str]) -> None:
    assert split_name(name) == keys


@given(st.text("ab[] é", max_size=30))
def test_names_are_split_as_in_go(name: str) -> None:
    assert split_name(name) == keys_as_in_go(name)


def test_trees() -> None:
    fields = {"a": ["1", "2"], "l[]": ["x", "y"], "u[n][f]": ["J"], "u[n][l]": ["S"], "u[t][]": ["p"]}
    assert make_tree(fields) == {
        "a": "2",
        "l": ["x", "y"],
        "u": {"n": {"f": "J", "l": "S"}, "t": ["p"]},
    }


def test_of_files_the_first_counts() -> None:
    assert make_tree({"f": ["one", "two"]}, last=False) == {"f": "one"}


def test_too_many_levels_are_left_out() -> None:
    assert make_tree({"a" + "[b]" * 126: ["1"]}) != {}
    assert make_tree({"a" + "[b]" * 127: ["1"], "c": ["2"]}) == {"c": "2"}
    assert make_tree({"a" + "[b]" * 1_000_000: ["1"]}) == {}


@pytest.mark.parametrize("names", [("a", "a[b][c]"), ("a[]", "a[b][c]"), ("a[b]", "a[b][c]")])
def test_a_value_that_is_a_tree_too(names: tuple[str, str]) -> None:
    with pytest.raises(ProtocolError, match=r"invalid multiple values to key '[ab]'"):
        make_tree({name: ["1"] for name in names})


def test_json_has_its_keys_in_order() -> None:
    assert encode_tree(make_tree({"b": ["1"], "a[10]": ["x"], "a[9]": ["y"]})) == (
        b'{"a":{"10":"x","9":"y"},"b":"1"}'
    )


def test_urlencoded_values() -> None:
    assert parse(b"a=1&a=2&b=x+y%20z&c&=d&&e=%ff%C3%B6=") == {
        "a": ["1", "2"],
        "b": ["x y z"],
        "c": [""],
        "": ["d"],
        "e": ["�ö="],
    }


@pytest.mark.parametrize("body", [b"a=%", b"a=%4", b"a=%zz", b"%g=1", b"a=1;b=2"])
def test_what_go_does_not_decode(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(body)


def test_too_many_fields() -> None:
    assert len(parse(b"a&" * 10, 10)["a"]) == 10
    with pytest.raises(ProtocolError, match="more than 10 fields") as raised:
        parse(b"a&" * 11, 10)
    assert raised.value.status == 413


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=30)), max_size=8))
def test_what_was_encoded_comes_back(pairs: list[tuple[str, str]]) -> None:
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)
    assert parse(body.encode()) == expected


def test_a_long_value_is_decoded_and_encoded_in_pieces() -> None:
    text = "ä%+ \x01" * 30_000
    steps: list[int] = []
    decoding = parse_urlencoded(b"a=" + quote_plus(text).encode(), FieldLimit(10, lambda _: None))
    fields = done(decoding, steps)
    assert fields == {"a": [text]}
    assert len(steps) > 10
    steps.clear()
    for listed in (fields, {"a[]": [text, "b"]}):
        tree = done(forms.make_tree(listed), steps)
        assert json.loads(encode_tree(tree)) == ({"a": text} if listed is fields else {"a": [text, "b"]})
    assert len(steps) > 10


DEAR = {
    "separators": b"&" * 1_000_000,
    "fields": b"&".join(b"%x" % number for number in range(10_000)),
    "the same field": b"a&" * 10_000,
    "deep names": b"&".join(b"%d%b" % (number, b"[a]" * 120) for number in range(300)),
    "closing brackets": b"&".join(b"%d%b" % (number, b"a]" * 120) for number in range(300)),
    "brackets that are none": b"&".join(b"%d%b" % (number, b"[x]]" * 90) for number in range(400)),
    "long names": b"&".join(b"%d%b" % (number, b"x" * 16_000) for number in range(100)),
    "escaped names": b"&".join(b"%d%b" % (number, b"%5B%5D" * 60) for number in range(400)),
    "long values": b"a=" + b"%c3%a9" * 200_000,
    "bytes that are no UTF-8": b"a=" + b"\xff" * 1_000_000,
}


@pytest.mark.parametrize("body", DEAR.values(), ids=DEAR)
def test_nothing_takes_long_in_one_piece(body: bytes) -> None:
    """A form of 6 MB with 10,000 deep names had everybody wait for seconds; nothing but `&` did, too."""
    steps: list[int] = []
    fields = done(parse_urlencoded(body, FieldLimit(20_000, lambda _: None)), steps)
    done(forms.make_tree(fields), steps)
    assert max(steps) < 12_000  # a millisecond


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"a" + b"[b]" * 41, "more than 40 keys in brackets"),
        (b"a]b]c]d]e]f&" * 9, "more than 40 keys in brackets"),
        (b"a" * 20_000, "a name over 16384 bytes"),
        (b"&" + b"%61" * 6000 + b"=1", "a name over 16384 bytes"),
    ],
)
def test_names_have_limits(body: bytes, told: str) -> None:
    with pytest.raises(ProtocolError, match=told) as raised:
        done(parse_urlencoded(body, FieldLimit(10, lambda _: None)))
    assert raised.value.status == 413
    assert parse(b"a[b][c][d][e]=1&b=2", 1000)


def test_what_fields_and_keys_take_is_told() -> None:
    grown: list[int] = []
    done(parse_urlencoded(b"a=1&b[c][d]=2", FieldLimit(10, grown.append)))
    assert grown[1] == 3 * grown[0] > 0


@given(st.dictionaries(st.text("ab[]", max_size=8), st.lists(st.text(max_size=3), min_size=1), max_size=6))
def test_any_names_make_json_or_an_error(fields: dict[str, list[str]]) -> None:
    try:
        tree = make_tree(fields)
    except ProtocolError:
        return
    assert json.loads(encode_tree(tree)) == tree
