"""Point 20: YAML and dotenv files mean what they mean to RoadRunner's libraries.

The tables are what viper 1.13 with yaml.v3 3.0.1, and godotenv 1.4.0, made of each text; null: they refused
it. `{"float": ...}` is a float. Viper leaves out nulls and empty maps, and for the comparison made keys in
lists lower case.
"""

from __future__ import annotations

import codecs
import json
import math
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.config.dotenv import load_dotenv
from rr_py_ws.config.yaml_file import read_tree
from rr_py_ws.errors import ConfigError

HERE = Path(__file__).parent


def table(name: str) -> list[tuple[str, Any]]:
    return [(text, value) for text, value in json.loads((HERE / name).read_text("utf-8"))]


def comparable(value: Any, in_list: bool = False) -> Any:
    if isinstance(value, dict):
        present = {key: entry for key, entry in value.items() if entry is not None}
        entries = {key.lower(): comparable(entry, in_list) for key, entry in present.items()}
        return entries if in_list else {key: entry for key, entry in entries.items() if entry != {}}
    if isinstance(value, list):
        return [comparable(entry, True) for entry in value]
    if isinstance(value, float):
        return {"float": repr(value)}
    return value


def test_every_text_of_the_table_is_read_as_go_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "rr.yaml"
    differences = []
    rows = table("go_yaml.json")
    assert len(rows) > 1000
    for text, expected in rows:
        path.write_bytes(text.encode())
        try:
            found = comparable(read_tree(path))
        except ConfigError:
            found = None
        # In JSON, 1 and true are not the same.
        if json.dumps(found, sort_keys=True) != json.dumps(expected, sort_keys=True):
            differences.append((text, found, expected))
    assert differences == []


TABS = [
    "a: 1\t\n",
    "a:\t1\n",
    "a: 1 \t# comment\n",
    'a: "1"\t# comment\n',
    "a\t: 1\n",
    "a: !!int\t1\n",
    "a: &x\t1\n",
    "a: |\t\n 1",
    "---\t\na: 1\n",
]


@pytest.mark.parametrize("text", TABS)
def test_a_tab_is_white_space_where_there_is_no_indentation(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rr.yaml"
    path.write_text(text)
    assert read_tree(path) in ({"a": 1}, {"a": "1"})


@pytest.mark.parametrize(
    ("bom", "encoding"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_a_byte_order_mark_says_how_the_file_is_encoded(tmp_path: Path, bom: bytes, encoding: str) -> None:
    path = tmp_path / "rr.yaml"
    path.write_bytes(bom + "a: é\r\nb: [\U0001f600]\r\n".encode(encoding))
    assert read_tree(path) == {"a": "é", "b": ["\U0001f600"]}


def test_a_mark_inside_is_a_character_of_a_key(tmp_path: Path) -> None:
    """As for Go, so that such a key is named as one that nobody knows, instead of being one that counts."""
    path = tmp_path / "rr.yaml"
    path.write_text("a: 1\n\ufeffhttp: {address: x}\n", "utf-8")
    assert read_tree(path) == {"a": 1, "\\ufeffhttp": {"address": "x"}}


def test_of_several_documents_the_first_counts_and_the_others_need_not_be_yaml(tmp_path: Path) -> None:
    path = tmp_path / "rr.yaml"
    path.write_text("a: 1\n---\nb: [\n")
    assert read_tree(path) == {"a": 1}


def test_numbers_that_are_none_are_read_as_go_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "rr.yaml"
    path.write_text("a: .nan\nb: 1e400\nc: 99999999999999999999\nd: 0660\n")
    tree = read_tree(path)
    assert math.isnan(tree["a"]) and tree["b"] == "1e400"
    assert (tree["c"], tree["d"]) == (1e20, 0o660)


def test_every_dotenv_file_of_the_table_is_read_as_go_reads_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    differences = []
    rows = table("go_dotenv.json")
    assert len(rows) > 500
    for text, expected in rows:
        path.write_bytes(text.encode())
        variables: dict[str, str] = {}
        try:
            load_dotenv(path, variables)
            found: dict[str, str] | None = variables
        except ConfigError:
            found = None
        if found != expected:
            differences.append((text, found, expected))
    assert differences == []
