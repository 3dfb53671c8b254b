"""A listener and its core: what the one has of the other, and what becomes of it when the core is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.adapters.auth.php import PHPAuthorizer
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.link.body_file import place_of
from rr_py_ws.adapters.link.broker import LinkBroker
from rr_py_ws.adapters.link.connection import DOWN
from rr_py_ws.adapters.link.core import Core
from rr_py_ws.adapters.link.pool import LinkPool
from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ports import Answer, AnswerParts, Broker, Lane
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError, ExecTimeout, WorkerDied, WorkerError, WorkersDown
from rr_py_ws.metrics import counter, gauge
from rr_py_ws.wire.command import FROM_NOW
from rr_py_ws.wire.link import pack_metrics
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.verdict import Verdict
from rr_py_ws.wire.worker import MappedQuestion, Message, Question
from support.linked import CoreProcess
from support.php_pool import grant, request
from support.waiting import eventually

RULES = HistoryRules([HistoryRule(topics=("news*",), size=100, ttl=60.0)])
LIMIT = ReplayLimit(100, 10_000)


class Listener:
    """The half of a listener process that speaks to the core."""

    def __init__(self) -> None:
        self.lost = 0
        self.core = Core(self._lose)
        self.core.handlers["end"] = self.core.close
        self.broker = LinkBroker("default", 0, self.core, RULES)
        self.events: list[object] = []

    def _lose(self) -> None:
        self.lost += 1

    async def start(self) -> None:
        await self.broker.start(
            lambda publication: self.events.append((publication.topic, publication.payload)),
            lambda topics: self.events.append(("gap", *topics)),
        )

    async def subscribe(self, *topics: str) -> None:
        if (waiting := self.broker.subscribe(topics)) is not None:
            await waiting


class Pool:
    """Workers that answer when a test says so."""

    allocate_timeout = 1.0

    def __init__(self) -> None:
        self.asked: list[tuple[Message, Callable[[Answer], object], Lane]] = []
        self.withdrawn: list[Message] = []
        self.questions: list[tuple[bytes, bytes]] = []
        self.parts: list[Message] = []
        self.stopped = 0

    def ask(
        self, question: Message, on_answer: Callable[[Answer], object], limit: float = 0.0, **how: Any
    ) -> Callable[[], None]:
        self.asked.append((question, on_answer, how["lane"]))
        return lambda: self.withdrawn.append(question)

    async def exec_streamed(
        self, question: Question, limit: float = 0.0
    ) -> tuple[Message, AnswerParts | None]:
        self.questions.append((question.context, question.body[:]))
        return Message(b"head", b"1"), self if self.parts else None

    async def next_part(self) -> Message | None:
        if not self.parts:
            return None
        part = self.parts.pop(0)
        if part.context == b"fails":
            raise WorkerDied("in the middle")
        return part

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
async def pool() -> Pool:
    return Pool()


@pytest.fixture
async def cores(pool: Pool) -> AsyncIterator[Cores]:
    """Starts core processes; each is as new as one that takes the place of one that has died."""
    started: list[CoreProcess] = []

    async def start(broker: Broker | None = None) -> CoreProcess:
        brokers = {"default": broker or MemoryBroker(RULES)}
        core = CoreProcess(brokers, {"websockets": pool})  # type: ignore[dict-item]
        await core.node.start()
        started.append(core)
        return core

    yield start
    for core in started:
        await core.close()


Cores = Callable[..., Awaitable[CoreProcess]]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    await made.start()
    yield made
    await made.broker.close()
    made.core.close()


def die(core: CoreProcess) -> None:
    """End the core's half of its links, as the kernel does for a process that has died."""
    for listener in core.listeners._all.values():
        listener.link.close()


async def test_without_a_core_joins_are_refused_with_a_reason(listener: Listener) -> None:
    assert not listener.broker.ready
    with pytest.raises(BrokerError, match=DOWN):
        listener.broker.subscribe(["a"])


