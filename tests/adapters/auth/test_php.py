from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from pathlib import Path

import pytest

from rr_py_ws.adapters.auth import PHPAuthorizer
from rr_py_ws.core import fail_closed
from rr_py_ws.core.ports import Authorizer
from rr_py_ws.wire.access import pack_request
from rr_py_ws.wire.details import Identity
from rr_py_ws.wire.verdict import ALLOWED, FAILED, Verdict
from support.loops import both_loops
from support.php_pool import (
    PHP,
    Gate,
    RecordedLog,
    Start,
    alive,
    grant,
    make_pool,
    misbehaving,
    pids,
    request,
)
from support.waiting import eventually


async def test_is_an_authorizer(start: Start) -> None:
    authorizer: Authorizer = PHPAuthorizer(await start(), 8.0)
    verdict = authorizer.connect(request())
    assert not isinstance(verdict, Verdict)
    assert (await verdict).allowed


async def test_php_sees_the_request_with_the_attribute_of_a_handshake(start: Start) -> None:
    authorizer = PHPAuthorizer(await start(), 8.0)
    seen = json.loads((await authorizer.connect(request("do=echo"))).body)
    assert seen["attributes"] == {"ws:joinServer": True}
    assert seen["uri"] == "http://localhost/ws?do=echo"
    assert seen["parsed"] is False


async def test_php_sees_the_request_with_the_topics_of_a_join(start: Start) -> None:
    authorizer = PHPAuthorizer(await start(), 8.0)
    seen = json.loads((await authorizer.join(grant("do=echo"), ["chat", "news", ""])).body)
    assert seen["attributes"] == {"ws:joinTopics": "chat,news,"}
    assert seen["uri"] == "http://localhost/ws?do=echo"


async def test_php_sees_a_large_request_with_each_join(start: Start) -> None:
    """It is kept compressed."""
    authorizer = PHPAuthorizer(await start(), 8.0)
    kept = (await authorizer.connect(request("x=" + "<" * 10_000))).grant
    assert isinstance(kept, bytes)
    assert len(kept) < 5_000
    kept = pack_request(grant("do=echo&x=" + "<" * 10_000))
    seen = json.loads((await authorizer.join(kept, ["chat"])).body)
    assert seen["attributes"] == {"ws:joinTopics": "chat"}
    assert seen["uri"].endswith("<" * 10_000)


async def test_a_join_without_topics_asks_about_the_connection_again(start: Start) -> None:
    authorizer = PHPAuthorizer(await start(), 8.0)
    seen = json.loads((await authorizer.join(grant("do=echo"), [])).body)
    assert seen["attributes"] == {"ws:joinServer": True}


@both_loops
async def test_php_decides(start: Start) -> None:
    authorizer = PHPAuthorizer(await start(), 8.0)
    assert await authorizer.connect(request()) == Verdict(200, (), b"", grant=grant())
    assert (await authorizer.join(grant("do=topics"), ["open"])).allowed
    assert (await authorizer.join(grant("do=topics"), ["private"])).status == 403
    assert await authorizer.connect(request("do=refuse&status=401")) == Verdict(
        401, (("X-Reason", "a"), ("X-Reason", "b")), b"no entry"
    )


@pytest.mark.parametrize(
    "query",
    ["do=error", "do=die", "do=noise", "do=no-status", "do=no-json", "do=restart", "do=refuse&status=1700"],
)
async def test_a_failure_refuses_and_says_why(start: Start, log: RecordedLog, query: str) -> None:
    authorizer = PHPAuthorizer(await start(), 8.0)
    assert await authorizer.connect(request(query)) == FAILED
    assert await authorizer.join(grant(query), ["chat"]) == FAILED
    lines = [(level, event) for level, event, fields in log.lines if str(fields.get("reason"))]
    assert ("warning", "handshake refused: PHP gave no answer") in lines
    assert ("warning", "join refused: PHP gave no answer") in lines
    assert (await authorizer.connect(request())).allowed


async def test_d11_an_answer_without_a_status_refuses_and_keeps_the_worker(
    start: Start, log: RecordedLog
) -> None:
    pool = await start()
    old = pids(pool)
    assert await PHPAuthorizer(pool, 8.0).connect(request("do=no-status")) == FAILED
    assert "the answer has no status" in log.text()
    assert pids(pool) == old


