"""Keys put into a YAML file that people keep: all its other bytes stay as they are.

The file is not written anew from its values, which would lose how it is laid out: the new lines go in behind
what is there, and what came of it is read again, and compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from rr_py_ws.config.yaml_file import merge, parse_tree
from rr_py_ws.config.yaml_scanner import GoScanner
from rr_py_ws.errors import ConfigError

_PLAIN = re.compile(r"(?!null$|true$|false$)[a-z][a-z_]*|/[a-z]+")
_STEP = 2
"""Spaces of a level that is new."""


def with_keys(path: Path, content: str, keys: Mapping[str, Any]) -> str:
    """Return the content of a file with more keys.

    Args:
        path: the file.
        content: what it holds.
        keys: maps of texts and maps; none of the texts has a place in the file yet.

    Raises:
        ConfigError: the file is no YAML, or is written in a way that this cannot edit.
    """
    if path.suffix.lower() == ".json":
        raise ConfigError(str(path), "is JSON, which is not edited here")
    wanted = deepcopy(parse_tree(path, content, {}))
    for key, value in keys.items():
        merge(wanted, [key], value)
    edited = _Edits(path, content).insert(keys)
    try:
        if parse_tree(path, edited, {}) == wanted:
            return edited
    except ConfigError:
        pass
    raise ConfigError(str(path), f"is written in a way that is not edited here; add by hand: {_flow(keys)}")


class _Alias(Node):
    """Where an alias stands; ruamel has only the node that it stands for."""

    def __init__(self, target: Node, event: Any) -> None:
        super().__init__(None, event.anchor, event.start_mark, event.end_mark)
        self.target = target
        self.anchor = event.anchor


class _Composer(Composer):
    """Makes nodes of a document, and one for each alias."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.parser.check_event(AliasEvent):
            event = self.parser.get_event()
            # One of an alias inside of what it stands for has been refused when the file was parsed.
            return _Alias(self.anchors[event.anchor], event)
        return super().compose_node(parent, index)


class _Edits:
    """Texts to put in, each with its position; of two at one position the first comes first."""

    def __init__(self, path: Path, content: str) -> None:
        self._path = path
        self._content = content
        self._keys = ""
        self._aliased: set[Node] = set()
        self._line_end = "\r\n" if "\r\n" in content else "\n"
        self._edits: list[tuple[int, str]] = []

    def insert(self, keys: Mapping[str, Any]) -> str:
        """Return the content with the keys.

        Raises:
            ConfigError: a key is there, and is no map.
        """
        self._keys = _flow(keys)
        yaml = YAML(typ="safe", pure=True)
        yaml.Scanner = GoScanner
        yaml.Composer = _Composer
        documents = yaml.compose_all(self._content)
        root = next(documents, None)
        if isinstance(root, MappingNode):
            self._find_aliased(root)
            self._into(root, keys, "")
        else:  # which `parse_tree` takes: no document, or one without a value
            self._edits.append(self._behind_line(len(self._content.rstrip()), _block(keys, 0)))
        parts, done = [], 0
        for position, text in sorted(self._edits, key=lambda edit: edit[0]):
            parts += [self._content[done:position], text]
            done = position
        return "".join([*parts, self._content[done:]])

    def _find_aliased(self, node: Node) -> None:
        """Find the nodes that aliases stand for."""
        if isinstance(node, _Alias):
            self._aliased.add(node.target)
        elif isinstance(node, CollectionNode):
            for entry in node.value:
                for child in entry if isinstance(entry, tuple) else (entry,):
                    self._find_aliased(child)

    def _into(self, node: MappingNode, keys: Mapping[str, Any], path: str) -> None:
        if node in self._aliased:
            raise self._refused(node, path.removesuffix("."), f"is used elsewhere, too (&{node.anchor})")
        there = {key.value.lower(): (key, value) for key, value in node.value if isinstance(key, ScalarNode)}
        new = {name: value for name, value in keys.items() if name not in there}
        if merged := new.keys() & set(_merged_names(node)):
            raise self._refused(node, f"{path}{min(merged)}", "comes from a merge (<<)")
        for name in keys.keys() - new.keys():
            self._below(*there[name], keys[name], f"{path}{name}")
        if new and node.flow_style:
            texts = ", ".join(f"{name}: {_flow(value)}" for name, value in new.items())
            if node.value:
                self._edits.append((_end(*node.value[-1]), f", {texts}"))
            else:
                self._edits.append((node.start_mark.index + 1, texts))
        elif new:
            # The mark of the map may be that of its anchor.
            lines = _block(new, node.value[0][0].start_mark.column)
            if not path:  # sections stand apart
                lines = ["", *lines]
            self._edits.append(self._behind_line(_end(*node.value[-1]), lines))

    def _below(self, key: Node, value: Node, keys: Any, path: str) -> None:
        if isinstance(value, MappingNode):
            self._into(value, keys, f"{path}.")
        elif isinstance(value, ScalarNode) and value.start_mark.index == value.end_mark.index:
            lines = _block(keys, key.start_mark.column + _STEP)
            self._edits.append(self._behind_line(key.end_mark.index, lines))
        else:
            is_alias = isinstance(value, _Alias)
            raise self._refused(key, path, f"is an alias (*{value.anchor})" if is_alias else "is no map")

    def _refused(self, node: Node, path: str, problem: str) -> ConfigError:
        place = f"{self._path}:{node.start_mark.line + 1}"
        return ConfigError(place, f"{path} {problem}, which is not edited here; add by hand: {self._keys}")

    def _behind_line(self, position: int, lines: list[str]) -> tuple[int, str]:
        """Make an edit that puts lines behind the line of a position."""
        text = "".join(f"{line}{self._line_end}" for line in lines)
        end = self._content.find("\n", position)
        if end >= 0:
            return end + 1, text
        # The last line has no end.
        return len(self._content), f"{self._line_end if self._content else ''}{text}"


def _merged_names(node: MappingNode) -> Iterator[str]:
    """Yield the names that a map has from those that are merged into it."""
    for key, value in node.value:
        if not isinstance(key, ScalarNode) or key.value != "<<":
            continue
        for entry in value.value if isinstance(value, SequenceNode) else [value]:
            source = entry.target if isinstance(entry, _Alias) else entry
            if isinstance(source, MappingNode):
                yield from (name.value.lower() for name, _ in source.value if isinstance(name, ScalarNode))
                yield from _merged_names(source)


def _end(key: Node, value: Node) -> int:
    """Where the text of an entry ends, without blanks and comments behind it."""
    while isinstance(value, CollectionNode) and value.value and not value.flow_style:
        last = value.value[-1]
        key, value = last if isinstance(last, tuple) else (value, last)
    if isinstance(value, ScalarNode) and value.start_mark.index == value.end_mark.index:
        return int(key.end_mark.index)
    end = int(value.end_mark.index)
    # That of a block of text is where the next line begins.
    return end - 1 if isinstance(value, ScalarNode) and value.style in ("|", ">") else end


def _block(keys: Mapping[str, Any], indent: int) -> list[str]:
    lines = []
    for name, value in keys.items():
        if isinstance(value, dict) and value:
            lines += [f"{' ' * indent}{name}:", *_block(value, indent + _STEP)]
        else:
            lines.append(f"{' ' * indent}{name}: {_flow(value)}")
    return lines


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_flow(entry)}' for name, entry in value.items())}}}"
    return value if _PLAIN.fullmatch(value) else json.dumps(value)