async def test_when_the_core_dies_everything_is_subscribed_again_at_the_next(
    listener: Listener, cores: Cores
) -> None:
    """The gap is told before the first message that comes again, and joins are refused until then."""
    core = await cores()
    await core.link(listener.core)
    await listener.subscribe("a", "b", "left")
    listener.broker.unsubscribe(["left"])
    core.node.publish("", Publication("a", b"1"))
    await eventually(lambda: listener.events == [("a", b"1")])
    die(core)
    await eventually(lambda: listener.lost)
    assert not listener.broker.ready
    with pytest.raises(BrokerError, match=DOWN):
        listener.broker.subscribe(["a"])
    core = await cores()
    await core.link(listener.core)
    await eventually(lambda: listener.broker.ready)
    core.node.publish("", Publication("b", b"2"))
    await eventually(lambda: ("b", b"2") in listener.events)
    _, (told, *topics), last = listener.events
    assert (told, sorted(topics), last) == ("gap", ["a", "b"], ("b", b"2"))
    assert "left" not in core.node.hub()


class Picky(MemoryBroker):
    """A broker that takes its time for joins, or refuses some.

    Attributes:
        waiting: its answers; None: it answers at once.
        forbidden: the topic that it refuses.
    """

    def __init__(self, forbidden: str = "") -> None:
        super().__init__()
        self.waiting: list[asyncio.Future[None]] = []
        self.forbidden = forbidden

    def subscribe(self, topics: Sequence[str]) -> asyncio.Future[None] | None:  # type: ignore[override]
        if self.forbidden:
            if self.forbidden in topics:
                raise BrokerError("not that one")
            return None
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]


@pytest.mark.parametrize("end", ["leaves", "is refused"])
async def test_a_client_that_joins_stays_when_another_one_of_its_listener_leaves_or_is_refused(
    end: str, listener: Listener, cores: Cores
) -> None:
    """To the core both are one subscriber."""
    broker = Picky()
    core = await cores(broker)
    await core.link(listener.core)
    first, second = (asyncio.ensure_future(listener.subscribe("a")) for _ in range(2))
    await eventually(lambda: len(broker.waiting) == 2)
    if end == "leaves":
        first.cancel()
        await eventually(broker.waiting[0].cancelled)
    else:
        broker.waiting[0].set_exception(BrokerError("not now"))
        with pytest.raises(BrokerError, match="not now"):
            await first
    broker.waiting[1].set_result(None)
    await second
    core.node.publish("", Publication("a", b"1"))
    await eventually(lambda: listener.events == [("a", b"1")])