@both_loops
async def test_a_handshake_is_decided_in_time_and_its_worker_replaced(start: Start, log: RecordedLog) -> None:
    pool = await start()
    (old,) = pids(pool)
    authorizer = PHPAuthorizer(pool, 0.2)
    assert await authorizer.connect(request("do=sleep&ms=600000")) == FAILED
    assert (
        "handshake refused: PHP gave no answer in time" in log.text()
    )  # the caller's time, not the worker's
    await eventually(lambda: not alive(old))
    await eventually(lambda: pids(pool))
    assert (await authorizer.join(grant(), ["chat"])).allowed


async def test_a_handshake_does_not_wait_longer_for_a_free_worker(start: Start, log: RecordedLog) -> None:
    """`allocate_timeout` is a minute, but a browser's library gives up for good after ten seconds."""
    pool = await start(destroy_timeout=0.1)
    (pid,) = pids(pool)
    patient, hasty = PHPAuthorizer(pool, 600.0), PHPAuthorizer(pool, 0.1)
    busy = asyncio.ensure_future(patient.join(grant("do=sleep&ms=600000"), ["chat"]))
    await eventually(lambda: pool.states()[0].status_text == "working")
    assert await hasty.connect(request()) == FAILED
    assert log.text().startswith("warning: handshake refused: PHP gave no answer")
    assert pool.waiting == 0
    assert pids(pool) == [pid], "who came late does not cost the worker of another"
    await pool.stop()
    assert await busy == FAILED


async def test_a_short_rest_of_a_handshakes_time_does_not_cost_a_worker(
    start: Start, log: RecordedLog, gate: Gate, tmp_path: Path
) -> None:
    """A worker has the whole time from its question on; the client that waited for it has not."""
    pool = await start()
    (old,) = pids(pool)
    patient, hasty, later = PHPAuthorizer(pool, 600.0), PHPAuthorizer(pool, 1.0), Gate(tmp_path / "later")
    first = asyncio.ensure_future(patient.connect(request(gate.wait)))
    await eventually(lambda: pool.states()[0].status_text == "working")
    second = asyncio.ensure_future(hasty.connect(request(later.wait)))
    await asyncio.sleep(0.5)  # half of its time is over when a worker is asked
    gate.open()
    assert (await first).allowed
    assert await second == FAILED
    assert "gave no answer in time" in log.text()
    later.open()
    await eventually(lambda: pool.states()[0].execs == 2)
    assert pids(pool) == [old]


async def test_allocate_timeout_bounds_the_wait_of_a_handshake(
    start: Start, gate: Gate, log: RecordedLog
) -> None:
    """Point 15: with 1 s it waited for 6, as long as `authorize_timeout` of 8 s lets it."""
    pool = await start(allocate_timeout=1.0)
    authorizer = PHPAuthorizer(pool, 3600.0)
    busy = asyncio.ensure_future(authorizer.connect(request(gate.wait)))
    await eventually(lambda: pool.states()[0].status_text == "working")
    assert await authorizer.connect(request()) == FAILED
    assert "no worker became free within 1 s" in log.text()
    gate.open()
    assert (await busy).allowed


async def test_a_join_waits_for_a_free_worker(start: Start) -> None:
    pool = await start()
    authorizer = PHPAuthorizer(pool, 1.0)
    joins = [authorizer.join(grant("do=sleep&ms=150"), ["chat"]) for _ in range(8)]
    assert all(verdict.allowed for verdict in await asyncio.gather(*joins))


async def test_d16_clients_keep_their_authorizer_over_a_reset(start: Start) -> None:
    pool = await start()
    authorizer = PHPAuthorizer(pool, 8.0)
    verdict = await authorizer.connect(request("do=topics"))
    assert verdict.allowed
    await pool.reset()
    assert (await authorizer.join(verdict.grant, ["open"])).allowed


async def test_d24_a_topic_with_a_comma_is_refused_without_asking(start: Start, log: RecordedLog) -> None:
    """PHP would be asked about `a` and `b`, and the client would join `a,b`."""
    pool = await start()
    authorizer = PHPAuthorizer(pool, 8.0)
    verdict = await authorizer.join(grant(), ["chat", "a,b"])
    assert (verdict.status, verdict.reason) == (400, "a topic has a comma")
    assert pool.states()[0].execs == 0
    assert "comma" in log.text()


