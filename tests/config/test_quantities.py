from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rr_py_ws.config import quantities


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
    assert quantities.parse_duration(text) == seconds


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
        quantities.parse_duration(text)
    assert str(caught.value) == problem


def test_a_bare_number_is_nanoseconds_and_a_negative_duration_is_refused() -> None:
    assert quantities.duration(1_500_000_000) == 1.5
    assert quantities.duration(1e9) == 1.0
    wrong: object
    for wrong in (-1, "-1s", math.nan, math.inf, True, [], None):
        with pytest.raises(ValueError, match="accepted: a duration such as 30s"):
            quantities.duration(wrong)


@pytest.mark.parametrize("found", [25, "1ns", "99ms", 1, 9.9e7])
def test_what_is_done_again_and_again_is_not_done_all_the_time(found: object) -> None:
    """`interval: 25` is 25 nanoseconds: the server pinged as fast as it could, which took a core."""
    for decode in (quantities.interval, quantities.patience):
        with pytest.raises(ValueError, match="100ms or more; a bare number is nanoseconds"):
            decode(found)


def test_a_time_between_two_looks_may_be_none() -> None:
    assert (quantities.interval(0), quantities.interval("100ms"), quantities.patience("20s")) == (0, 0.1, 20)
    with pytest.raises(ValueError, match="a duration of 100ms or more"):
        quantities.patience(0)


def test_a_positive_duration_is_not_zero() -> None:
    assert quantities.positive_duration("1ms") == 0.001
    with pytest.raises(ValueError, match="accepted: a duration above 0"):
        quantities.positive_duration("0s")


@settings(deadline=None)
@given(
    hours=st.integers(0, 99), minutes=st.integers(0, 59), seconds=st.integers(0, 59), ms=st.integers(0, 999)
)
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int, ms: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{ms}ms"
    assert quantities.parse_duration(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + ms / 1000)


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
    assert quantities.size(found) == number


@pytest.mark.parametrize(
    "wrong", [0, -1, "", "0", "0.4B", "1XB", "MiB", "-1MiB", 1.5, True, None, [], "9" * 200]
)
def test_what_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: a size such as 64KiB"):
        quantities.size(wrong)


@settings(deadline=None)
@given(
    number=st.integers(1, 2**20), unit=st.sampled_from([("", 1), ("KB", 1000), ("KiB", 1024), ("GiB", 2**30)])
)
def test_every_whole_size_is_exact(number: int, unit: tuple[str, int]) -> None:
    assert quantities.size(f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize(("found", "number"), [(4, 4), ("4", 4), ("0x10", 16), (4.9, 4), (True, 1), ("", 0)])
def test_a_whole_number_may_be_text(found: object, number: int) -> None:
    assert quantities.count(found) == number


@pytest.mark.parametrize("wrong", ["four", "4.5", -1, "-1", math.inf, math.nan, 2**63, None, []])
def test_what_is_no_whole_number(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: a whole number, 0 or more"):
        quantities.count(wrong)


def test_a_positive_number_is_not_zero() -> None:
    assert quantities.positive_count("1") == 1
    with pytest.raises(ValueError, match="1 or more"):
        quantities.positive_count(0)


def test_an_error_status_is_a_4xx_or_5xx_or_the_default() -> None:
    assert [quantities.error_status(status) for status in (400, "503", 599, 0)] == [400, 503, 599, 0]
    for status in (200, 399, 600, -1):
        with pytest.raises(ValueError, match="accepted: "):
            quantities.error_status(status)
