from __future__ import annotations

import math
from typing import Any

import pytest

from rr_py_ws.config import BrokerSection, RedisOptions, RedisTLS, redis_options
from rr_py_ws.errors import ConfigError


def decode(options: dict[str, Any]) -> RedisOptions:
    return redis_options("main", BrokerSection(driver="redis", options=options))


def test_without_options_it_is_the_redis_of_this_machine() -> None:
    assert decode({}) == RedisOptions()
    assert RedisOptions().addrs == ("127.0.0.1:6379",)


def test_every_option_is_read_by_roadrunners_rules() -> None:
    assert decode(
        {
            "addrs": "a:1, [::1]:2",
            "master_name": "m",
            "username": "u",
            "password": 123,
            "sentinel_password": "s",
            "db": "3",
            "dial_timeout": "1s",
            "read_timeout": -1,
            "write_timeout": 2_000_000_000,
            "pool_timeout": "500ms",
            "min_retry_backoff": "10ms",
            "max_retry_backoff": "-1ns",
            "tls": {"server_name": "redis.example.com"},
            "prefix": "app:",
            "on_start": "Fail",
            "sharded": "no",
            "publish_queue": "1MiB",
            "pool_size": 10,
        }
    ) == RedisOptions(
        addrs=("a:1", "[::1]:2"),
        master_name="m",
        username="u",
        password="123",
        sentinel_password="s",
        db=3,
        dial_timeout=1.0,
        read_timeout=math.inf,
        write_timeout=2.0,
        pool_timeout=0.5,
        min_retry_backoff=0.01,
        max_retry_backoff=0.001,
        tls=RedisTLS(server_name="redis.example.com"),
        prefix="app:",
        on_start="fail",
        publish_queue=1024 * 1024,
    )


def test_d22_min_retry_backoff_is_not_the_value_of_max_retry_backoff() -> None:
    options = decode({"min_retry_backoff": "20ms", "max_retry_backoff": "2s"})
    assert (options.min_retry_backoff, options.max_retry_backoff) == (0.02, 2.0)


@pytest.mark.parametrize("addrs", ["", [], [""], None])
def test_an_address_that_is_not_set_is_the_default(addrs: object) -> None:
    """`addrs: ["${REDIS_ADDR}"]` without that variable; go-redis takes localhost:6379 then."""
    assert decode({"addrs": addrs}).addrs in (("127.0.0.1:6379",), ("localhost:6379",))


@pytest.mark.parametrize(
    ("options", "cluster"),
    [
        ({"addrs": ["a:1"]}, False),
        ({"addrs": ["a:1", "b:1"]}, True),
        ({"addrs": ["a:1", "b:1"], "master_name": "m"}, False),
        ({"addrs": ["a:1"], "sharded": True}, True),
    ],
)
def test_several_addresses_without_a_master_are_a_cluster(options: dict[str, Any], cluster: bool) -> None:
    assert decode(options).cluster is cluster


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"addrs": ["redis"]},
            'addrs[0]: found "redis", accepted: host:port or the path of a unix socket, or a list of them',
        ),
        (
            {"addrs": ["/a", "/b"]},
            "addrs: a unix socket must be the only address, without master_name or sharded",
        ),
        (
            {"addrs": "/a", "sharded": True},
            "addrs: a unix socket must be the only address, without master_name or sharded",
        ),
        (
            {"sharded": True, "master_name": "m"},
            "sharded: found true, but master_name means Sentinel, which has no shards",
        ),
        (
            {"tls": {"certs": "a"}},
            "tls.certs: unknown key, did you mean cert?",
        ),
        ({"tls": {"cert": "a"}}, "tls.key: missing, TLS takes both cert and key, or neither"),
        ({"tls": {"ca": "a", "root_ca": "b"}}, "tls.root_ca: found beside ca, of which it is another name"),
        ({"tls": {"key": "a"}}, "tls.cert: missing, TLS takes both cert and key, or neither"),
        ({"tls": "yes"}, 'tls: found "yes", accepted: a map of keys; check the indentation'),
        ({"on_start": "panic"}, 'on_start: found "panic", accepted: wait, fail'),
        ({"db": -1}, "db: found -1, accepted: a whole number, 0 or more"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(options)
    assert str(caught.value) == f"broadcast.main.config.{problem}"


def test_the_authorities_may_have_the_name_that_newer_roadrunners_have() -> None:
    """Point 21: a file that is shared with RoadRunner 2023.3 or later."""
    tls = decode({"tls": {"root_ca": "ca.pem", "ca": None}}).tls
    assert tls and tls.ca == "ca.pem"


def test_passwords_are_not_in_what_is_said_about_the_server() -> None:
    options = decode({"username": "u", "password": "geheim", "sentinel_password": "geheim", "addrs": "a:1"})
    assert options.described == "redis at a:1"
