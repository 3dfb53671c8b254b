"""Answers to joins with a wish: made once for all alike, and for each what he would be told alone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from rr_py_ws.core.join_answers import JoinAnswer, JoinAnswers
from rr_py_ws.core.replay import Replay, settle_recoveries
from rr_py_ws.wire.command import Command
from rr_py_ws.wire.framing.websocket import Opcode, server_frame
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import JSON, STRING, Encoding
from rr_py_ws.wire.recovery import OFF, Missed, Recovery

SIZE = 10_000
JOIN = Command("join", ["news"], history={"news": "e.1"})


@dataclass(eq=False)
class Client:
    id: str = "0123456789012345678901"
    me: str = ""
    encoding: Encoding = STRING
    descriptor: int = -1

    def send(self, frames: bytes, /) -> int:
        raise NotImplementedError

    def push(self, pushes: Pushes, taken: int) -> None: ...

    def charge(self, cost: int) -> None: ...

    def missed(self, topics: Sequence[str]) -> None: ...

    def write_failed(self, error: Exception) -> None: ...


def recovery(*payloads: bytes, exclude: tuple[str, ...] = ()) -> Recovery:
    return Recovery(
        "e.1",
        Missed(
            Publication("news", payload, f"e.{2 + at}", 1.0, exclude) for at, payload in enumerate(payloads)
        ),
    )


@pytest.fixture
def answers() -> JoinAnswers:
    return JoinAnswers(SIZE)


def encoded(client: Client, publications: Missed) -> bytes:
    return Replay(client.encoding, publications).next_frames(1 << 20)


def check(answer: JoinAnswer, client: Client, command: Command, found: dict[str, Recovery]) -> None:
    """An answer is what the client would be told and sent if nobody else was there."""
    told, missed = settle_recoveries(client, command.history or {}, found, SIZE)
    assert (answer.told, answer.missed) == (told, missed)
    reply = answer.reply_to(client)
    text = reply[reply.index(b"{") :]
    assert reply == server_frame(Opcode.TEXT, text)
    fields = json.loads(text)
    assert (fields["topic"], fields["payload"], fields["client"]) == ("@join", command.topics, client.id)
    assert fields.get("id") == command.id
    assert [(topic, one.get("pos"), one["count"]) for topic, one in fields["history"].items()] == [
        (topic, position, count) for topic, position, count, _ in told
    ]
    assert answer.frames in (b"", encoded(client, missed))


def test_who_asks_for_the_same_and_gets_the_same_shares_all_but_the_id(answers: JoinAnswers) -> None:
    one, other = Client(), Client(id="another-id-of-22-chars")
    found = {"news": recovery(b"1", b"2")}
    first = answers.find(one, JOIN, found)
    assert first.frames == encoded(one, found["news"].replay)
    again = Command("join", ["news"], history={"news": "e.1"})
    assert answers.find(other, again, {"news": recovery(b"1", b"2")}) is first
    for client in (one, other):
        check(first, client, JOIN, found)


BOTH = JOIN._replace(topics=["news", "chat"], history={"news": "e.1", "chat": "e.1"})


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (BOTH._replace(topics=["chat", "news"]), {"news": recovery(b"1"), "chat": OFF}),
        (BOTH, {"news": OFF, "chat": OFF}),
        (BOTH, {"news": OFF, "chat": recovery(b"1")}),
        (BOTH, {"news": recovery(b"1")}),
        (BOTH._replace(history={"news": "e.1"}), {"news": recovery(b"1")}),
        (BOTH._replace(topics=["news", "chat", "more"]), {"news": recovery(b"1"), "chat": OFF}),
        (JOIN, {"news": recovery(b"1")}),
    ],
)
def test_of_several_topics_all_have_to_be_alike(
    answers: JoinAnswers, command: Command, found: dict[str, Recovery]
) -> None:
    usual = {"news": recovery(b"1"), "chat": OFF}
    shared = answers.find(Client(), BOTH, usual)
    assert answers.find(Client(), BOTH, dict(usual)) is shared
    for _ in range(2):
        answer = answers.find(Client(), command, found)
        assert answer is not shared
        check(answer, Client(), command, found)
    check(shared, Client(), BOTH, usual)


def test_topics_that_fit_alone_may_not_fit_together(answers: JoinAnswers) -> None:
    found = {"news": recovery(*[b"1" * 2000] * 4), "chat": recovery(*[b"2" * 2000] * 4)}
    answer = answers.find(Client(), BOTH, found)
    check(answer, Client(), BOTH, found)
    assert [told.reason for told in answer.told] == ["", "limit"]
    by_count = BOTH._replace(history={"news": 9, "chat": 9})
    check(answers.find(Client(), by_count, found), Client(), by_count, found)


def test_a_join_of_many_topics_has_an_answer_of_its_own(answers: JoinAnswers) -> None:
    topics = [f"topic {number}" for number in range(20)]
    command, found = (
        Command("join", topics, history=dict.fromkeys(topics, 0)),
        dict.fromkeys(topics, recovery()),
    )
    answer = answers.find(Client(), command, found)
    check(answer, Client(), command, found)
    assert answers.find(Client(), command, found) is not answer


@pytest.mark.parametrize(
    ("client", "command", "found"),
    [
        (Client(id="c"), JOIN, {"news": recovery(b"1")}),
        (Client(encoding=JSON), JOIN, {"news": recovery(b"1")}),
        (Client(encoding=replace(STRING, deflated=True)), JOIN, {"news": recovery(b"1" * 9000)}),
        (Client(), JOIN._replace(id=7), {"news": recovery(b"1")}),
        (Client(), JOIN._replace(id="7"), {"news": recovery(b"1")}),
        (Client(), JOIN._replace(topics=["chat"], history={"chat": "e.1"}), {"chat": recovery(b"1")}),
        (Client(), JOIN, {"news": recovery(b"2")}),
        (Client(), JOIN, {"news": recovery()}),
        (Client(), JOIN, {"news": Recovery("e.1", reason="trimmed")}),
        (Client(), JOIN, {"news": OFF}),
        (Client(), JOIN, {}),
        (Client(), JOIN._replace(topics=["news", "news"]), {"news": recovery(b"1")}),
        (
            Client(),
            JOIN._replace(topics=["news", "chat"], history={"news": "e.1", "chat": 1}),
            {"news": recovery(b"1"), "chat": recovery(b"2")},
        ),
    ],
)  # fmt: skip
def test_who_differs_in_anything_has_an_answer_of_his_own(
    answers: JoinAnswers, client: Client, command: Command, found: dict[str, Recovery]
) -> None:
    usual = answers.find(Client(), JOIN, {"news": recovery(b"1")})
    answer = answers.find(client, command, found)
    assert answer is not usual
    check(answer, client, command, found)
    check(answers.find(client, command, found), client, command, found)


def test_who_is_excluded_does_not_get_what_others_get(answers: JoinAnswers) -> None:
    found = {"news": recovery(b"1", b"2", exclude=("me",))}
    for client in (Client(me="me"), Client(), Client(me="me")):
        answer = answers.find(client, JOIN, found)
        assert len(answer.missed) == (0 if client.me else 2)
        check(answer, client, JOIN, found)


@pytest.mark.parametrize("payloads", [[b"1" * 2000] * 9, [b"1"] * 101, [b"\0" * 3000]])
def test_much_is_encoded_only_as_it_is_taken(payloads: list[bytes]) -> None:
    found, answers = {"news": recovery(*payloads)}, JoinAnswers(SIZE * 10)
    answer = answers.find(Client(), JOIN, found)
    assert len(answer.missed) == len(payloads)
    assert answer.frames == b""
    assert answers.find(Client(), JOIN, found) is answer


@pytest.mark.parametrize(("wish", "sent"), [("e.1", 0), (9, 4)])
def test_what_is_over_the_limit_of_a_join_hangs_on_the_wish(
    answers: JoinAnswers, wish: str | int, sent: int
) -> None:
    found = {"news": recovery(*[b"1" * 2000] * 6)}
    for one in (1 if wish == "e.1" else "e.1", wish):
        command = JOIN._replace(history={"news": one})
        answer = answers.find(Client(), command, found)
        check(answer, Client(), command, found)
    assert len(answer.missed) == sent
    assert [told.reason for told in answer.told] == ["limit"]


def test_what_is_sent_again_is_charged_to_each(answers: JoinAnswers) -> None:
    found = {"news": recovery(*[b"1"] * 17)}
    assert [answers.find(Client(), JOIN, found).cost for _ in range(2)] == [2, 2]
    assert answers.find(Client(), JOIN, {"news": recovery()}).cost == 0


def test_ids_of_any_length_take_no_more_memory_than_others(answers: JoinAnswers) -> None:
    """3,500 ids as long as a message took 1.2 GiB: they were not counted."""
    tracemalloc.start()
    try:
        for number in range(600):
            command = JOIN._replace(id=f"\U0001f600{number}" + "x" * 10_000)
            answers.find(Client(), command, {"news": OFF})
        assert tracemalloc.get_traced_memory()[0] < 5 * 1024 * 1024
    finally:
        tracemalloc.stop()
