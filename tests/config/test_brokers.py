from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rr_py_ws.config import BrokerSection, Config, redis_options
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("broadcast: {main: {driver: redis, config: {db: 1}}}", {"db": 1}),
        ("broadcast: {main: {driver: redis, config: {}}}\nmain: {db: 2}", {}),
        ("broadcast: {main: {driver: redis, config: {db: 1}, db: 9}}", {"db": 1}),
        ("broadcast: {main: {driver: redis, config: }}\nmain: {db: 2}", {"db": 2}),
        ("broadcast: {main: {driver: redis}}\nmain: {db: 2}\nredis: {db: 3}", {"db": 2}),
        ("broadcast: {main: {driver: redis}}\nredis: {db: 3}", {"db": 3}),
        ("broadcast: {main: {driver: redis, addrs: [a]}}\nredis: {db: 3}", {"addrs": ["a"]}),
        ("broadcast: {main: {driver: redis}}\nredis: text", {}),
        ("broadcast: {main: {driver: redis}}", {}),
        ("Broadcast: {MAIN: {Driver: Redis, Config: {DB: 1}}}", {"db": 1}),
    ],
)
def test_the_options_of_a_broker_may_be_in_any_of_the_places_of_roadrunner(
    load: Load, text: str, options: dict[str, Any]
) -> None:
    broker = load(text).broadcast["main"]
    assert (broker.driver, broker.options) == ("redis", options)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("broadcast: {main: {driver: redis, config: {db: x}}}", "broadcast.main.config.db"),
        ("broadcast: {main: {driver: redis, db: x}}", "broadcast.main.db"),
        ("broadcast: {main: {driver: redis}}\nmain: {db: x}", "main.db"),
        ("broadcast: {main: {driver: redis}}\nredis: {db: x}", "redis.db"),
    ],
)
def test_a_wrong_option_is_named_where_it_is(load: Load, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        redis_options("main", load(text).broadcast["main"])
    assert str(caught.value) == f'{key}: found "x", accepted: a whole number, 0 or more'


def test_every_section_is_a_broker(load: Load) -> None:
    config = load(
        "websockets: {broker: b}\nbroadcast: {a: {driver: memory}, b: {driver: memory, config: {}}}"
    )
    assert list(config.broadcast) == ["a", "b"]
    assert config.websockets and config.websockets.broker == "b"


def test_the_name_of_the_default_broker_may_have_any_case(load: Load) -> None:
    config = load("websockets: {broker: Main}\nbroadcast: {MAIN: {driver: memory}}")
    assert config.websockets and config.websockets.broker == "main"


@pytest.mark.parametrize(
    "text",
    [
        "websockets: {pubsubs: [redis, memory]}\nredis: {addrs: [a]}",
        "websockets: {path: /ws}",
        "websockets: {}",
    ],
)
def test_a_file_of_roadrunner_2_3_0_has_one_broker_in_memory(load: Load, text: str) -> None:
    config = load(text)
    assert config.broadcast == {"memory": BrokerSection(driver="memory")}
    assert config.websockets and config.websockets.broker == "memory"


def test_pubsubs_beside_broadcast_adds_the_broker_in_memory(load: Load) -> None:
    config = load("websockets: {pubsubs: [memory]}\nbroadcast: {memory: {driver: memory, config: {x: 1}}}")
    assert config.broadcast["memory"].options == {"x": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("broadcast: [a]", "broadcast: found a list, accepted: a map of brokers"),
        (
            "broadcast: {default: null, driver: redis}",
            "broadcast.default: found null, accepted: a map with the key driver; check the indentation"
            " (and 1 more)",
        ),
        ("broadcast: {default: {config: {}}}", "broadcast.default.driver: missing, accepted: memory, redis"),
        (
            "broadcast: {default: {driver: [a]}}",
            "broadcast.default.driver: found a list, accepted: memory, redis",
        ),
        (
            "broadcast: {default: {driver: redis, config: 5}}",
            "broadcast.default.config: found 5, accepted: a map of the driver's options",
        ),
        (
            "websockets: {path: /ws}\nbroadcast: {a: {driver: memory}, b: {driver: memory}}",
            "websockets.broker: missing, accepted: a, b",
        ),
        (
            "websockets: {broker: c}\nbroadcast: {a: {driver: memory}}",
            'websockets.broker: found "c", accepted: a',
        ),
        (
            "websockets: {broker: c}\nbroadcast: {}",
            'websockets.broker: found "c", accepted: a section of broadcast, which has none',
        ),
    ],
)
def test_what_is_wrong_with_a_broker_is_said(load: Load, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("text", "selects"),
    [
        ("websockets: {broker: a}\nbroadcast: {a: {driver: memory}, memory: {driver: memory}}", False),
        ("websockets: {broker: a, pubsubs: [memory]}\nbroadcast: {a: {driver: memory}}", False),
        ("websockets: {broker: a, select_broker: true}\nbroadcast: {a: {driver: memory}}", True),
        ("websockets: {pubsubs: [memory]}\nbroadcast: {a: {driver: memory}}", True),
        ("websockets: {path: /ws}", True),
        ("websockets: {path: /ws, select_broker: false}", False),
    ],
)
def test_a_clients_broker_counts_in_files_of_2_3_0_and_where_the_key_says_so(
    load: Load, text: str, selects: bool
) -> None:
    """Point 9.5: with sections `default` and `memory`, the documented sample joined what nobody uses."""
    websockets = load(text).websockets
    assert websockets and websockets.select_broker is selects
