from __future__ import annotations

from typing import Any

import pytest

from rr_py_ws.config.overrides import override
from rr_py_ws.errors import ConfigError


@pytest.mark.parametrize(
    ("flag", "tree"),
    [
        ("http.address=:9", {"http": {"address": ":9"}}),
        ("HTTP.Address=:9", {"http": {"address": ":9"}}),
        ("http.address.x=1", {"http": {"address": {"x": "1"}}}),
        ("new.section.key=1", {"http": {"address": ":1"}, "new": {"section": {"key": "1"}}}),
        ("http.address=a=b", {"http": {"address": "a=b"}}),
        ("http.address=$HOME", {"http": {"address": "$HOME"}}),
        ("http.address='a b'", {"http": {"address": "a b"}}),
        ('http.address="a"', {"http": {"address": "a"}}),
        ("http.address=`a`", {"http": {"address": "a"}}),
        ("http.address='a", {"http": {"address": "'a"}}),
        (" http.address = :9 ", {"http": {"address": ":9"}}),
    ],
)
def test_an_override_sets_a_text(flag: str, tree: dict[str, Any]) -> None:
    given: dict[str, Any] = {"http": {"address": ":1"}}
    override(given, [flag])
    assert given == tree


def test_of_two_overrides_the_later_wins() -> None:
    tree: dict[str, Any] = {}
    override(tree, ["a=1", "a=2"])
    assert tree == {"a": "2"}


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("http.address", "-o: invalid flag `http.address`"),
        ("", "-o: invalid flag ``"),
        ("=x", "-o: key should not be empty, found `=x`"),
        ("a=", "-o: value should not be empty, found `a=`"),
        # What a shell makes of "a='$UNSET'".
        ("a=''", "-o: value should not be empty, found `a=''`"),
        ('a=""', '-o: value should not be empty, found `a=""`'),
    ],
)
def test_a_malformed_override_has_the_error_of_roadrunner(flag: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override({}, [flag])
    assert str(caught.value) == problem
