from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rr_py_ws.errors import CommandError
from rr_py_ws.wire import command as command_module
from rr_py_ws.wire.command import Command, decode_command
from rr_py_ws.wire.push import STRING

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["command", "Command", "topics", "TOPICS", "payload", "broker", "id", "x"])
HOSTILE_PIECES = st.sampled_from(
    [
        *rb'{"command":"join","topics":[" "]} " \ \ud83d \udc80 \udfff \ude00 \u0000 [ { } , : "id":'.split(),
        *b"null 1e9 \xff \xed\xa0\x80 \xc3 \0".split(),
    ]
)


def refuse(message: bytes) -> CommandError:
    with pytest.raises(CommandError) as refusal:
        decode_command(message)
    assert str(refusal.value)
    assert "\n" not in str(refusal.value)
    return refusal.value


@pytest.mark.parametrize(
    ("message", "command"),
    [
        (b'{"command":"join","topics":["foo","foo2"]}', Command("join", ["foo", "foo2"])),
        (b'{"command":"leave","topics":["foo"]}', Command("leave", ["foo"])),
        (b'{"command":"headers"}', Command("headers")),
        (
            b'{"command":"join","broker":"memory","topics":["a"],"payload":""}',
            Command("join", ["a"], "memory"),
        ),
        # Keys in another case are accepted, values are not folded
        (b'{"Command":"Join","TOPICS":["A"],"bRoKeR":"X","PAYLOAD":""}', Command("Join", ["A"], "X")),
        # Unknown keys with any value are ignored
        (b'{"x":[{"a":[1,2.5,null,true,"\\ud83d"]}],"command":"join","y":{}}', Command("join")),
        # White space around
        (b' \t\r\n{ "command" : "join" }\n ', Command("join")),
        # No error, no command
        (b"null", Command()),
        (b"{}", Command()),
        # Null is the zero value
        (b'{"command":null,"topics":null,"payload":null,"broker":null,"id":null}', Command()),
        (b'{"topics":[null,"a"]}', Command(topics=["", "a"])),
        # An empty list is not a missing one
        (b'{"topics":[]}', Command(topics=[])),
        # The order and duplicates stay
        (b'{"topics":["b","a","b",""]}', Command(topics=["b", "a", "b", ""])),
        # A broker of another type is an unknown field of RoadRunner 2.3.1 and later
        (b'{"broker":5}', Command()),
        (b'{"broker":["a"]}', Command()),
    ],
)
def test_a_command_is_decoded_by_roadrunners_rules(message: bytes, command: Command) -> None:
    assert decode_command(message) == command


@pytest.mark.parametrize("end", [b"\0", b" \n\0", b"\0\0", b"\0 more", b'\0{"command":"leave"}', b"\0\xff"])
@pytest.mark.parametrize(
    "text", [b'{"command":"join","topics":["a"]}', b'{"x":"\\ud83d","command":"join","topics":["a"]}']
)
def test_a_nul_ends_a_command(text: bytes, end: bytes) -> None:
    """Point 13: clients written in C send the NUL at the end of their text, and Go's parser ends there."""
    assert decode_command(text + end) == Command("join", ["a"])


@pytest.mark.parametrize("message", [b"\0", b'\0{"command":"join"}', b'{"command":\0"join"}', b'{"a":"\0"}'])
def test_a_nul_before_the_end_of_a_command_is_an_error(message: bytes) -> None:
    """Point 13."""
    assert refuse(message)


