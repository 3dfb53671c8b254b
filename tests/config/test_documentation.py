"""docs/configuration.md says what the models say: keys, defaults. Examples load, that of README.md, too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from rr_py_ws.config import BrokerSection, Config, RedisOptions, check, has_errors, redis_options
from rr_py_ws.config.unread import SECTIONS as KNOWN_SECTIONS
from rr_py_ws.server.changes import EFFECTS, effect_of

Load = Callable[..., Config]

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "configuration.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([a-z_]+\.[a-z_.<>]+)` \| [^|]+ \| ([^|]+) \|", TEXT, re.MULTILINE))
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", README + TEXT, re.MULTILINE | re.DOTALL)


def keys(path: str, annotation: Any) -> Iterator[str]:
    """The keys that can be written below `path`, as the document names them."""
    if path == "broadcast.<name>.options":  # a driver's; the only one that has some is Redis
        path, annotation = "broadcast.<name>.config", RedisOptions
        yield path
    if path == "broadcast.<name>.key":  # where the options were found
        return
    if get_origin(annotation) is dict and get_args(annotation)[1] not in (str, Any):
        path, annotation = f"{path}.<name>", get_args(annotation)[1]
        if path == "logs.channels.<name>":  # the keys of logs again
            yield path
            return
    for model in (annotation, *get_args(annotation)):
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                yield from keys(f"{path}.{field.alias or name}", field.annotation)
            return
    yield path


REDIS = "broadcast.<name>.config."
SECTIONS = [name for name in KNOWN_SECTIONS if name != "version"]  # which has no keys
KEYS = [key for name in SECTIONS for key in keys(name, Config.model_fields[name].annotation)]


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    assert sorted(ROWS) == sorted(KEYS)


def test_it_is_documented_what_becomes_of_each_key_when_it_changes() -> None:
    changes = dict(re.findall(r"^\| `([a-z_]+\.[a-z_.<>]+)` \| .* \| (\w+) \|$", TEXT, re.MULTILINE))
    assert changes == {key: effect_of(key) for key in KEYS}


def test_what_may_change_is_a_key() -> None:
    known = [key for key in EFFECTS if any(one == key or one.startswith(f"{key}.") for one in KEYS)]
    assert list(EFFECTS) == known


# Those in code type; other defaults are words, or the name of another key.
DEFAULTS = [
    (key, found[1]) for key, default in ROWS.items() if (found := re.fullmatch("`(.+)`", default.strip()))
]
DEFAULTS = [
    (key, default)
    for key, default in DEFAULTS
    if default not in ROWS and REDIS + default.split("`")[0] not in ROWS
]


@pytest.mark.parametrize(("key", "default"), DEFAULTS, ids=[key for key, _ in DEFAULTS])
def test_writing_a_documented_default_changes_nothing(load: Load, key: str, default: str) -> None:
    """Loads a file where the key's section is present and empty, and one where the key has its default."""
    if key.startswith(REDIS):
        option = key.removeprefix(REDIS)
        assert (
            redis_options("main", BrokerSection(driver="redis", options={option: default})) == RedisOptions()
        )
        return
    section = key.rpartition(".")[0]
    without = load(f"{section}: {{}}\n")
    written = load(f"{key}: '{default}'\n")
    assert written.model_dump(exclude={"tree"}) == without.model_dump(exclude={"tree"})


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_can_be_served_and_has_no_unknown_key(load: Load, example: str) -> None:
    findings = check(load(example))
    assert not has_errors(findings)
    assert [finding for finding in findings if "unknown" in finding.text] == []
    assert "used" in {finding.kind for finding in findings}
