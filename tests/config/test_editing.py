"""Keys put into a YAML file: nothing else of it changes, and what cannot be edited is refused."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rr_py_ws.config.editing import with_keys
from rr_py_ws.config.yaml_file import merge, parse_tree
from rr_py_ws.errors import ConfigError

FILE = Path("/srv/.rr.yaml")
KEYS = {"websockets": {"address": "127.0.0.1:1", "rpc": {"listen": "tcp://h:1"}}, "added": {"x": {}}}


def edited(text: str) -> str:
    """The text with the keys: every line of before is there, in order, but for those that were added to."""
    new = with_keys(FILE, text, KEYS)
    wanted = parse_tree(FILE, text, {})
    for key, value in KEYS.items():
        merge(wanted, [key], value)
    assert parse_tree(FILE, new, {}) == wanted
    return new


def added(text: str) -> list[str]:
    """The lines that are new; no other line differs."""
    lines = list(difflib.ndiff(text.splitlines(), edited(text).splitlines()))
    assert not [line for line in lines if line.startswith("- ")]
    return [line[2:] for line in lines if line.startswith("+ ")]


OURS = ['address: "127.0.0.1:1"', "rpc:", '  listen: "tcp://h:1"']
FLOW = 'address: "127.0.0.1:1", rpc: {listen: "tcp://h:1"}'
SECTION = ["", "added:", "  x: {}"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["websockets:", *(f"  {line}" for line in OURS), *SECTION[1:]]),
        ("# nothing\n", ["websockets:", *(f"  {line}" for line in OURS), *SECTION[1:]]),
        ("a: 1", ["", "websockets:", *(f"  {line}" for line in OURS), *SECTION[1:]]),
        ("websockets:\n    path: /ws  # here\n\n# end\n", [*(f"    {line}" for line in OURS), *SECTION]),
        ("WebSockets:   # nothing yet\nb: 1\n", [*(f"  {line}" for line in OURS), *SECTION]),
        ("websockets:\n  text: |\n    a\n    b\n\n# b\nb: 1\n", [*(f"  {line}" for line in OURS), *SECTION]),
        (
            "websockets:\n  a:\n    - 1\n    # after\n    - {b: 1,\n       c: 2}\nb: [1,\n 2]\n",
            [*(f"  {line}" for line in OURS), *SECTION],
        ),
        (
            "websockets:\n  last:\n# about b\nb: &x {c: *x2}\n".replace("*x2", "1"),
            [*(f"  {x}" for x in OURS), *SECTION],
        ),
        ("---\nwebsockets:\n  a: 1\n---\nother: document\n", [*(f"  {line}" for line in OURS), *SECTION]),
        (
            "websockets:\n  rpc: # ours\n    mode: '0600'\n  path: /\n",
            ['    listen: "tcp://h:1"', f"  {OURS[0]}", *SECTION],
        ),
    ],
)
def test_keys_go_behind_what_is_there(text: str, lines: list[str]) -> None:
    assert added(text) == lines


@pytest.mark.parametrize(
    ("text", "new"),
    [
        (
            "websockets: {}\n",
            'websockets: {address: "127.0.0.1:1", rpc: {listen: "tcp://h:1"}}\n\nadded:\n  x: {}\n',
        ),
        (
            "websockets: { path: /ws , } # ws\n",
            f"websockets: {{ path: /ws, {FLOW} , }} # ws\n\nadded:\n  x: {{}}\n",
        ),
        (
            "{websockets: {a: [1]}}",
            f"{{websockets: {{a: [1], {FLOW}}}, added: {{x: {{}}}}}}",
        ),
        ("a: 1\r\nwebsockets:\r\n  b: 1\r\n", None),
    ],
)
def test_maps_in_braces_and_line_ends_are_kept(text: str, new: str | None) -> None:
    found = edited(text)
    assert new in (None, found)
    assert "\r\n" not in text or found.count("\n") == found.count("\r\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("websockets: 5\n", f"{FILE}:1: websockets is no map"),
        (
            "x: &a {b: 1}\nwebsockets: *a\n",
            f"{FILE}:2: websockets is an alias (*a), which is not edited here",
        ),
        ("x: &a {b: 1}\nwebsockets: {rpc: *a}\n", f"{FILE}:2: websockets.rpc is an alias (*a)"),
        ("websockets:\n  rpc: &a {b: 1}\nx: [*a]\n", f"{FILE}:2: websockets.rpc is used elsewhere, too (&a)"),
        ("websockets: &a\n  b: 1\nx:\n  <<: *a\n", f"{FILE}:1: websockets is used elsewhere, too (&a)"),
        ("x: &a {rpc: {b: 1}}\nwebsockets:\n  <<: *a\n", f"{FILE}:3: websockets.rpc comes from a merge (<<)"),
        ("x: &a {rpc: {b: 1}}\nwebsockets: {<<: [*a]}\n", f"{FILE}:2: websockets.rpc comes from a merge"),
        (
            "y: &b {rpc: {b: 1}}\nx: &a\n  <<: *b\nwebsockets:\n  <<: *a\n  c: 1\n",
            f"{FILE}:5: websockets.rpc comes from a merge",
        ),
        ("x: 1\nwebsockets: [a]\n", f"{FILE}:2: websockets is no map"),
        ("websockets: ~\n", f"{FILE}:1: websockets is no map"),
        (
            "websockets: &a {b: 1}\ncopy: *a\n",
            f"{FILE}:1: websockets is used elsewhere, too (&a), which is not edited here; add by hand: ",
        ),
        ("websockets: [", f"{FILE}:"),
        ("- a\n", f"{FILE}: holds a list"),
        ("a: 1\na: 2\n", f"{FILE}:2: "),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_keys(FILE, text, KEYS)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "x: &a {b: 1}\nwebsockets:\n  <<: *a\n  c: 1\n",
        "x: &a {b: 1}\nwebsockets: {<<: *a}\n",
        "x: &a\n  b: 1\nwebsockets:\n  <<: *a  # ours\n\n# y\ny: *a\n",
        "websockets: &a {b: 1}\n",
        "websockets: &a\n  b: &b 1\n  c: *b\n",
        "websockets:\n  c: {d: &a [1]}\n  e: *a\n",
        "x: &a {address: 1}\nwebsockets:\n  rpc:\n    <<: *a\n",
    ],
)
def test_anchors_and_merges_that_are_nobody_elses_do_not_hinder(text: str) -> None:
    assert edited(text).startswith(text.partition("websockets")[0])


def test_json_is_refused() -> None:
    with pytest.raises(ConfigError, match="is JSON, which is not edited here"):
        with_keys(Path("/rr.json"), "{}", KEYS)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text("ab:#- \n'\"{", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
TREES = st.dictionaries(st.sampled_from(["websockets", "a", "b", "rpc"]), VALUES, max_size=4)


LINES = st.lists(
    st.tuples(
        st.sampled_from(["websockets", "a", "b"]),
        st.sampled_from(["", " &x", " &y"]),
        st.lists(
            st.sampled_from(
                [
                    "  <<: *x",
                    "  <<: *y",
                    "  <<: [*x, *y]",
                    "  rpc: *x",
                    "  rpc: &y {b: 1}",
                    "  rpc:\n    c: 1",
                    "  z: 1",
                ]
            ),
            min_size=1,
            max_size=3,
            unique=True,
        ),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda line: line[0],
)


@given(sections=LINES)
def test_what_aliases_stand_for_never_changes(sections: list[tuple[str, str, list[str]]]) -> None:
    text = "".join(
        f"{name}:{anchor}\n" + "".join(f"{line}\n" for line in lines) for name, anchor, lines in sections
    )
    try:
        edited(text)
    except ConfigError as error:
        assert "\n" not in str(error)


@settings(deadline=None)
@given(tree=TREES, flow=st.booleans(), indent=st.sampled_from([(2, 2, 0), (2, 4, 2), (4, 6, 4)]))
def test_any_file_is_edited_rightly_or_refused(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], flow: bool, indent: tuple[int, int, int]
) -> None:
    file = tmp_path_factory.mktemp("any") / "rr.yaml"
    yaml = YAML(typ="rt")
    yaml.default_flow_style = flow
    yaml.indent(*indent)
    with file.open("w", encoding="utf-8") as stream:
        yaml.dump(tree, stream)
    text = file.read_text("utf-8")
    try:
        edited(text)
    except ConfigError as error:
        assert "\n" not in str(error)