async def test_a_topic_that_is_refused_keeps_no_other_from_being_subscribed_again(
    listener: Listener, cores: Cores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cluster one server may be away, and with it some topics."""
    monkeypatch.setattr("rr_py_ws.adapters.link.broker._RETRY", 0.0)
    core = await cores()
    await core.link(listener.core)
    topics = [f"{number}" for number in range(20)]
    await listener.subscribe(*topics)
    die(core)
    await eventually(lambda: listener.lost)
    broker = Picky(forbidden="7")
    await (await cores(broker)).link(listener.core)

    def told() -> set[str]:
        return {topic for _, *topics in listener.events for topic in topics}  # type: ignore[misc]

    await eventually(lambda: len(told()) == 19)
    assert "7" not in told() and not listener.broker.ready
    broker.forbidden = "none"
    await eventually(lambda: listener.broker.ready)


async def test_what_waits_for_a_core_that_has_died_fails_when_the_next_is_there(
    listener: Listener, cores: Cores
) -> None:
    """Also when the listener looked at nothing in that moment, and has not seen the end of the first."""
    core = await cores()
    await core.link(listener.core)
    listener.core.pause(True)
    waiting = listener.core.call("settle", "default")
    die(core)
    await (await cores()).link(listener.core)
    with pytest.raises(BrokerError, match=DOWN):
        await waiting
    listener.core.pause(False)
    await listener.core.call("settle", "default")


async def test_what_comes_before_a_topic_is_confirmed_again_is_part_of_the_gap(
    listener: Listener, cores: Cores
) -> None:
    core = await cores()
    await core.link(listener.core)
    await listener.subscribe("a")
    die(core)
    await eventually(lambda: listener.lost)
    core = await cores()
    await core.link(listener.core)
    listener.broker.receive([Publication("a", b"too early")])
    await eventually(lambda: listener.broker.ready)
    assert listener.events == [("gap", "a")]


async def test_a_join_during_the_loss_is_refused_and_leaves_nothing(listener: Listener, cores: Cores) -> None:
    core = await cores()
    await core.link(listener.core)
    joining = listener.broker.subscribe(["a"])
    assert joining is not None
    die(core)
    with pytest.raises(BrokerError, match=DOWN):
        await joining
    listener.broker.unsubscribe(["a"])  # as the node does for a client that is in no topic
    core = await cores()
    await core.link(listener.core)
    await listener.subscribe("b")
    assert listener.events == []


async def test_a_topic_that_is_given_up_and_wanted_again_is_not_confirmed_by_an_old_answer(
    listener: Listener, cores: Cores
) -> None:
    core = await cores()
    await core.link(listener.core)
    first = listener.broker.subscribe(["a"])
    listener.broker.unsubscribe(["a"])
    second = listener.broker.subscribe(["a"])
    assert first is not None and second is not None
    await first
    third = listener.broker.subscribe(["a"])
    assert third is not None
    await second
    await third
    assert listener.broker.subscribe(["a"]) is None
    assert "a" in core.node.hub()


async def test_what_is_published_between_the_answer_and_its_reading_is_in_the_replay(
    listener: Listener, cores: Cores
) -> None:
    """The core has said what is kept; the client enters the topic in a later turn of the loop."""
    core = await cores()
    await core.link(listener.core)
    await listener.subscribe("news")
    core.node.publish("", Publication("news", b"0"))
    history = listener.broker.history
    assert history is not None
    recovering = asyncio.ensure_future(history.recover({"news": FROM_NOW}, LIMIT))
    while not recovering.done():
        core.node.publish("", Publication("news", b"%d" % len(listener.events)))
        await asyncio.sleep(0)
    seen = len(listener.events)
    core.node.publish("", Publication("news", b"the last"))
    await eventually(lambda: listener.events[-1] == ("news", b"the last"))
    recovery = recovering.result()()["news"]
    assert recovery.replay and recovery.replay[-1].payload == b"the last"
    positions = [publication.position for publication in recovery.replay]
    assert positions == [f"{positions[0].split('.')[0]}.{at}" for at in _offsets(positions)]  # type: ignore[union-attr]
    first = int(str(recovery.position).split(".")[1])
    assert _offsets(positions)[0] == first + 1
    assert seen < len(listener.events)


def _offsets(positions: list[str | None]) -> list[int]:
    found = [int(str(position).split(".")[1]) for position in positions]
    assert found == list(range(found[0], found[0] + len(found)))
    return found


async def test_no_more_goes_over_the_link_than_a_client_may_get(listener: Listener, cores: Cores) -> None:
    core = await cores()
    await core.link(listener.core)
    await listener.subscribe("news a", "news b")
    for topic in ("news a", "news b"):
        core.node.publish("", Publication(topic, b"x" * 500))
    history = listener.broker.history
    assert history is not None
    history.recovery_size = 1000
    found = (await history.recover({"news a": 1, "news b": 1}, LIMIT))()
    assert [(len(one.replay), one.reason) for one in found.values()] == [(1, ""), (0, "limit")]


async def test_recovery_without_a_core_is_off(listener: Listener) -> None:
    assert listener.broker.history is not None
    recovery = (await listener.broker.history.recover({"news": FROM_NOW}, LIMIT))()["news"]
    assert recovery.reason == "off"


async def decision(deciding: Verdict | Awaitable[Verdict]) -> Verdict:
    return deciding if isinstance(deciding, Verdict) else await deciding


async def test_php_decides_over_the_link(listener: Listener, cores: Cores, pool: Pool) -> None:
    await (await cores()).link(listener.core)
    authorizer = PHPAuthorizer(LinkPool("websockets", listener.core, 1.0), 8.0)
    deciding = authorizer.connect(request("do=ok"))
    await eventually(lambda: pool.asked)
    question, on_answer, lane = pool.asked[0]
    assert b"ws:joinServer" in question.context and lane is Lane.HANDSHAKES
    on_answer(Message(b'{"status":200}'))
    assert (await decision(deciding)).allowed
    deciding = authorizer.join(grant("do=ok"), ["a"])
    await eventually(lambda: len(pool.asked) == 2)
    pool.asked[1][1](ExecTimeout("too slow"))
    verdict = await decision(deciding)
    assert not verdict.allowed and not verdict.answered


async def test_a_question_that_nobody_needs_any_more_is_withdrawn(
    listener: Listener, cores: Cores, pool: Pool
) -> None:
    await (await cores()).link(listener.core)
    deciding = PHPAuthorizer(LinkPool("websockets", listener.core, 1.0), 8.0).connect(request("do=ok"))
    await eventually(lambda: pool.asked)
    assert isinstance(deciding, asyncio.Future)
    deciding.cancel()
    await eventually(lambda: pool.withdrawn)


async def test_without_a_core_questions_are_refused_with_a_reason(
    listener: Listener, cores: Cores, pool: Pool
) -> None:
    """Those that wait for an answer when it dies, and those after it."""
    core = await cores()
    await core.link(listener.core)
    authorizer = PHPAuthorizer(LinkPool("websockets", listener.core, 1.0), 8.0)
    waiting = authorizer.connect(request("do=ok"))
    await eventually(lambda: pool.asked)
    die(core)
    for deciding in (waiting, authorizer.connect(request("do=ok"))):
        verdict = await decision(deciding)
        assert (verdict.allowed, verdict.answered, verdict.reason) == (False, False, DOWN)
    with pytest.raises(WorkersDown, match=DOWN):
        await LinkPool("websockets", listener.core, 1.0).exec_streamed(Message(b"{}"))


async def test_a_page_in_parts(listener: Listener, cores: Cores, pool: Pool) -> None:
    await (await cores()).link(listener.core)
    pages = LinkPool("websockets", listener.core, 1.0)
    assert await pages.exec_streamed(Message(b"{}", b"body")) == (Message(b"head", b"1"), None)
    pool.parts = [Message(b"", b"2"), Message(b"", b"3")]
    _, parts = await pages.exec_streamed(Message(b"{}"))
    assert parts is not None
    assert [await parts.next_part() for _ in range(3)] == [Message(b"", b"2"), Message(b"", b"3"), None]
    pool.parts = [Message(b"fails"), Message(b"never asked for")]
    _, parts = await pages.exec_streamed(Message(b"{}"))
    assert parts is not None
    with pytest.raises(WorkerDied, match="in the middle"):
        await parts.next_part()
    parts.stop()
    await eventually(lambda: pool.stopped == 1)
    _, parts = await pages.exec_streamed(Message(b"{}"))
    listener.core.close()
    await eventually(lambda: pool.stopped == 2)


async def test_a_page_in_parts_whose_core_has_died_breaks_off_with_a_reason(
    listener: Listener, cores: Cores, pool: Pool
) -> None:
    """The next core was asked for its parts, and took that for a mistake in the program."""
    core = await cores()
    await core.link(listener.core)
    pool.parts = [Message(b"", b"2")]
    _, parts = await LinkPool("websockets", listener.core, 1.0).exec_streamed(Message(b"{}"))
    assert parts is not None
    die(core)
    await eventually(lambda: not listener.core.there)
    with pytest.raises(WorkersDown, match=DOWN):
        await parts.next_part()
    await (await cores()).link(listener.core)
    with pytest.raises(WorkersDown, match=DOWN):
        await parts.next_part()
    parts.stop()


async def test_a_page_whose_client_leaves_while_its_first_part_is_on_its_way_is_stopped(
    listener: Listener, cores: Cores, pool: Pool
) -> None:
    """Else its worker would wait for ever for somebody who takes the rest."""
    await (await cores()).link(listener.core)
    pages = LinkPool("websockets", listener.core, 1.0)
    pool.parts = [Message(b"", b"2")]
    listener.core.pause(True)
    asking = asyncio.ensure_future(pages.exec_streamed(Message(b"{}")))
    await eventually(lambda: pool.questions)
    asking.cancel()
    listener.core.pause(False)
    await eventually(lambda: pool.stopped == 1)
    asking = asyncio.ensure_future(pages.exec_streamed(Message(b"{}")))
    await asyncio.sleep(0)  # it is asked
    [call] = listener.core._link._calls.values()  # type: ignore[union-attr]
    taken = call.take
    call.take = lambda value: (taken(value), asking.cancel())  # type: ignore[assignment]  in the same turn
    await eventually(lambda: pool.stopped == 2)
    assert asking.cancelled()


async def test_a_page_whose_client_leaves_is_over_when_its_worker_is_done(
    listener: Listener, cores: Cores, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that it names are removed then: sooner a worker would look for them in vain."""
    withdrawn, done = asyncio.Event(), asyncio.Event()

    async def exec_streamed(question: Question, limit: float = 0.0) -> tuple[Message, None]:
        pool.questions.append((question.context, question.body[:]))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            withdrawn.set()
            await done.wait()
        raise AssertionError("it was not withdrawn")

    monkeypatch.setattr(pool, "exec_streamed", exec_streamed)
    await (await cores()).link(listener.core)
    pages = LinkPool("websockets", listener.core, 1.0)
    asking, hasty = (asyncio.ensure_future(pages.exec_streamed(Message(b"{}"))) for _ in range(2))
    await eventually(lambda: len(pool.questions) == 2)
    asking.cancel()
    hasty.cancel()
    await withdrawn.wait()
    assert not asking.done() and not hasty.done()
    hasty.cancel()  # once more
    await asyncio.wait([hasty])
    assert not asking.done()
    done.set()
    await asyncio.wait([asking])
    assert asking.cancelled() and hasty.cancelled()


async def test_a_body_in_a_file_does_not_go_over_the_link(
    listener: Listener, cores: Cores, pool: Pool, tmp_path: Path
) -> None:
    await (await cores()).link(listener.core)
    body = b"x" * 1_000_000
    (tmp_path / "body").write_bytes(body)
    with (tmp_path / "body").open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        question = MappedQuestion(b"{}", mapped, file.fileno())
        await LinkPool("websockets", listener.core, 1.0).exec_streamed(question)
    assert pool.questions == [(b"{}", body)]


async def test_a_body_is_never_that_of_another_request(
    listener: Listener, cores: Cores, pool: Pool, tmp_path: Path
) -> None:
    """A client may leave before the core looks: then its file is closed, and the next one has its number."""
    await (await cores()).link(listener.core)
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "other").write_bytes(b"other")
    with (tmp_path / "mine").open("rb") as mine, (tmp_path / "other").open("rb") as other:
        file = place_of(mine.fileno())
        os.dup2(other.fileno(), mine.fileno())
        for path, identity in (file, ("/proc/self/fd/1000000", file[1])):
            with pytest.raises(WorkerError, match="nobody waits"):
                await listener.core.call("exec_file", "websockets", 1, b"{}", (path, identity), 0.0)
    assert pool.questions == []