@pytest.mark.parametrize(
    ("message", "topics"),
    [
        (b'{"topics":["a"],"topics":["b"]}', ["b"]),
        (b'{"topics":["a"],"TOPICS":["b"]}', ["b"]),
        (b'{"TOPICS":["a"],"topics":["b"]}', ["b"]),
        (b'{"Topics":["a"],"TOPICS":["b"]}', ["b"]),
        (b'{"topics":["a"],"TOPICS":["b"],"topics":["c"]}', ["c"]),
        (b'{"topics":["a"],"TOPICS":null}', None),
        (b'{"topics":5,"topics":["a"],"x":"\\ud83d"}', ["a"]),
    ],
)
def test_of_a_repeated_key_the_last_wins(message: bytes, topics: list[str] | None) -> None:
    assert decode_command(message).topics == topics


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"{",
        b'{"command":"join"}x',
        b'{"command":"join"}{}',
        b"{},",
        b"[]",
        b'["join"]',
        b'"join"',
        b"5",
        b"true",
        rb'"\ud800"',
        b'["\xff"]',
        b"\xef\xbb\xbf{}",
        b"{'command':'join'}",
        b"{command:1}",
        b'{"command":"join",}',
        b"\0",
        b"\xff\xff",
        b'{"command":"jo\\qin"}',
        b'{"topics":["\\u12g4"]}',
        b'{"topics":["\\ud83d\\u"]}',
        b'{"x":NaN}',
        b'{"x":-Infinity}',
        # Stricter than Go's sloppy parser
        b'{"command":"a\tb"}',
        b'{"command":"a\nb"}',
        b'{"command":"a\0b"}',
        b'{"x":01}',
        '{"x":٣}'.encode(),
        '{"x":٣,"y":"\\ud800"}'.encode(),
        # Too deep for any parser
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        # Numbers too long to convert
        b'{"x":"\\ud800","id":' + b"1" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(message: bytes) -> None:
    assert refuse(message).id is None


@pytest.mark.parametrize(
    "message",
    [
        b'{"topic":"join","payload":["news"]}',
        b'{"topic":"leave","payload":["news","user.5"]}',
        b'{ "payload" : [], "topic" : "join" }',
    ],
)
def test_the_client_of_roadrunner_1_is_recognised(message: bytes) -> None:
    """Point 25: @spiralscout/websockets 0.0.5 joined nothing, and the log spoke of a wrong payload."""
    assert str(refuse(message)) == (
        "a command of RoadRunner 1, as @spiralscout/websockets sends it;"
        ' this server reads {"command":"join","topics":["news"]}'
    )
    assert decode_command(b'{"command":"join","topic":"join","topics":["a"]}').topics == ["a"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ('"topics":"foo"', "topics"),
        ('"topics":{}', "topics"),
        ('"topics":{"a":1}', "topics"),
        ('"topics":5', "topics"),
        ('"topics":true', "topics"),
        ('"topics":["a",1]', "topic"),
        ('"topics":["a",true]', "topic"),
        ('"topics":[["a"]]', "topic"),
        ('"topics":[{}]', "topic"),
        ('"command":5', "command"),
        ('"command":true', "command"),
        ('"command":["join"]', "command"),
        ('"payload":5', "payload"),
        ('"payload":0', "payload"),
        ('"payload":false', "payload"),
        ('"payload":{}', "payload"),
        ('"payload":{"a":1}', "payload"),
        ('"payload":"hello world!"', "payload"),
        ('"payload":"QQ"', "payload"),
        ('"payload":"Q"', "payload"),
        ('"payload":"="', "payload"),
        ('"payload":"QQ==QQ=="', "payload"),
        ('"payload":"QQ===="', "payload"),
        ('"payload":" QQ=="', "payload"),
        ('"payload":"-_8="', "payload"),
        ('"payload":"é==="', "payload"),
        ('"payload":[256]', "payload"),
        ('"payload":[-1]', "payload"),
        ('"payload":[1.0]', "payload"),
        ('"payload":[true]', "payload"),
        ('"payload":["a"]', "payload"),
    ],
)
@pytest.mark.parametrize("slow", ["", ',"x":"\\ud800"'], ids=["", "slow"])
def test_a_known_key_of_the_wrong_type_is_refused(fields: str, named: str, slow: str) -> None:
    assert named in str(refuse(f"{{{fields}{slow}}}".encode()))


@pytest.mark.parametrize(
    "payload",
    ['""', '"QQ=="', '"QUI="', '"QUJD"', '"+/+/"', r'"QU\r\nJD\n"', r'"QQ=\n="', "[]", "[0,255]", "null"],
)
def test_a_payload_of_bytes_is_accepted_and_not_used(payload: str) -> None:
    assert decode_command(b'{"command":"join","payload":%b}' % payload.encode()) == Command("join")


