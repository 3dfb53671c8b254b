from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rr_py_ws.config.dotenv import load_dotenv
from rr_py_ws.config.overrides import expand, with_environment
from rr_py_ws.errors import ConfigError

ENVIRONMENT = {"NAME": "value", "EMPTY": "", "A1_b": "x", "1": "one"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$NAME", "value"),
        ("${NAME}", "value"),
        ("a ${NAME}:$NAME/b", "a value:value/b"),
        ("$A1_b-c", "x-c"),
        ("$MISSING", ""),
        ("a${MISSING}b", "ab"),
        ("${EMPTY}", ""),
        ("${MISSING:-6379}", "6379"),
        ("${EMPTY:-other}", "other"),
        ("${NAME:-other}", "value"),
        ("${MISSING:-a:-b}", "a:-b"),
        ("${MISSING:-}", ""),
        ("100$", "100$"),
        ("$ NAME", "$ NAME"),
        ("$1x", "onex"),
        ("p$$w", "pw"),
        ("${}x", "x"),
        ("${NAME", "NAME"),
        ("{NAME}", "{NAME}"),
    ],
)
def test_variables_are_expanded_by_the_rules_of_go(text: str, expanded: str) -> None:
    assert expand(text, ENVIRONMENT) == expanded


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="$")))
def test_a_text_without_a_dollar_stays_as_it_is(text: str) -> None:
    assert expand(text, ENVIRONMENT) == text


def test_a_variable_replaces_a_value_that_the_file_has() -> None:
    tree = {"http": {"address": ":1", "pool": {"num_workers": 2}}, "list": ["a"]}
    environ = {"RR_HTTP_ADDRESS": ":9", "RR_HTTP_POOL_NUM_WORKERS": "5", "RR_LIST": "b,c"}
    assert with_environment(tree, environ) == {
        "http": {"address": ":9", "pool": {"num_workers": "5"}},
        "list": "b,c",
    }


def test_a_variable_makes_no_key_and_an_empty_one_replaces_nothing() -> None:
    environ = {"RR_HTTP_ADDRESS": "", "RR_HTTP_OTHER": "x", "RR_RPC": "tcp://:6001", "RR_HTTP": "x"}
    assert with_environment({"http": {"address": ":1"}}, environ) == {"http": {"address": ":1"}}


def test_a_key_without_a_value_can_be_given_one() -> None:
    assert with_environment({"websockets": {"broker": None}}, {"RR_WEBSOCKETS_BROKER": "x"}) == {
        "websockets": {"broker": "x"}
    }


def test_what_a_variable_holds_is_expanded_too() -> None:
    environ = {"RR_A": "$B", "B": "b"}
    assert with_environment({"a": "x"}, environ) == {"a": "b"}


def test_texts_in_lists_are_expanded_and_maps_in_lists_and_keys_are_not() -> None:
    tree = {"$NAME": ["$NAME", 1, {"key": "$NAME"}, ["$NAME"]], "n": 5}
    assert with_environment(tree, ENVIRONMENT) == {
        "$NAME": ["value", 1, {"key": "$NAME"}, ["$NAME"]],
        "n": 5,
    }


def test_a_dotenv_file_adds_variables_and_leaves_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# comment\nexport A=1\nB='two words'\nC=from file\nD=\n")
    environ = {"C": "mine"}
    load_dotenv(tmp_path / ".env", environ)
    assert environ == {"A": "1", "B": "two words", "C": "mine", "D": ""}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A=1\nnot a variable\n", ":2: accepted: NAME=value"),
        (b"A=1\n\nB\n", ":3: accepted: NAME=value"),
        (b"A=1\nB=" + b"x" * 70_000, ":2: accepted: NAME=value"),
    ],
)
def test_a_wrong_dotenv_file_is_an_error(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    environ: dict[str, str] = {}
    with pytest.raises(ConfigError) as caught:
        load_dotenv(tmp_path / ".env", environ)
    assert str(caught.value) == f"{tmp_path}/.env{problem}"
    assert environ == {}


def test_what_no_process_can_have_in_its_environment_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=x\0y\n=1\nC=\xff\n")
    environ: dict[str, str] = {}
    load_dotenv(tmp_path / ".env", environ)
    assert environ == {"C": "\udcff"}


def test_a_missing_dotenv_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the dotenv file cannot be read: No such file or directory"):
        load_dotenv(tmp_path / ".env", {})
