from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.config.yaml_file import lookup, merge, read_tree
from rr_py_ws.errors import ConfigError


def read(tmp_path: Path, text: str | bytes, name: str = "rr.yaml") -> dict[str, Any]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_tree(path)


def test_keys_become_lower_case_at_every_depth_except_inside_lists(tmp_path: Path) -> None:
    tree = read(tmp_path, "HTTP: {Pool: {Num_Workers: 4}}\nlist: [{APP_Env: Prod}]\n")
    assert tree == {"http": {"pool": {"num_workers": 4}}, "list": [{"APP_Env": "Prod"}]}


def test_a_dot_in_a_key_is_a_level_and_wins_over_a_nested_key(tmp_path: Path) -> None:
    tree = read(tmp_path, "http.address: :1\nhttp: {address: ':2', middleware: [a]}\nmy.broker: {x: 1}\n")
    assert tree == {"http": {"address": ":1", "middleware": ["a"]}, "my": {"broker": {"x": 1}}}


def test_a_dot_in_a_key_inside_a_list_stays(tmp_path: Path) -> None:
    assert read(tmp_path, "a: [{b.C: 1}]") == {"a": [{"b.C": 1}]}


def test_keys_that_are_no_text_become_text(tmp_path: Path) -> None:
    """At the top as they are written; below, their values are written anew, as Go does."""
    assert read(tmp_path, "8: a\ntrue: b\n1.5: c\n0x1f: d\n") == {
        "8": "a",
        "true": "b",
        "1": {"5": "c"},
        "0x1f": "d",
    }
    assert read(tmp_path, "a: {0x1f: b, TRUE: c, ~: d}\n") == {"a": {"31": "b", "true": "c", "": "d"}}


def test_a_key_that_cannot_be_printed_is_no_reason_to_refuse_the_sections_of_others(tmp_path: Path) -> None:
    assert read(tmp_path, 'kv: {"a\\nb": 1}\n') == {"kv": {"a\\nb": 1}}


def test_null_stays_null_and_an_empty_map_stays_a_map(tmp_path: Path) -> None:
    assert read(tmp_path, "websockets:\nhttp: {}\n") == {"websockets": None, "http": {}}


@pytest.mark.parametrize("text", ["", "# nothing\n", "~", "\ufeff"])
def test_an_empty_file_has_no_sections(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {}


def test_a_date_is_text_again(tmp_path: Path) -> None:
    assert read(tmp_path, "a: 2024-01-31\n") == {"a": "2024-01-31"}


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    tree = read(tmp_path, "a: &base {x: 1, y: 2}\nb: {<<: *base, y: 3}\n")
    assert tree == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


def test_json_is_read_by_its_extension(tmp_path: Path) -> None:
    assert read(tmp_path, '{"HTTP": {"Address": ":1"}}', "rr.json") == {"http": {"address": ":1"}}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("rr.yaml", "a: 1\nb: [\n", "rr.yaml:3: "),
        ("rr.yaml", "a: 1\nb: c: d\n", "rr.yaml:2: mapping values are not allowed here"),
        ("rr.yaml", "a: 1\n\tb: 2\n", "rr.yaml:2: "),
        ("rr.yaml", "p: hidden\np: secret\n", 'rr.yaml:2: found duplicate key "p"'),
        ("rr.yaml", "a: *nothing\n", "rr.yaml:1: found undefined alias 'nothing'"),
        ("rr.yaml", "a: \x07\n", "rr.yaml: a character that YAML does not allow"),
        ("rr.yaml", "[" * 1000, "rr.yaml: nested too deeply"),
        (
            "rr.yaml",
            "a: " + "{b: " * 70 + "1" + "}" * 70,
            "rr.yaml: has too many values, or nests them too deeply",
        ),
        ("rr.yaml", "a: &a [*a]\n", "rr.yaml:1: found undefined alias 'a'"),
        ("rr.yaml", "- a\n- b\n", "rr.yaml: holds a list, accepted: a map of sections"),
        ("rr.yaml", "text", 'rr.yaml: holds "text", accepted: a map of sections'),
        ("rr.yaml", "? [a, b]\n: 1\n", "rr.yaml:1: found a key that is not text"),
        ("rr.yaml", 'a: "\\ud800"\n', "rr.yaml: has an escape that is not a Unicode character"),
        ("rr.yaml", b"a: \xff\n", "rr.yaml: is neither UTF-8 nor UTF-16 text"),
        ("rr.json", '{"a":\n}', "rr.json:2: Expecting value"),
        ("rr.json", "[" * 100_000, "rr.json: nested too deeply"),
        ("rr.json", '{"a": ' + "9" * 5000 + "}", "rr.json: a value cannot be read: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_file_and_line(
    tmp_path: Path, name: str, text: str | bytes, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, name)
    assert str(caught.value).startswith(f"{tmp_path}/{problem}")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_aliases_of_aliases_do_not_eat_the_memory(tmp_path: Path) -> None:
    """Ten levels of nine aliases each are a file of a few hundred bytes and a tree of billions of values."""
    levels = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 11)]
    with pytest.raises(ConfigError, match="too many values"):
        read(tmp_path, "\n".join(levels))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tree(tmp_path / "rr.yaml")
    assert str(caught.value) == f"{tmp_path}/rr.yaml: cannot be read: No such file or directory"
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_tree(tmp_path)


def test_lookup_and_merge_follow_a_path() -> None:
    tree: dict[str, Any] = {"a": 1}
    merge(tree, ["a", "b"], {"c": 2})
    merge(tree, ["a", "b"], {"d": 3})
    assert tree == {"a": {"b": {"c": 2, "d": 3}}}
    assert lookup(tree, "a.b.c") == 2
    assert lookup(tree, "a.x.y") is None
    assert lookup(tree, "a.b.c.d") is None
