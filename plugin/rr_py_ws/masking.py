"""Secrets in texts and values, replaced by `***` before anybody is shown them.

What is a secret is guessed from names (`password`, `Authorization`, `--token`, `APP_KEY=`) and from forms
(`user:password@` of URLs and DSNs, `Bearer ...`, private keys). A guess too many hides what people can look
up in their file; one too few gives a secret away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MASK = "***"

_NAME = (
    r"pass(word|wd|phrase|_?code)|passwort|pwd$|(^|[_.-])(pass|pw|psk|sig|jwt)$|secret|token|credential|signature"
    r"|authorization$|(^|[_-])auth$|cookie$|bearer"
    r"|(api|app|access|account|auth|encryption|license|private|secret|shared|signing)[_-]?key([_-]?id)?$"
)
_SECRET_KEY = re.compile(_NAME)
# Applications make the names of variables, headers, flags and parameters: more of them are suspicious.
_SECRET_VARIABLE = re.compile(rf"{_NAME}|key$|pass$|dsn$")
_VARIABLES = ("env", "environment", "headers", "request", "response", "metadata")
_COMMANDS = ("command", "cmd", "exec", "args", "entrypoint")
_SWITCHES = ("true", "false")

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
# Without a scheme, what begins a word or follows `=`.
_USERINFO = re.compile(r"://|(?<![^=\"'])(?=[^:/@=\"']+:(?!//))")
_SCHEME = re.compile(r"\b(bearer|basic)(\s+)(?!realm=)[^\s\"',;]+", re.I)
# A name and what separates it from its value. After a colon with digits it is a host with its port.
_PAIR = re.compile(
    r"(?<![\w.%\[\]-])(?P<name>[\w.%\[\]-]+)"
    r"(?P<separator>\s*=\s*|\\?[\"']\s*:\s*|(?<!/)\s*:(?!//|[0-9]{1,5}(?![^\s,/\"']))\s*)"
)
_FLAG = re.compile(r"(?<!\S)(?P<name>--?[A-Za-z][\w.-]*)(?P<separator>\s+)")
_SHORT_FLAG = re.compile(r"(?<!\S)-p\s*(?=\S)")
_REDIS_CLI = re.compile(r"\bredis-cli\b.{0,500}?\s-a\s*(?=\S)")
_USER_FLAGS = ("-u", "-U", "--user", "--proxy-user")
_USER_FLAG = re.compile(rf"(?<!\S)({'|'.join(_USER_FLAGS)})[\s=]*[^\s:=]+:(?=\S)")
_QUOTED = r"\\?\"((?!\\?\").|\\\\\")*\\?\"?|'[^']*'?"
_WORD = re.compile(rf"{_QUOTED}|\S+", re.S)
_PART = re.compile(rf"{_QUOTED}|[^\s&;]+", re.S)
_ENTRY = re.compile(rf"{_QUOTED}|[^\s,;}}\]\"']+", re.S)
_FIELD = re.compile(r"[^\"'\r\n]+")
_SINGLE, _DOUBLE = re.compile("[^']+"), re.compile('[^"]+')


def mask_text(text: str) -> str:
    """Mask what looks like a secret inside a text: of URLs, DSNs, queries, headers, assignments and flags."""
    # Masked as a whole: what stands around a key helps nobody.
    if _PRIVATE_KEY.search(text):
        return MASK
    if "@" in text:
        text = re.sub(r"\S+", _without_user, text)
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    return _replaced(text, _named_values(text))


def mask_command(text: str) -> str:
    """Mask the secrets of a command line, or of one argument: those of any text, and of `-p secret`."""
    text = mask_text(text)
    spans = (
        at.span()
        for before in (_SHORT_FLAG, _REDIS_CLI, _USER_FLAG)
        for found in before.finditer(text)
        if (at := _WORD.match(text, found.end()))
    )
    return _replaced(text, spans)


def command_line(arguments: Sequence[str]) -> str:
    """Return a command as one text for people, without its secrets."""
    # Of a command that was split at its blanks, a secret may be several words behind its name.
    return mask_command(" ".join(mask_arguments(arguments)))


def mask_arguments(arguments: Sequence[Any]) -> list[Any]:
    """Mask the secrets of a command that is a list; a flag and its value may be two items."""
    asks_redis = any(str(argument).endswith("redis-cli") for argument in arguments)
    flags = [str(argument) for argument in ["", *arguments]]
    return [
        _masked_argument(flag, argument, ("-p", "-a") if asks_redis else ("-p",))
        for flag, argument in zip(flags, arguments, strict=False)
    ]


def _masked_argument(flag: str, argument: Any, secret_flags: Sequence[str]) -> Any:
    """Mask an argument, of which blanks and quotes are a part, as no shell reads it."""
    names_it = re.fullmatch(r"--?[A-Za-z][\w.-]*|[\w.-]+:", flag)
    if argument and (
        flag in secret_flags or (names_it and _SECRET_VARIABLE.search(flag.rstrip(":").lower()))
    ):
        return MASK
    if not isinstance(argument, str):
        return argument
    name, equals, _ = argument.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name) and _SECRET_VARIABLE.search(name.lower()):
        return f"{name}={MASK}"
    if flag in _USER_FLAGS and ":" in argument:
        return f"{argument.partition(':')[0]}:{MASK}"
    return mask_command(argument)


def mask_values(value: Any, key: str = "") -> Any:
    """Copy a value of plain types, with its secrets masked.

    Args:
        value: a map, a list or a scalar.
        key: dotted path of the value, in lower case.
    """
    if isinstance(value, Mapping):
        # Of Amazon's pair only the second half is called a secret.
        pair = ("key",) if "secret" in value else ()
        return {
            name: MASK if entry and name in pair else _masked_entry(key, name, entry)
            for name, entry in value.items()
        }
    is_command = key.rpartition(".")[2].endswith(_COMMANDS)
    if isinstance(value, list | tuple):
        return mask_arguments(value) if is_command else [mask_values(item, key) for item in value]
    if isinstance(value, str):
        return mask_command(value) if is_command else mask_text(value)
    return value


def _masked_entry(path: str, name: str, value: Any) -> Any:
    key = f"{path}.{name.lower()}" if path else name.lower()
    sections = path.split(".")
    named = _SECRET_KEY
    if any(section in _VARIABLES for section in sections):
        named = _SECRET_VARIABLE
    is_switch = isinstance(value, bool) or (isinstance(value, str) and value.lower() in _SWITCHES)
    is_section = isinstance(value, Mapping) and name.lower().endswith("auth")
    # Those of a collector are there for its keys alone. Empty values stay visible.
    is_secret = named.search(name.lower()) or sections == ["otel", "headers"]
    if value and is_secret and not is_switch and not is_section:
        return MASK
    return mask_values(value, key)


def _without_user(found: re.Match[str]) -> str:
    """Mask user and password in a word; up to the last @, because a password may hold anything."""
    word = found[0]
    at = word.rfind("@")
    user = _USERINFO.search(word, 0, at) if at > 0 else None
    return f"{word[: user.end()]}{MASK}{word[at:]}" if user else word


def _named_values(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values are that have a suspicious name before them."""
    for pattern in (_PAIR, _FLAG):
        masked = 0
        for found in pattern.finditer(text):
            # What looks like a name inside a value is a part of it.
            if found.start() < masked or not _SECRET_VARIABLE.search(found["name"].lower()):
                continue
            if at := _value_behind(text, found).match(text, found.end()):
                masked = at.end()
                yield at.span()


def _value_behind(text: str, found: re.Match[str]) -> re.Pattern[str]:
    """Return what a value is made of: that depends on what is before it."""
    separator = found["separator"]
    before = text[max(found.start() - 1, 0) : found.start()]
    if ":" in separator:  # a header may have several words; of JSON and YAML, it is one
        is_field = found["name"].lower().endswith(("authorization", "cookie")) and separator[0] == ":"
        return _FIELD if is_field else _ENTRY
    if separator.strip() and before in ("'", '"'):
        return _SINGLE if before == "'" else _DOUBLE
    # Inside a word (`?a=1&b=2`, `a=1;b=2`) others may follow.
    return _PART if before.strip() else _WORD


def _replaced(text: str, spans: Iterator[tuple[int, int]]) -> str:
    """Return a text with the mask at these places, of which some may overlap."""
    parts, done = [], 0
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*parts, text[done:]])
