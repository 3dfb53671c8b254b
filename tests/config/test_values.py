from __future__ import annotations

import pytest

from rr_py_ws.config import addresses, values


def test_scalars_are_shown_in_one_line_and_what_may_hold_secrets_is_not() -> None:
    assert values.shown("a\nb") == '"a\\nb"'
    assert values.shown("é\x9b") == '"\\u00e9\\u009b"'
    assert values.shown(None) == "null"
    assert values.shown({"password": "x"}) == "a map"
    assert values.shown(["x"]) == "a list"
    assert values.shown("x" * 200) == '"' + "x" * 79 + "..."


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
    assert addresses.address(found) == found


@pytest.mark.parametrize(
    "wrong",
    ["8080", 8080, "host", "host:", "::1:80", "host:x", ":65536", ":" + "9" * 9999, ":²", "127.0.0.1\0.a:1"],
)
def test_what_is_no_address(wrong: object) -> None:
    with pytest.raises(ValueError, match="accepted: host:port or :port"):
        addresses.address(wrong)


@pytest.mark.parametrize(
    "found", ["", "tcp://127.0.0.1:6001", "tcp://:6001", "unix:///run/rr.sock", "unix://rr"]
)
def test_a_dsn_is_tcp_or_unix(found: str) -> None:
    assert addresses.dsn(found) == found


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
        addresses.dsn(wrong)


def test_a_relay_may_be_pipes() -> None:
    assert addresses.relay("pipes") == "pipes"
    assert addresses.relay("unix://rr.sock") == "unix://rr.sock"
    with pytest.raises(ValueError, match="accepted: pipes, tcp://host:port or unix://path"):
        addresses.relay("stdin")


def test_origins_are_one_or_a_list_and_an_empty_list_is_a_mistake() -> None:
    assert addresses.origins("https://a.com") == ("https://a.com",)
    assert addresses.origins(["https://a.com", "*"]) == ("https://a.com", "*")
    assert addresses.origins("https://a.com, https://b.com") == ("https://a.com", "https://b.com")
    assert addresses.origins("") == ("*",)
    with pytest.raises(ValueError, match="accepted: an origin or a list of origins"):
        addresses.origins([])
    for nothing in (["https://a.com", ""], [" "], " ", ",", "https://a.com,,https://b.com"):
        with pytest.raises(ValueError, match="accepted: an origin or a list of origins"):
            addresses.origins(nothing)


def test_networks_are_read() -> None:
    assert addresses.networks(["10.0.0.0/8", "::1"]) == ("10.0.0.0/8", "::1/128")
    with pytest.raises(ValueError, match="accepted: a list of networks"):
        addresses.networks("everybody")