async def test_holds_of_listeners_hold_publishers(listener: Listener, cores: Cores) -> None:
    core = await cores()
    await core.link(listener.core, 1)
    other = Listener()
    await core.link(other.core, 2)
    released: list[str] = []
    topic = "default", "busy"
    listener.core.tell("hold", *topic)
    await eventually(lambda: core.node.held)
    hold = core.node.find_hold("", ["busy"])
    assert hold is not None and core.node.find_hold("", ["other"]) is None
    hold.wait(lambda: released.append("a publisher"))
    other.core.tell("hold", *topic)
    assert await other.core.call("settle", "default") is None
    listener.core.tell("release", *topic)
    await listener.core.call("settle", "default")
    assert core.node.held and not released
    other.core.close()  # a listener that is gone holds nobody
    await eventually(lambda: released)
    assert not core.node.held


async def test_a_listener_that_takes_nothing_pauses_publishers_and_is_given_up(
    listener: Listener, cores: Cores, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = await cores()
    await core.link(listener.core)
    await listener.subscribe("a")
    listener.core.pause(True)
    monkeypatch.setattr("rr_py_ws.adapters.link.listeners._LONGEST_STANDSTILL", 0.01)
    for _ in range(5):
        core.node.publish("", Publication("a", b"x" * 1_000_000))
    await eventually(lambda: core.paused)
    await eventually(lambda: core.stuck == [1])
    listener.core.pause(False)
    await eventually(lambda: not core.paused)
    await eventually(lambda: len(listener.events) == 5)


def told(core: CoreProcess) -> dict[str, float]:
    return {metric.name: sum(metric.values.values()) for metric in core.listeners.metrics()}  # type: ignore[misc]


async def counting(core: CoreProcess, number: int, process: int, now: int) -> Listener:
    """A listener that has counted `now`."""
    one = Listener()
    counted = [counter("messages", "So many.", now), gauge("open", "Now.", 2)]
    one.core.handlers["metrics"] = lambda: (process, pack_metrics(counted))
    await core.link(one.core, number)
    return one


async def test_counters_of_listeners_that_are_gone_are_kept(cores: Cores) -> None:
    core = await cores()
    for number, now, together in ((1, 5, 5), (2, 7, 12)):
        one = await counting(core, number, process=number, now=now)
        await core.listeners.refresh()
        assert (told(core)["messages"], told(core)["open"]) == (together, 2)
        one.core.close()
        await eventually(lambda number=number: number not in core.listeners._all)
    assert told(core) == {"messages": 12, "listeners": 0, "listeners_lost": 2}


async def test_counters_do_not_fall_when_the_core_dies(cores: Cores) -> None:
    """What the core had counted itself, and had of listeners that had died before it, was gone.

    Of a sum of some that begin anew and some that do not, Prometheus takes all for new: it counted what the
    others had once more.
    """
    first = await cores()
    dead = await counting(first, 1, process=11, now=5)
    dies_with_it = await counting(first, 2, process=12, now=7)
    stays = await counting(first, 3, process=13, now=20)
    await first.listeners.refresh()
    dead.core.close()
    await eventually(lambda: told(first)["listeners_lost"] == 1)
    assert told(first)["messages"] == 32
    counted = first.listeners.counted([counter("calls", "So many.", 3), gauge("topics", "Now.", 1)])
    dies_with_it.core.close()

    second = CoreProcess(counted=counted)
    assert told(second) == {"messages": 32, "calls": 3, "listeners": 0, "listeners_lost": 1}
    await second.link(stays.core, 3)
    stays.core.handlers["metrics"] = lambda: (13, pack_metrics([counter("messages", "So many.", 21)]))
    again = await counting(second, 2, process=14, now=100)
    await second.listeners.refresh()
    assert told(second)["messages"] == 5 + 7 + 21 + 100
    reused = await counting(second, 1, process=12, now=1000)  # the id of one that has ended
    await second.listeners.refresh()
    assert told(second)["messages"] == 5 + 7 + 21 + 100 + 1000
    for one in (reused, again):
        one.core.close()
    await eventually(lambda: told(second)["listeners_lost"] == 3)
    third = CoreProcess(counted=second.listeners.counted([counter("calls", "So many.", 1)]))
    assert (told(third)["messages"], told(third)["calls"]) == (1133, 4)
    for core in (second, third):
        await core.close()


async def test_no_counter_falls_when_a_listener_dies_while_others_are_still_asked(cores: Cores) -> None:
    """What it had told the core before was forgotten, for what it told this one, which nobody added."""
    core = CoreProcess(counted=([], {11: [counter("messages", "So many.", 5)]}))
    dies = await counting(core, 1, process=11, now=6)
    late, answer = await counting(core, 2, process=12, now=0), asyncio.get_running_loop().create_future()
    late.core.handlers["metrics"] = lambda: answer
    refreshing = asyncio.create_task(core.listeners.refresh())
    await asyncio.sleep(0)
    await dies.core.call("settle", "default")  # its answer comes behind that to the question for metrics
    dies.core.close()
    await eventually(lambda: told(core)["listeners_lost"] == 1)
    answer.set_result((12, pack_metrics([counter("messages", "So many.", 100)])))
    await refreshing
    found = told(core)
    await core.close()
    assert found["messages"] == 5 + 100
