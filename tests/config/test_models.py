from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from rr_py_ws.config import (
    RPC,
    AddressExtension,
    Compression,
    Config,
    Logs,
    Metrics,
    Ping,
    Pool,
    RPCExtension,
    Status,
    WebSockets,
)
from rr_py_ws.config.section import FROM_FILE
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]


def test_models_built_by_hand_take_typed_values_as_they_are() -> None:
    assert Ping(interval=1.5).interval == 1.5
    assert WebSockets(broker="a", pool=Pool(num_workers=3)).pool.num_workers == 3
    with pytest.raises(ValidationError):
        Ping(interval="1.5s")  # type: ignore[arg-type]


def test_from_a_file_the_same_model_decodes() -> None:
    assert Ping.model_validate({"interval": "1.5s"}, context=FROM_FILE) == Ping(interval=1.5)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Ping().interval = 1.0


def test_a_pool_that_is_present_has_a_worker_for_each_processor_and_an_absent_one_has_two() -> None:
    processors = len(os.sched_getaffinity(0))
    assert Pool.model_validate({}, context=FROM_FILE).num_workers == processors
    assert Pool.model_validate({"num_workers": 0}, context=FROM_FILE).num_workers == processors
    assert WebSockets.model_validate({"pool": None}, context=FROM_FILE).pool.num_workers == 2


def test_the_log_level_and_encoding_follow_the_mode() -> None:
    """RoadRunner's `logs` starts at debug in every mode, a channel at its mode's level."""
    logs = Logs.model_validate(
        {"mode": "Production", "channels": {"rpc": {"mode": "raw"}, "http": {"mode": "loud"}, "app": None}},
        context=FROM_FILE,
    )
    assert (logs.level, logs.encoding) == ("debug", "json")
    assert (logs.channels["rpc"].level, logs.channels["rpc"].encoding) == ("info", "console")
    assert (logs.channels["http"].mode, logs.channels["http"].level) == ("development", "debug")
    assert "app" not in logs.channels


def test_an_unknown_log_level_is_ignored_and_a_known_one_may_have_any_case() -> None:
    assert Logs(level="verbose").level == "debug"  # type: ignore[arg-type]
    assert Logs(level="WARN").level == "warn"  # type: ignore[arg-type]


def test_the_rpc_listener_is_our_own_when_one_is_named() -> None:
    path = Path(".rr.yaml")
    own = WebSockets(rpc=RPCExtension(listen="tcp://:2"))
    assert Config(path=path).rpc_listen is None
    assert Config(path=path, websockets=WebSockets()).rpc_listen is None
    assert Config(path=path, rpc=RPC(listen="tcp://:1")).rpc_listen == "tcp://:1"
    assert Config(path=path, rpc=RPC(listen="tcp://:1"), websockets=own).rpc_listen == "tcp://:2"


@pytest.mark.parametrize(("name", "section"), [("metrics", Metrics), ("status", Status)])
def test_the_monitoring_addresses_are_our_own_when_they_are_named(
    name: str, section: type[Metrics] | type[Status]
) -> None:
    """Beside a RoadRunner that reads the same file, its addresses are taken."""

    def address(roadrunners: str | None, own: str | None) -> str:
        config = Config(
            path=Path(".rr.yaml"),
            websockets=WebSockets(**{name: None if own is None else AddressExtension(address=own)}),
            **{name: None if roadrunners is None else section(address=roadrunners)},
        )
        return str(getattr(config, f"{name}_address"))

    assert getattr(Config(path=Path(".rr.yaml")), f"{name}_address") == ""
    assert address(None, None) == ""
    assert address(":1", None) == ":1"
    assert address(":1", ":2") == ":2"
    assert address(":1", "") == ""
    assert address(None, ":2") == ":2"


@pytest.mark.parametrize(
    ("text", "compression"),
    [
        ("", Compression(enabled=False)),
        ("compression: off", Compression(enabled=False)),
        ("compression: 'OFF'", Compression(enabled=False)),
        ("compression: false", Compression(enabled=False)),
        ("compression: on", Compression()),
        ("compression: 'On'", Compression()),
        ("compression: true", Compression()),
        ("compression: {}", Compression()),
        ("compression: {level: 9}", Compression(level=9)),
        ("compression: {min_size: 1KiB}", Compression(min_size=1024)),
        ("compression: {enabled: off, level: 1}", Compression(enabled=False, level=1)),
    ],
)
def test_compression_is_a_word_or_a_section_that_is_on(
    load: Load, text: str, compression: Compression
) -> None:
    websockets = load(f"websockets: {{broker: main, {text}}}\nbroadcast.main.driver: memory").websockets
    assert websockets is not None
    assert websockets.compression == compression


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("compression: maybe", 'compression: found "maybe", accepted: on, off, or a map of keys'),
        ("compression: [1]", "compression: found a list, accepted: on, off, or a map of keys"),
        (
            "compression: {levle: 1}",
            "compression.levle: unknown key, did you mean level?",
        ),
        (
            "compression: {level: 0}",
            "compression.level: found 0, accepted: a level from 1 (fast) to 9",
        ),
        (
            "compression: {level: 10}",
            "compression.level: found 10, accepted: a level from 1 (fast) to 9",
        ),
        ("compression: {min_size: 0}", "compression.min_size: found 0, accepted: a size such as"),
        ("compression: {enabled: 'x'}", 'compression.enabled: found "x", accepted: true or false'),
    ],
)
def test_mistakes_in_compression_are_named(load: Load, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"websockets: {{broker: main, {text}}}\nbroadcast.main.driver: memory")
    assert str(caught.value).startswith(f"websockets.{problem}")


def test_the_header_of_proxies_is_one_of_those_that_are_known() -> None:
    """Point 3."""
    for written in ("X-Forwarded-For", "forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP"):
        section = WebSockets.model_validate({"client_address_header": written}, context=FROM_FILE)
        assert section.client_address_header == written.lower()
    with pytest.raises(ConfigError, match="accepted: x-forwarded-for, forwarded, x-real-ip, "):
        WebSockets.from_file("websockets", {"client_address_header": "X-Forwarded-Fro"})