async def test_d24_an_application_that_knows_may_be_asked_all_the_same(start: Start) -> None:
    authorizer = PHPAuthorizer(await start(), 8.0, allow_commas=True)
    seen = json.loads((await authorizer.join(grant("do=echo"), ["chat", "a,b"])).body)
    assert seen["attributes"] == {"ws:joinTopics": "chat,a,b"}


async def test_without_any_worker_everything_is_refused_in_time(start: Start, log: RecordedLog) -> None:
    """The server goes on; it does not end as RoadRunner does."""
    pool = make_pool(PHP)
    authorizer = PHPAuthorizer(pool, 0.05)
    assert await authorizer.connect(request()) == FAILED
    await pool.stop()
    assert await authorizer.connect(request()) == FAILED
    assert await authorizer.join(grant(), ["chat"]) == FAILED
    assert "the server is stopping" in log.text()


async def test_a_client_that_goes_away_does_not_disturb_the_worker(start: Start, gate: Gate) -> None:
    pool = await start()
    old = pids(pool)
    authorizer = PHPAuthorizer(pool, 8.0)
    asking = asyncio.ensure_future(authorizer.connect(request(gate.wait)))
    await eventually(lambda: pool.states()[0].status_text == "working")
    asking.cancel()
    gate.open()
    assert (await authorizer.connect(request("do=refuse&status=403"))).status == 403
    assert pids(pool) == old


async def test_a_worker_that_keeps_dying_does_not_stop_the_others(
    start: Start, log: RecordedLog, tmp_path: Path
) -> None:
    pool = await start(misbehaving(f"dies-idle {tmp_path / 'now'}"), workers=2)
    (tmp_path / "now").touch()
    authorizer = PHPAuthorizer(pool, 0.3)
    verdicts = await asyncio.gather(*(authorizer.connect(request()) for _ in range(5)))
    assert verdicts == [FAILED] * 5


async def test_any_other_error_refuses_and_is_logged(
    start: Start, log: RecordedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in this program lets nobody in, and ends no connection."""
    pool = await start()

    def broken(*_: object, **__: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(pool, "ask", broken)
    monkeypatch.setattr(fail_closed, "log", log)
    authorizer = PHPAuthorizer(pool, 8.0)
    assert await authorizer.connect(request()) == FAILED
    assert await authorizer.join(grant(), ["chat"]) == FAILED
    assert log.events("error") == ["authorizer failed"] * 2
    log.lines.clear()


async def test_topics_that_php_has_allowed_are_joined_without_a_question(start: Start) -> None:
    """All topics of the join must be such ones, and a join without topics is a question about the client."""
    details = '{"user":42,"allow":["news.*","a,b"]}'
    command = [sys.executable, "-m", "rr_py_ws.devtools.worker", "--deny-topics", "*", "--details", details]
    authorizer = PHPAuthorizer(await start(tuple(command)), 8.0)
    verdict = await authorizer.connect(request())
    assert verdict.details.identity == Identity("42")
    for topics in (["news.1"], ["news.1", "news.2", "a,b"]):
        assert authorizer.join(verdict.grant, topics) == ALLOWED
    for topics in (["news"], ["news.1", "chat"], []):
        assert isinstance(answer := authorizer.join(verdict.grant, topics), Awaitable)
        assert (await answer).status == (403 if topics else 200)


async def test_patterns_that_each_topic_had_to_be_compared_with_are_bounded(start: Start) -> None:
    """A join of a thousand topics is answered in one turn of the event loop."""
    allow = [f"*.{number}" for number in range(256)]
    for patterns, answered in ((allow, True), ([*allow, "*.256"], False), ([*allow, "news.*"], True)):
        details = json.dumps({"allow": patterns})
        command = [sys.executable, "-m", "rr_py_ws.devtools.worker", "--details", details]
        authorizer = PHPAuthorizer(await start(tuple(command)), 8.0)
        assert (await authorizer.connect(request())).answered is answered


async def test_details_that_are_wrong_let_nobody_in(start: Start) -> None:
    command = [sys.executable, "-m", "rr_py_ws.devtools.worker", "--details", '{"expire":"1h"}']
    authorizer = PHPAuthorizer(await start(tuple(command)), 8.0)
    assert await authorizer.connect(request()) == FAILED
