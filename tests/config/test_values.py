from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rr_py_ws.config import values

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("100μs", 0.0001),
        ("1ns", 1e-9),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("-1.5s", -1.5),
        ("+2h", 7200.0),
        ("2540400h10m10.000000000s", 9145440610.0),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert values.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5", 'time: missing unit in duration "5"'),
        ("1m5", 'time: missing unit in duration "1m5"'),
        ("5 s", 'time: unknown unit " s" in duration "5 s"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("", 'time: invalid duration ""'),
        ("s", 'time: invalid duration "s"'),
        (".s", 'time: invalid duration ".s"'),
        ("1.2.3s", 'time: invalid duration "1.2.3s"'),
        ("5\n", 'time: unknown unit "\\n" in duration "5\\n"'),
        ("soon", 'time: invalid duration "soon"'),
        ("3000000h", 'time: invalid duration "3000000h"'),
    ],
)
def test_a_wrong_duration_has_the_error_of_go(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        values.parse_duration(text)
    assert str(caught.value) == problem


def test_scalars_are_shown_in_one_line_and_what_may_hold_secrets_is_not() -> None:
    assert values.shown("a\nb") == '"a\\nb"'
    assert values.shown("é\x9b") == '"\\u00e9\\u009b"'
    assert values.shown(None) == "null"
    assert values.shown({"password": "x"}) == "a map"
    assert values.shown(["x"]) == "a list"
    assert values.shown("x" * 200) == '"' + "x" * 79 + "..."


def test_a_bare_number_is_nanoseconds_and_a_negative_duration_is_refused() -> None:
    assert values.duration(1_500_000_000) == 1.5
    assert values.duration(1e9) == 1.0
    wrong: object
    for wrong in (-1, "-1s", math.nan, math.inf, True, [], None):
        with pytest.raises(ValueError, match="accepted: a duration such as 30s"):
            values.duration(wrong)


def test_a_positive_duration_is_not_zero() -> None:
    assert values.positive_duration("1ms") == 0.001
    with pytest.raises(ValueError, match="accepted: a duration above 0"):
        values.positive_duration("0s")


@settings(deadline=None)
@given(
    hours=st.integers(0, 99), minutes=st.integers(0, 59), seconds=st.integers(0, 59), ms=st.integers(0, 999)
)
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int, ms: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{ms}ms"
    assert values.parse_duration(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + ms / 1000)


@pytest.mark.parametrize(
    ("found", "number"),
    [
        (65536, 65536),
        ("65536", 65536),
        ("512B", 512),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("1MiB", 1048576),
        ("1MB", 1_000_000),
        ("2kb", 2000),
        ("1.5GiB", 1610612736),
        ("1GB", 1_000_000_000),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(found: object, number: int) -> None:
    assert values.size(found) == number


@pytest.mark.parametrize(
    "wrong", [0, -1, "", "0", "0.4B", "1XB", "MiB", "-1MiB", 1.5, True, None, [], "9" * 200]
)
def test_what_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: a size such as 64KiB"):
        values.size(wrong)


@settings(deadline=None)
@given(
    number=st.integers(1, 2**20), unit=st.sampled_from([("", 1), ("KB", 1000), ("KiB", 1024), ("GiB", 2**30)])
)
def test_every_whole_size_is_exact(number: int, unit: tuple[str, int]) -> None:
    assert values.size(f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize("found", [True, 1, -2, 0.5, "true", "TRUE", "t", "1", "yes", "on"])
def test_what_is_true(found: object) -> None:
    assert values.boolean(found) is True


@pytest.mark.parametrize("found", [False, 0, 0.0, "false", "F", "0", "no", "off", ""])
def test_what_is_false(found: object) -> None:
    assert values.boolean(found) is False


@pytest.mark.parametrize("wrong", ["maybe", "2", [], {}, None])
def test_what_is_no_bool(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: true or false"):
        values.boolean(wrong)


@pytest.mark.parametrize(("found", "number"), [(4, 4), ("4", 4), ("0x10", 16), (4.9, 4), (True, 1), ("", 0)])
def test_a_whole_number_may_be_text(found: object, number: int) -> None:
    assert values.count(found) == number


@pytest.mark.parametrize("wrong", ["four", "4.5", -1, "-1", math.inf, math.nan, 2**63, None, []])
def test_what_is_no_whole_number(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: a whole number, 0 or more"):
        values.count(wrong)


def test_a_positive_number_is_not_zero() -> None:
    assert values.positive_count("1") == 1
    with pytest.raises(ValueError, match="1 or more"):
        values.positive_count(0)


@pytest.mark.parametrize(
    ("found", "text"),
    [("a", "a"), (1, "1"), (True, "1"), (False, "0"), (1.0, "1"), (8.1, "8.1"), (1e21, "1" + "0" * 21)],
)
def test_numbers_and_bools_become_text_in_the_form_of_go(found: object, text: str) -> None:
    assert values.text(found) == text


def test_a_list_may_be_one_text_with_commas() -> None:
    assert values.text_list(["a", 1]) == ("a", "1")
    assert values.text_list("a,b") == ("a", "b")
    assert values.text_list("") == ()
    assert values.text_list(5) == ("5",)
    wrong: object
    for wrong in (None, [[]], [None]):
        with pytest.raises(ValueError, match="accepted: a list of texts"):
            values.text_list(wrong)


def test_variables_are_a_map_or_a_list_of_maps() -> None:
    assert values.environment({"app_env": "prod", "n": 1, "empty": None}) == {
        "APP_ENV": "prod",
        "N": "1",
        "EMPTY": "",
    }
    assert values.environment([{"A": "1"}, {"b": True}, {"A": 2}]) == {"A": "2", "B": "1"}
    for wrong in ("A=1", ["A=1"], {"A": [1]}):
        with pytest.raises(ValueError, match="accepted: a map of variables"):
            values.environment(wrong)


@pytest.mark.parametrize("found", ["", ":8080", "0.0.0.0:8080", "localhost:0", "[::1]:65535"])
def test_an_address_has_a_port(found: str) -> None:
    assert values.address(found) == found


@pytest.mark.parametrize(
    "wrong", ["8080", 8080, "host", "host:", "::1:80", "host:x", ":65536", ":" + "9" * 9999, ":²"]
)
def test_what_is_no_address(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: host:port or :port"):
        values.address(wrong)


@pytest.mark.parametrize(
    "found", ["", "tcp://127.0.0.1:6001", "tcp://:6001", "unix:///run/rr.sock", "unix://rr"]
)
def test_a_dsn_is_tcp_or_unix(found: str) -> None:
    assert values.dsn(found) == found


@pytest.mark.parametrize(
    "wrong",
    [
        "127.0.0.1:6001",
        "tcp://",
        "tcp://host",
        "unix://a\0",
        "tcp://::1:80",
        "unix://",
        "udp://:1",
        "tcp://a://:1",
        "pipes",
        {},
    ],
)
def test_what_is_no_dsn(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: t"):
        values.dsn(wrong)


def test_a_relay_may_be_pipes() -> None:
    assert values.relay("pipes") == "pipes"
    assert values.relay("unix://rr.sock") == "unix://rr.sock"
    with pytest.raises(ValueError, match="accepted: pipes, tcp://host:port or unix://path"):
        values.relay("stdin")


def test_origins_are_one_or_a_list_and_an_empty_list_is_a_mistake() -> None:
    assert values.origins("https://a.com") == ("https://a.com",)
    assert values.origins(["https://a.com", "*"]) == ("https://a.com", "*")
    assert values.origins("https://a.com, https://b.com") == ("https://a.com", "https://b.com")
    assert values.origins("") == ("*",)
    with pytest.raises(ValueError, match="accepted: an origin or a list of origins"):
        values.origins([])


def test_an_error_status_is_a_4xx_or_5xx_or_the_default() -> None:
    assert [values.error_status(status) for status in (400, "503", 599, 0)] == [400, 503, 599, 0]
    for status in (200, 399, 600, -1):
        with pytest.raises(ValueError, match="accepted: "):
            values.error_status(status)


def test_networks_are_read() -> None:
    assert values.networks(["10.0.0.0/8", "::1"]) == ("10.0.0.0/8", "::1/128")
    with pytest.raises(ValueError, match="accepted: a list of networks"):
        values.networks("everybody")


@pytest.mark.parametrize(
    "decode",
    [
        values.address,
        values.boolean,
        values.count,
        values.dsn,
        values.duration,
        values.environment,
        values.mebibytes,
        values.networks,
        values.one_of("a", "b"),
        values.origins,
        values.positive_count,
        values.positive_duration,
        values.relay,
        values.sections,
        values.size,
        values.text,
        values.text_list,
        values.error_status,
        values.url_path,
    ],
)
@settings(deadline=None)
@given(found=anything)
def test_a_decoder_raises_value_error_and_nothing_else(
    decode: Callable[[object], object], found: object
) -> None:
    try:
        decode(found)
    except ValueError as error:
        assert str(error).startswith("accepted: ")