@pytest.mark.parametrize(
    ("written", "topic"),
    [
        (rb"\ud83d\ude00", "😀"),
        (rb"\uD83D\uDE00", "😀"),
        (rb"\uDBFF\uDFFF\udaBC\udC00", "\U0010ffff\U000bf000"),
        (rb"\ud83d", "\ufffd"),
        (rb"\ude00", "\ufffd"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\ud83dA", "\ufffdA"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\ud83d\n", "\ufffd\n"),
        (rb"\\ud83d\ud83d", "\\ud83d\ufffd"),  # the first is an escaped backslash and five letters
        (rb"\\\ud83d", "\\\ufffd"),
        (rb"\u005cud83d\ud83d", "\\ud83d\ufffd"),
        (rb"\"\/\b\f\n\r\t\u00e9", '"/\b\f\n\r\té'),
        ("é€😀\u2028".encode(), "é€😀\u2028"),
    ],
)
def test_escapes_are_read_as_go_reads_them(written: bytes, topic: str) -> None:
    message = b'{"command":"join","topics":["%b"]}' % written
    assert decode_command(message) == Command("join", [topic])
    assert decode_command(message[:-1] + rb',"x":"\ud83d"}') == Command("join", [topic])


@pytest.mark.parametrize("data", [b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"a\xc3("])
def test_bytes_that_are_no_utf8_are_kept(data: bytes) -> None:
    """A binary frame may bring them, and topics that differ only in them are different topics."""
    command = decode_command(b'{"command":"\xfe","topics":["%b",null],"id":"\xfe"}' % data)
    assert command == Command("\udcfe", [data.decode("utf-8", "surrogateescape"), ""], id="\udcfe")


@pytest.mark.parametrize("escape", [rb"\udc80", rb"\udcff", rb"\udd00", rb"\udfff", rb"\ud800"])
def test_null_beside_the_escape_of_a_surrogate_is_an_empty_text(escape: bytes) -> None:
    """The surrogate stayed in the list, which no encoder takes: 50 bytes ended in a traceback."""
    command = decode_command(b'{"command":"join","topics":["%b",null]}' % escape)
    assert command.topics == ["\ufffd", ""]
    command = decode_command(b'{"command":"join","topics":[null,"%b","\xff"]}' % escape)
    assert command.topics == ["", "\ufffd", "\udcff"]


@pytest.mark.parametrize("escape", [rb"\udc80", rb"\udcff", rb"\udd00", rb"\udfff", rb"\ud800"])
def test_the_escape_of_a_surrogate_never_passes_for_a_byte(escape: bytes) -> None:
    r"""Beside a byte that is no UTF-8, `\udfff` was kept; the reply then could not be encoded."""
    command = decode_command(b'{"topics":["\xff%b"],"id":"%b"}' % (escape, escape))
    assert command == Command(topics=["\udcff\ufffd"], id="\ufffd")
    assert STRING.reply("@join", command.topics, id=command.id)


def test_deep_nesting_is_refused_and_nothing_else() -> None:
    """Lists deep inside `topics`, beside a byte that is no UTF-8, once ended in a RecursionError."""
    for depth in range(100, 1000, 50):
        refuse(b'{"topics":' + b"[" * depth + b'"\xff"' + b"]" * depth + b"}")


class TestId:
    @pytest.mark.parametrize(
        ("written", "id"),
        [
            ("7", 7),
            ("0", 0),
            ("-3", -3),
            (str(2**64 - 1), 2**64 - 1),
            (str(-(2**63)), -(2**63)),
            ('""', ""),
            ('"a"', "a"),
        ],
    )
    @pytest.mark.parametrize("slow", ["", ',"x":"\\ud800"'], ids=["", "slow"])
    def test_d25_a_command_may_have_one(self, written: str, id: str | int, slow: str) -> None:
        assert decode_command(f'{{"command":"join","id":{written}{slow}}}'.encode()) == Command("join", id=id)

    @pytest.mark.parametrize(
        "written", ["null", "true", "1.5", "1e3", "[]", "{}", str(2**64), str(-(2**63) - 1), "1" * 99]
    )
    @pytest.mark.parametrize("slow", ["", ',"x":"\\ud800"'], ids=["", "slow"])
    def test_of_another_type_is_ignored_as_roadrunner_ignores_it(self, written: str, slow: str) -> None:
        assert decode_command(f'{{"command":"join","id":{written}{slow}}}'.encode()) == Command("join")

    @pytest.mark.parametrize(
        "message",
        [
            b'{"id":7,"command":5}',
            b'{"topics":"a","id":7}',
            b'{"payload":"!","ID":7}',
            b'{"id":7,"topics":[1]}',
        ],
    )
    def test_d25_a_refused_command_still_tells_its_id(self, message: bytes) -> None:
        assert refuse(message).id == 7


