"""`websockets.history`: which topics have a history."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rr_py_ws.config import Config, HistoryRule
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]


def rules(load: Load, text: str) -> tuple[HistoryRule, ...]:
    return load(f"websockets:\n  history: {text}\n").settings.history


def test_without_the_key_no_topic_has_a_history(load: Load) -> None:
    assert load("websockets: {}\n").settings.history == ()


def test_rules_keep_their_order(load: Load) -> None:
    text = "[{topics: 'news.*', size: 100, ttl: 5m}, {topics: [a, 'b,c'], size: '7', ttl: 1h, bytes: 2KiB}]"
    assert rules(load, text) == (
        HistoryRule(topics=("news.*",), size=100, ttl=300.0, bytes=1 << 20),
        HistoryRule(topics=("a", "b,c"), size=7, ttl=3600.0, bytes=2048),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", "websockets.history: found 5, accepted: a list of maps"),
        ("{topics: a}", "websockets.history: found a map, accepted: a list of maps"),
        ("[5]", "websockets.history[0]: found 5, accepted: a map of keys"),
        ("[{topics: a, size: 1}]", "websockets.history[0].ttl: missing"),
        ("[{topics: a, ttl: 1s}]", "websockets.history[0].size: missing"),
        ("[{size: 1, ttl: 1s}]", "websockets.history[0].topics: missing"),
        ("[{topics: a, size: 0, ttl: 1s}]", "websockets.history[0].size: found 0, "),
        ("[{topics: a, size: 1, ttl: 0s}]", 'websockets.history[0].ttl: found "0s", '),
        (
            "[{topics: a, size: 1, ttl: 300}]",
            "websockets.history[0].ttl: found 300, accepted: a duration",
        ),
        ("[{topics: a, size: 1, ttl: 1s, bytes: 0}]", "websockets.history[0].bytes: found 0, "),
        ("[{topics: '', size: 1, ttl: 1s}]", 'websockets.history[0].topics: found "", accepted: a pattern'),
        ("[{topics: [], size: 1, ttl: 1s}]", "websockets.history[0].topics: found "),
        ("[{topics: a, sise: 1s}]", "websockets.history[0].sise: unknown key, did you mean size?"),
    ],
)
def test_a_mistake_is_named_with_its_rule(load: Load, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        rules(load, text)
    assert str(error.value).startswith(told)
