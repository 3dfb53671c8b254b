"""What a line of the log looks like, and that no value can break it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.logs.render import FULL, Renderer, _text


def render(mode: str, json: bool, message: Any = "joined", **fields: object) -> str:
    return Renderer(mode, json, clock=lambda: 1714557630.25)("websockets", "warn", message, fields)


def test_production_json_has_level_time_logger_message_and_fields() -> None:
    assert render("production", True, topics=2, took=0.5) == (
        '{"level":"warn","ts":1714557630.25,"logger":"websockets","msg":"joined","topics":2,"took":0.5}\n'
    )


def test_development_console_has_tabs_between_time_level_padded_name_message_and_fields() -> None:
    when, level, name, message, fields = render("development", False, topics=2, user="ann").split("\t")
    assert re.fullmatch(r"2024-05-01T\d\d:\d\d:30\.250(Z|[+-]\d{4})", when)
    assert (level, name, message) == ("WARN", "websockets  ", "joined")
    assert fields == '{"topics": 2, "user": "ann"}\n'


def test_a_console_line_without_fields_ends_with_the_message() -> None:
    assert render("development", False).endswith("\tjoined\n")


def test_raw_has_message_and_fields_only() -> None:
    assert render("raw", False, pid=7) == 'joined\t{"pid": 7}\n'
    assert render("raw", True, pid=7) == '{"message":"joined","pid":7}\n'


def test_development_json_and_production_console_keep_the_looks_of_their_mode() -> None:
    record = json.loads(render("development", True))
    assert record["level"] == "WARN" and record["ts"].startswith("2024-05-01T")
    assert render("production", False) == "1714557630.25\twarn\twebsockets\tjoined\n"


def test_line_ending_is_configurable() -> None:
    assert Renderer("raw", False, line_ending="\r\n")("rpc", "info", "x", {}) == "x\r\n"


def test_colours_mark_level_and_name_only() -> None:
    line = Renderer("development", False, colour=True)("rpc", "error", "x", {})
    assert "\t\x1b[91mERROR\x1b[0m\t\x1b[92mrpc         \x1b[0m\tx\n" in line


@pytest.mark.parametrize("json_form", [True, False])
def test_a_field_never_replaces_the_parts_of_the_line(json_form: bool) -> None:
    line = render("production", json_form, level="debug", msg="forged", logger="root", ts=0)
    if json_form:
        record = json.loads(line)
        assert (record["level"], record["msg"], record["logger"]) == ("warn", "joined", "websockets")
        assert (record["level_"], record["msg_"], record["ts_"]) == ("debug", "forged", 0)
    else:
        assert line.startswith("1714557630.25\twarn\twebsockets\tjoined\t")


# Values


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError


def test_any_value_becomes_json() -> None:
    record = json.loads(
        render(
            "production",
            True,
            none=None,
            yes=True,
            big=2**70,
            huge=10**5000,
            infinite=float("inf"),
            data=b"ok\xff",
            error=KeyError(),
            broken=_Broken(),
            path=Path("a"),
            deep=[[[[[[[1]]]]]]],
            map={1: {"x": (1, 2)}},
        )
    )
    assert record["none"] is None and record["yes"] is True
    assert record["big"] == str(2**70) and record["huge"] == "int" and record["infinite"] == "inf"
    assert record["data"] == "ok\\xff" and record["error"] == "KeyError" and record["broken"] == "_Broken"
    assert record["path"] == "a" and record["map"] == {"1": {"x": [1, 2]}}
    assert record["deep"] == [[[[["[[1]]"]]]]]


def test_long_values_are_cut_and_say_so() -> None:
    record = json.loads(render("production", True, "m" * (FULL[0] + 5), topics=["t"] * (FULL[1] + 3)))
    assert json.loads(render("raw", True, map=dict.fromkeys(range(200))))["map"]["..."] == "100 more"
    assert record["msg"].endswith("m... (5 more characters)")
    assert len(record["topics"]) == FULL[1] + 1 and record["topics"][-1] == "... (3 more)"
    assert len(render("production", True, data=b"\xff" * 10**6)) < 3 * FULL[0]


UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("mode", ["development", "production", "raw"])
@given(text=st.text() | st.text(st.characters(max_codepoint=0xA0)) | st.binary(), key=st.text())
def test_no_value_breaks_a_line_or_reaches_the_terminal(mode: str, text: str | bytes, key: str) -> None:
    """A peer cannot forge a second log line, nor send escape sequences to the terminal of a reader."""
    for json_form in (True, False):
        line = render(mode, json_form, text, field=text, list=[text], map={key: text})
        assert line.endswith("\n")
        assert not UNSAFE.search(line[:-1])
        if json_form and isinstance(text, str) and len(text) < FULL[0]:
            assert "\t" not in line
            assert json.loads(line)["field"] == text


def test_control_characters_are_shown_as_escapes_on_the_console() -> None:
    line = render("raw", False, "a\r\nb\x1b[31m\x9b\u202ec", value="x\n\x1b]0;title\x07")
    assert line == 'a\\r\\nb\\x1b[31m\\x9b\\u202ec\t{"value": "x\\n\\u001b]0;title\\u0007"}\n'


def test_of_huge_bytes_only_the_beginning_is_looked_at() -> None:
    """A peer may have sent them: decoding 64 MiB for 512 characters would hold everybody up."""

    class Huge(bytearray):
        def decode(self, *_: object) -> str:
            raise AssertionError("all of it")

    assert _text(Huge(b"\xe2\x82\xac" * 1000), 10) == "\u20ac" * 10 + "... (3000 bytes in all)"
    assert _text(b"\xff" * 3, 12) == "\\xff" * 3