@given(st.binary() | st.lists(HOSTILE_PIECES, max_size=12).map(b"".join))
@example(b'{"command":"join","topics":["\xff\\udfff"]}')
def test_any_bytes_give_a_command_or_a_command_error(message: bytes) -> None:
    try:
        command = decode_command(message)
    except CommandError:
        return
    assert isinstance(command.name, str)
    assert isinstance(command.broker, str)
    STRING.reply("@join", command.topics, id=command.id)


@given(st.lists(st.tuples(KEYS, JSON_VALUES), max_size=5))
def test_the_fast_parser_and_the_slow_one_agree(pairs: list[tuple[str, Any]]) -> None:
    """Most messages never see the slow parser; one more key with a lone surrogate sends them there."""
    items = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs]
    results: list[Command | str] = []
    for extra in ([], [r'"zz":"\ud800"']):
        try:
            results.append(decode_command(f"{{{','.join(items + extra)}}}".encode()))
        except CommandError as error:
            results.append(str(error))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("message", "slow"),
    [
        (b'{"command":"join","topics":["a"]}', False),
        (rb'{"topics":["\ud83d\ude00"]}', False),
        (b'{"Command":"join"}', False),
        (rb'{"topics":["\ud800",null]}', True),
        (b'{"topics":["\xff"]}', True),
        (b'{"id":1,"ID":2}', True),
        (b"[nan", True),
    ],
)
def test_what_is_read_slowly_is_told(message: bytes, slow: bool) -> None:
    """Also when it is no command: it was read all the same."""
    told: list[int] = []
    with suppress(CommandError):
        decode_command(message, told.append)
    assert told == [len(message)] * slow


def test_each_wish_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is as long as the list of names, 8,000 times: 0.8 s for a message of 64 KiB."""
    wishes: list[object] = []
    monkeypatch.setattr(command_module, "_wish", lambda found: wishes.append(found) or 1)
    decoded = decode_command(b'{"history":{"a":{"last":1}},"topics":[%b"b"]}' % (b'"a",' * 1000))
    assert decoded.history == {"a": 1, "b": 1}
    assert wishes == [{"last": 1}, None]


def test_what_is_longer_than_any_position_is_none() -> None:
    """Wishes are kept with what they were answered, which 64 KiB each made 4,000 times as much as it is."""
    texts = {"a": "e.1", "b": "x" * 64, "c": "x" * 65}
    decoded = decode_command(json.dumps({"topics": [*texts], "history": texts}).encode())
    assert decoded.history == texts | {"c": ""}


class TestRemembered:
    """Small commands, which all who come to a topic send alike, are decoded once."""

    def test_the_same_bytes_are_the_same_command(self) -> None:
        message = b'{"command":"join","topics":["remembered"],"history":{"remembered":"e.1"},"id":1}'
        command = decode_command(message)
        assert command == Command("join", ["remembered"], id=1, history={"remembered": "e.1"})
        assert decode_command(message) is command
        assert decode_command(message.replace(b"1}", b"2}")).id == 2

    def test_what_is_read_slowly_costs_as_much_each_time(self) -> None:
        message, charged = b'{"command":"join","topics":["\\ud800"]}', list[int]()
        found = [decode_command(message, charged.append) for _ in range(3)]
        assert found == [Command("join", ["\ufffd"])] * 3
        assert charged == [len(message)] * 3

    def test_so_does_what_is_refused(self) -> None:
        message, charged = b'{"command":"join","topics":"\\ud800"}', list[int]()
        for _ in range(2):
            with pytest.raises(CommandError):
                decode_command(message, charged.append)
        assert charged == [len(message)] * 2

    def test_neither_names_of_clients_nor_large_commands_nor_too_many_are_kept(self) -> None:
        for number in range(5000):
            decode_command(b'{"command":"join","me":"%d"}' % number)
            decode_command(b'{"command":"join","topics":["%d%b"]}' % (number, b"x" * 200))
            decode_command(b'{"command":"join","topics":["of 5000, %d"]}' % number)
        known = command_module._known
        assert 0 < len(known) <= 1024
        assert max(map(len, known)) <= 128
        assert not any(command.me for command in known.values())
