"""One value of the file into one typed value: RoadRunner's weak decoding.

Every function takes what YAML, JSON, the environment or `-o` delivered, and raises `ValueError` with the text
that follows "found ...," in the error: what is accepted. The rules are those of viper and mapstructure with
weak typing, as RoadRunner 2.x uses them. Numbers with a unit are in `quantities`, addresses in `addresses`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.masking import mask_text

T = TypeVar("T")
_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off", ""})


class PartError(ValueError):
    """Parts of a value are wrong.

    Attributes:
        problems: what is wrong by where in the value: `[0]` of a list, `.name` of a map.
    """

    def __init__(self, accepted: str, problems: Mapping[str, str]) -> None:
        super().__init__(accepted)
        self.problems = problems


def items(value: object, decode: Callable[[str], T], accepted: str) -> tuple[T, ...]:
    """Decode each item of a list, or of a text with commas.

    Raises:
        PartError: items of a list cannot be decoded, with `ValueError`.
        ValueError: the value is no list, or a part of a text cannot be decoded.
    """
    if not isinstance(value, list | tuple):
        try:
            return tuple(decode(item) for item in text_list(value))
        except ValueError:
            raise ValueError(accepted) from None
    found, problems = [], {}
    for index, item in enumerate(value):
        try:
            found.append(decode(text(item)))
        except ValueError:
            problems[f"[{index}]"] = f"found {shown(item)}, {accepted}"
    if problems:
        raise PartError(accepted, problems)
    return tuple(found)


def shown(value: object) -> str:
    """Describe a value in one line of an error; the contents of maps and lists may be secret."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        value = mask_text(value)
    quoted = json.dumps(value, ensure_ascii=False, default=str)
    if not quoted.isprintable():  # A control character or a line separator would change the line.
        quoted = json.dumps(value, default=str)
    return quoted if len(quoted) <= 80 else f"{quoted[:80]}..."


def text(value: object) -> str:
    """A string, number or bool as text, in Go's form: true is `1`, 1.0 is `1`."""
    if isinstance(value, str):
        return value
    # bool is an int for Python, and mapstructure makes true a `1`, too.
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        # repr() may have an exponent; mapstructure formats a float without one.
        return format(Decimal(repr(value)).normalize(), "f")
    raise ValueError("accepted: text")


def boolean(value: object) -> bool:
    """A bool, a number (0 is false), or one of Go's and YAML 1.1's words for it."""
    # mapstructure's weak decoding: any number but 0 is true.
    if isinstance(value, bool | int | float):
        return bool(value)
    if isinstance(value, str):
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
    raise ValueError("accepted: true or false")


def switch(value: object) -> object:
    """A section, or a word that switches it on or off."""
    if isinstance(value, dict):
        return value
    try:
        return {"enabled": boolean(value)}
    except ValueError:
        raise ValueError("accepted: on, off, or a map of keys") from None


def file_mode(value: object) -> int:
    """Permissions as octal text. A bare 0660 is refused: YAML 1.1 reads it as octal, and JSON has none."""
    if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError('accepted: permissions in octal and in quotes, such as "0660"')


def text_list(value: object) -> tuple[str, ...]:
    """A list of texts; one text is split at its commas."""
    if isinstance(value, str):
        # mapstructure's StringToSlice hook: no list of one empty text.
        return tuple(value.split(",")) if value else ()
    if isinstance(value, int | float):
        return (text(value),)
    accepted = "accepted: a list of texts, or one text with commas"
    if isinstance(value, list | tuple):
        return items(value, str, accepted)
    raise ValueError(accepted)


def patterns(value: object) -> tuple[str, ...]:
    """Patterns of topics: one text, or a list of texts. A comma is a character like any other."""
    accepted = "accepted: a pattern such as news.*, or a list of them"
    if isinstance(value, str) and value:
        return (value,)
    if isinstance(value, list | tuple) and value:
        return items(value, str, accepted)
    raise ValueError(accepted)


def maps(value: object) -> tuple[object, ...]:
    """A list of sections, which are decoded later."""
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError("accepted: a list of maps of keys; check the indentation")


def command(value: object) -> tuple[str, ...]:
    """A program and its arguments: a text is split at each space, a list is taken as it is.

    Lists came with RoadRunner 2023.3. As in RoadRunner there are no quotes; a list of one text is that text.
    """
    accepted = "accepted: a program and its arguments, as one text or as a list of texts"
    if isinstance(value, list | tuple):
        parts = items(value, str, accepted)
    else:
        try:
            parts = (text(value),)
        except ValueError:
            raise ValueError(accepted) from None
    if len(parts) > 1 and not parts[0]:
        raise ValueError(accepted)
    return parts if len(parts) > 1 else tuple(parts[0].split(" ") if parts and parts[0] else ())


def environment(value: object) -> dict[str, str]:
    """A map of variables, or a list of maps, which are merged; names come out in upper case."""
    # viper has lost the case of the names, so RoadRunner makes all of them upper case.
    entries = map_of_texts(value, "accepted: a map of variables, or a list of such maps")
    return {name.upper(): entry for name, entry in entries.items()}


def map_of_texts(
    value: object, accepted: str, problem_of: Callable[[str, str], str] = lambda name, entry: ""
) -> dict[str, str]:
    """A map of texts, or a list of such maps, which mapstructure merges: a later one wins.

    Args:
        value: what is decoded.
        accepted: what to say of something else.
        problem_of: says what is wrong with a name or its text; nothing: they are right.

    Raises:
        PartError: items of the list, or entries, cannot be decoded, with `ValueError`.
        ValueError: the value is no map.
    """
    if not isinstance(value, dict | list):
        raise ValueError(accepted)
    found: dict[str, str] = {}
    problems: dict[str, str] = {}
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        at = f"[{index}]" if isinstance(value, list) else ""
        if not isinstance(item, dict):
            problems[at] = f"found {shown(item)}, {accepted}"
            continue
        for name, entry in item.items():
            try:
                found[str(name)] = "" if entry is None else text(entry)
            except ValueError:
                problems[f"{at}.{name}"] = f"found {shown(entry)}, accepted: one text"
            else:
                if problem := problem_of(str(name), found[str(name)]):
                    problems[f"{at}.{name}"] = problem
    if problems:
        raise PartError(accepted, problems)
    return found


def sections(value: object) -> dict[str, object]:
    """A map of sections; a section without a value is an absent section."""
    if not isinstance(value, dict):
        raise ValueError("accepted: a map of sections; check the indentation")
    return {str(name): section for name, section in value.items() if section is not None}


def one_of(*words: str) -> Callable[[object], str]:
    """A decoder that accepts these words in any case, and nothing else."""

    def decode(value: object) -> str:
        word = value.lower() if isinstance(value, str) else ""
        if word in words:
            return word
        meant = did_you_mean(word, words).removeprefix(", ")
        raise ValueError(f"{meant}{', ' if meant else ''}accepted: {', '.join(words)}")

    return decode
