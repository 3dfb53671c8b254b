from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.core.origin import OriginRule


@pytest.mark.parametrize("origin", ["", "null", "https://any.where", "file://"])
def test_a_star_allows_everything_and_an_empty_value_nothing(origin: str) -> None:
    assert OriginRule(["https://a.b", "*"]).allows(origin)
    assert not OriginRule([""]).allows(origin)


@pytest.mark.parametrize(
    ("value", "origin", "allowed"),
    [
        # RoadRunner's samples
        ("https://*my.site.com", "https://my.site.com", True),
        ("https://*my.site.com", "https://some.my.site.com", True),
        ("https://*my.site.com", "https://my.site.com.evil", False),
        ("https://my.*.com", "https://my.bad.com", True),
        # No star: equal, as text
        ("https://my.site.com", "https://my.site.com", True),
        ("https://my.site.com", "http://my.site.com", False),
        ("https://my.site.com", "https://my.site.com:443", False),
        ("https://my.site.com", "https://my.site.com/", False),
        ("https://my.site.com", "https://evil/?https://my.site.com", False),
        ("https://my.site.com", "", False),
        ("null", "null", True),
        # Case does not count, on neither side
        ("HTTPS://My.Site.com", "https://my.site.COM", True),
        ("HTTPS://*.Site.com", "https://my.site.COM", True),
        # The star stands for any text, also none, dots and slashes
        ("https://*", "https://", True),
        ("https://*", "https://a/b?c", True),
        ("https://*", "http://a", False),
        ("*.site.com", "https://a.b.site.com", True),
        ("*.site.com", "https://site.com", False),
        ("*.site.com", "", False),
        ("https://*", "", False),
        # Beginning and end may not overlap
        ("https://a*a", "https://a", False),
        ("https://a*a", "https://aa", True),
        ("ab*ba", "aba", False),
        ("ab*ba", "abba", True),
        # A second star is a star
        ("https://*.a.*", "https://x.a.*", True),
        ("https://*.a.*", "https://x.a.b", False),
        ("**", "a*", True),
        ("**", "a", False),
        # Nothing is a regular expression
        ("https://my.site.com", "https://my-site.com", False),
        ("https://[a]*", "https://a", False),
    ],
)
def test_an_origin_is_judged_as_roadrunner_judges_it(value: str, origin: str, *, allowed: bool) -> None:
    assert OriginRule([value]).allows(origin) is allowed


def test_one_of_several_values_is_enough() -> None:
    rule = OriginRule(["https://a.example", "https://*.b.example", "http://localhost:8080"])
    assert rule.allows("https://a.example")
    assert rule.allows("https://x.b.example")
    assert rule.allows("http://localhost:8080")
    assert not rule.allows("https://b.example")
    assert not rule.allows("")


def test_a_star_among_several_values_allows_everything() -> None:
    assert OriginRule(["https://a.example", "*"]).allows("")


ASCII = st.text(st.characters(max_codepoint=0x7F))


@given(ASCII.map(lambda text: text.replace("*", "")), ASCII, ASCII)
def test_whatever_stands_for_the_star_is_allowed(prefix: str, middle: str, suffix: str) -> None:
    assert OriginRule([f"{prefix}*{suffix}"]).allows(f"{prefix}{middle}{suffix}".swapcase())
