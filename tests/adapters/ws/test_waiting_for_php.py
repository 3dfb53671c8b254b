"""Commands while an answer of PHP is awaited: nothing stops, order is kept, the backlog is bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import pytest

from rr_py_ws.wire.verdict import ALLOWED, Verdict
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, PONG, TEXT, Client, Gate, close, command, frame, request
from support.ws_site import Site, Start


@pytest.fixture
def gate() -> Gate:
    """Lets everybody connect; joins are answered by the test."""
    return Gate(join=None)


@pytest.fixture
async def site(start: Start, gate: Gate) -> Site:
    return await start(gate)


async def reply(client: Client) -> str:
    """Kind and topics of the next reply."""
    answer = await client.json()
    return str(answer["topic"]) + ",".join(answer["payload"])


async def test_pings_are_answered_while_a_join_waits(site: Site, gate: Gate) -> None:
    client = await site.open()
    await client.send(command("join", ["a"]) + frame(PING, b"there?"))
    await gate.asked(1)
    assert await client.frame() == (PONG, b"there?")
    gate.waiting[0].set_result(ALLOWED)
    assert await reply(client) == "@joina"


async def test_later_commands_wait_and_are_answered_in_order(site: Site, gate: Gate) -> None:
    client = await site.open()
    await client.send(
        command("join", ["a"])
        + command("leave", ["a"])
        + command("nonsense")
        + command("join", ["b"])
        + command("leave", ["c"])
    )
    await gate.asked(1)
    assert await client.silent()
    gate.waiting[0].set_result(ALLOWED)
    assert [await reply(client), await reply(client)] == ["@joina", "@leavea"]
    await gate.asked(2)
    assert await client.silent()
    gate.waiting[1].set_result(Verdict(403))
    assert [await reply(client), await reply(client)] == ["#joinb", "@leavec"]
    assert len(site.hub) == 0


async def test_pushes_of_other_topics_arrive_while_a_join_waits(site: Site, gate: Gate) -> None:
    client = await site.open()
    await client.send(command("join", ["a"]) + command("join", ["b"]))
    await gate.asked(1)
    gate.waiting[0].set_result(ALLOWED)
    await client.frame()
    await gate.asked(2)
    site.publish("a", "x")
    site.publish("b", "not joined yet")
    assert await client.json() == {"topic": "a", "payload": "x"}
    assert await client.silent()


async def test_one_clients_question_holds_up_nobody_else(site: Site, gate: Gate) -> None:
    first, second = await site.open(), await site.open()
    await first.send(command("join", ["a"]))
    await gate.asked(1)
    await second.send(command("join", ["a"]))
    await gate.asked(2)
    gate.waiting[1].set_result(ALLOWED)
    assert await reply(second) == "@joina"


@pytest.mark.parametrize("early", [False, True], ids=["later", "with the handshake"])
@both_loops
async def test_too_many_waiting_commands_stop_the_reading_until_they_are_fewer(
    start: Start, gate: Gate, early: bool
) -> None:
    """3 MB of joins: the server takes a few and leaves the rest to the kernels, and none is lost."""
    site = await start(
        gate,
        max_commands_waiting=4,
        commands_per_second=0,
        max_topic_length=100_000,
        send_queue=100_000_000,  # the client may be the last to get a turn
    )
    joins = [command("join", [f"{number:03}" + "x" * 60_000]) for number in range(50)]
    client = await site.connect(small_buffers=True)
    await client.send(request() + (command("join", ["early"]) * 6 if early else b""))
    await client.head()
    if early:
        await gate.asked(1)
    left = await client.send_until_stalled(b"".join(joins))
    assert len(left) > 1_000_000
    sending = asyncio.create_task(client.send(left))
    gate.on_join = ALLOWED
    gate.waiting[0].set_result(ALLOWED)
    answers = [(await reply(client))[:8] for _ in range(56 if early else 50)]
    assert answers[6 if early else 0 :] == [f"@join{number:03}" for number in range(50)]
    await sending


@pytest.mark.parametrize("leave", ["close", "reset", "end_writing"])
@both_loops
async def test_a_client_that_goes_away_ends_its_question(site: Site, gate: Gate, leave: str) -> None:
    client = await site.open()
    await client.send(command("join", ["a"]) + command("join", ["b"]))
    await gate.asked(1)
    getattr(client, leave)()
    await eventually(gate.waiting[0].cancelled)
    await eventually(lambda: site.server.connections == 0)
    assert gate.topics == [["a"]]


ENDS = {
    "a close frame": (frame(CLOSE, close(1000, "bye")), (CLOSE, close(1000, "bye"))),
    "one that is read byte by byte": (frame(CLOSE, close(1000)), (CLOSE, close(1000))),
    "an invalid close frame": (frame(CLOSE, b"\x00"), (CLOSE, 1002)),
    "invalid text": (frame(TEXT, b"\xff"), (CLOSE, 1007)),
    "a reserved opcode": (frame(3), (CLOSE, 1002)),
}


@pytest.mark.parametrize(("end", "answer"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("half_closed", [False, True])
@both_loops
async def test_commands_that_wait_are_answered_before_the_close_frame_behind_them(
    site: Site, gate: Gate, end: bytes, answer: tuple[int, Any], half_closed: bool
) -> None:
    """Point 9.14: they were dropped. Pushes arrive until then, and what follows is not looked at."""
    client = await site.open()
    await client.send(
        command("join", ["a"]) + command("leave", ["x"]) + command("join", ["b"]) + frame(PING, b"p")
    )
    await gate.asked(1)
    if end is ENDS["one that is read byte by byte"][0]:
        await client.send_slowly(end)
    else:
        await client.send(end)
    await client.send(command("join", ["too late"]) + frame(PING, b"too late"))
    if half_closed:
        client.end_writing()
    assert await client.frame() == (PONG, b"p")
    gate.waiting[0].set_result(ALLOWED)
    assert [await reply(client), await reply(client)] == ["@joina", "@leavex"]
    await gate.asked(2)
    site.publish("a", "x")
    assert await client.json() == {"topic": "a", "payload": "x"}
    gate.waiting[1].set_result(Verdict(403))
    assert await reply(client) == "#joinb"
    opcode, payload = await client.frame()
    assert (opcode, payload if isinstance(answer[1], bytes) else int.from_bytes(payload[:2])) == answer
    assert await client.rest() == b""
    if not half_closed:
        client.end_writing()
    await eventually(lambda: site.server.connections == 0)
    assert gate.topics == [["a"], ["b"]]
    assert len(site.hub) == 0


@both_loops
async def test_commands_in_the_packet_of_the_handshake_are_answered_before_the_close_frame_with_tls(
    start: Start, gate: Gate, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(gate, tls=server_tls)
    client = await site.connect(tls=client_tls)
    await client.send(request() + command("join", ["a"]) * 2 + frame(CLOSE, close(1000)))
    await client.head()
    for number in (1, 2):
        await gate.asked(number)
        gate.waiting[number - 1].set_result(ALLOWED)
        assert await reply(client) == "@joina"
    assert await client.frame() == (CLOSE, close(1000))
    client.close()
    await eventually(lambda: site.server.connections == 0)


@both_loops
async def test_a_close_frame_does_not_wait_for_ever(start: Start, gate: Gate) -> None:
    site = await start(gate, close_timeout=0.05)
    client = await site.open()
    await client.send(command("join", ["a"]) + command("join", ["b"]) + frame(CLOSE, close(1000)))
    assert await client.rest() == frame(CLOSE, close(1000), mask=False)
    assert gate.topics == [["a"]]
    await eventually(gate.waiting[0].cancelled)


async def test_a_stop_ends_a_client_whose_close_frame_waits(site: Site, gate: Gate) -> None:
    client = await site.open()
    await client.send(command("join", ["a"]) + frame(CLOSE, close(4000)))
    await gate.asked(1)
    await eventually(lambda: site.connections()[0]._end_is_held)
    stopping = asyncio.create_task(site.server.stop(20.0))
    assert await client.rest() == frame(CLOSE, close(4000), mask=False)
    client.close()
    await stopping


async def test_who_closes_and_goes_away_while_php_is_asked_leaves_nothing(start: Start, gate: Gate) -> None:
    site = await start(gate, close_timeout=0.1)
    for end in ("reset", "close"):
        client = await site.open()
        await client.send(command("join", ["a"]) * 3 + frame(CLOSE, close(1000)))
        await gate.asked(1)
        getattr(client, end)()
        gate.waiting.pop().set_result(ALLOWED)
        await eventually(lambda: site.server.connections == 0)
        gate.waiting.clear()
    assert len(site.hub) == 0


async def test_a_question_of_a_connection_that_fails_in_the_same_turn_is_no_warning(start: Start) -> None:
    """The join is begun and withdrawn in one turn: what was to be awaited is awaited."""

    class Asynchronous(Gate):
        async def join(self, grant: object, topics: Sequence[str]) -> Verdict:  # type: ignore[override]
            self.topics.append(topics)
            return await asyncio.get_running_loop().create_future()

    gate = Asynchronous()
    site = await start(gate)
    client = await site.open()
    [connection] = site.connections()
    connection.data_received(command("join", ["a"]))
    connection.close_going_away()
    await client.send(frame(CLOSE, close(1001)))
    assert (await client.rest()).startswith(b"\x88")
    assert gate.topics == [["a"]]


async def test_an_answer_in_the_turn_in_which_the_client_goes_away_joins_nothing(
    site: Site, gate: Gate
) -> None:
    client = await site.open()
    await client.send(command("join", ["a"]))
    await gate.asked(1)
    await client.send(frame(CLOSE))
    gate.waiting[0].set_result(ALLOWED)
    client.end_writing()
    await client.ended()
    await eventually(lambda: site.server.connections == 0)
    assert len(site.hub) == 0


@both_loops
async def test_a_client_whose_reading_stopped_is_not_given_up_for_its_silence(
    start: Start, gate: Gate
) -> None:
    """Its pongs lie in the kernel, unread: it is our silence, not its own."""
    site = await start(gate, max_commands_waiting=1, ping_interval=0.04, ping_timeout=0.04)
    client = await site.open()
    await client.send(command("join", ["a"]) + command("join", ["b"]) + command("join", ["c"]))
    await gate.asked(1)
    for _ in range(4):  # three periods without an answer
        assert await client.frame() == (PING, b"")
    gate.on_join = ALLOWED
    gate.waiting[0].set_result(ALLOWED)
    topics = []
    while len(topics) < 3:
        opcode, _ = await client.frame()
        if opcode == TEXT:
            topics.append(opcode)


async def test_a_stopping_server_says_goodbye_to_a_client_that_it_does_not_read(
    start: Start, gate: Gate
) -> None:
    site = await start(gate, max_commands_waiting=1)
    client = await site.open()
    await client.send(command("join", ["a"]) + command("join", ["b"]) + command("join", ["c"]))
    await gate.asked(1)
    stopping = asyncio.create_task(site.server.stop(20.0))
    assert (await client.frame())[1][:2] == close(1001)
    await client.send(frame(CLOSE, close(1001)))
    assert await client.rest() == b""
    client.close()
    await stopping
    assert gate.waiting[0].cancelled()
