from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.wire.patterns import Patterns, _fits


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("news", "news", True),
        ("news", "news.a", False),
        ("news.*", "news.", True),
        ("news.*", "news.a.b", True),
        ("news.*", "news", False),
        ("*", "", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("a[*", "a[1]", True),
        ("a.*", "abc", False),
        ("*\n", "a\n", True),
    ],
)
def test_a_star_stands_for_any_text(pattern: str, topic: str, fits: bool) -> None:
    assert Patterns([pattern]).fits(topic) is fits


@given(st.lists(st.text("ab*", max_size=6)), st.text("ab", max_size=8))
def test_is_what_a_regular_expression_says(patterns: list[str], topic: str) -> None:
    expected = any(re.fullmatch(".*".join(map(re.escape, one.split("*"))), topic) for one in patterns)
    assert Patterns(patterns).fits(topic) is expected


def test_a_topic_is_compared_only_with_patterns_that_begin_as_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An administrator of ten thousand projects joined a thousand of them: nobody was served for seconds."""
    patterns = Patterns([f"project.{number}.*" for number in range(10_000)] + ["a*1", "a*2", "a*3"])
    assert patterns.most_alike == 3
    compared: list[str] = []

    def compare(topic: str, at: int, rest: list[str]) -> bool:
        compared.append(topic)
        return _fits(topic, at, rest)

    monkeypatch.setattr("rr_py_ws.wire.patterns._fits", compare)
    topics = [f"project.{number}.news" for number in range(9_000, 10_000)]
    assert all(map(patterns.fits, topics))
    assert compared == topics


def test_no_topic_takes_long() -> None:
    begun = time.process_time()
    assert not Patterns(["*a*a*a*a*a*a*a*a*a*b"]).fits("a" * 60_000)
    assert time.process_time() - begun < 1.0
