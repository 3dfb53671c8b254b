"""`publish`, `workers` and `reset` against a real RPC server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.cli.rpc import age, decimal_size
from rr_py_ws.core.ports import WorkerState
from support.program import Cli, Running, one_error_line, start


def worker(pid: int, **more: object) -> WorkerState:
    state: dict[str, object] = {
        "status": 1,
        "status_text": "ready",
        "execs": 1234567,
        "created": time.time_ns() - 305 * 10**9,
        "memory": 31_400_000,
        "cpu_percent": 0.4567,
        "command": "php worker.php",
    }
    return WorkerState(pid=pid, **(state | more))  # type: ignore[arg-type]


# publish


async def test_publish_sends_each_payload_as_one_message_in_order(running: Running, cli: Cli) -> None:
    result = await cli("publish", "news", "first", '{"json": true}', "ünï")
    assert result == (0, "published 3 messages to news\n", "")
    assert running.published.messages == [
        ("", ["news"], b"first"),
        ("", ["news"], b'{"json": true}'),
        ("", ["news"], "ünï".encode()),
    ]


async def test_publish_takes_bytes_that_are_no_utf8(running: Running, cli: Cli) -> None:
    assert await cli("publish", "news", "\udcff\udcfe", "-s") == (0, "", "")
    assert running.published.messages == [("", ["news"], b"\xff\xfe")]


async def test_publish_names_a_broker_by_the_schema_that_has_one(running: Running, cli: Cli) -> None:
    result = await cli("publish", "news", "hello", "--broker", "replica")
    assert result == (0, "published 1 message to news\n", "")
    assert running.published.messages == [("replica", ["news"], b"hello")]


async def test_publish_refuses_a_broker_that_is_none(running: Running, cli: Cli) -> None:
    """Point 22: the server takes any other name for the default broker's, so a typing error went unseen."""
    code, out, err = await cli("publish", "news", "hello", "--broker", "replcia")
    assert (code, out, running.published.messages) == (1, "", [])
    assert one_error_line(err).endswith("'--broker': found 'replcia', accepted: default, replica")


async def test_a_message_to_no_topic_is_not_said_to_be_published(cli: Cli) -> None:
    """Point 22: the server skips an empty topic."""
    code, out, err = await cli("publish", "", "hello")
    assert (code, out) == (1, "")
    assert one_error_line(err).endswith("'TOPIC': found '', accepted: the name of a topic")


@pytest.mark.parametrize("broker", [[], ["--broker", "replica"]])
async def test_publish_async_succeeds_even_when_the_broker_refuses(
    broker: list[str], running: Running, cli: Cli
) -> None:
    running.published.refuse = True
    assert (await cli("publish", "news", "hello", "--async", *broker)).code == 0


async def test_publish_tells_that_the_broker_refused(running: Running, cli: Cli) -> None:
    running.published.refuse = True
    code, out, err = await cli("publish", "news", "hello")
    assert (code, out) == (1, "")
    assert "the broker is away" in one_error_line(err)


async def test_the_rpc_address_may_come_from_an_override_or_be_the_own_one(
    running: Running, cli: Cli, tmp_path: Path
) -> None:
    """Beside a RoadRunner that owns `rpc.listen`, this program has `websockets.rpc.listen`."""
    address = (tmp_path / ".rr.yaml").read_text().split("'")[1]
    (tmp_path / "other.yaml").write_text("rpc: {listen: 'tcp://127.0.0.1:1'}\n")
    for override in (f"rpc.listen={address}", f"websockets.rpc.listen={address}"):
        more = ["-o", "broadcast.default.driver=memory", "-o", "websockets.broker=default"]
        result = await cli("-c", "other.yaml", "publish", "news", "x", "-o", override, *more)
        assert result.err == ""
    assert len(running.published.messages) == 2


@pytest.mark.parametrize("command", [["publish", "a", "b"], ["workers"], ["workers", "-i"], ["reset"]])
async def test_without_an_rpc_section_the_error_says_what_to_add(
    command: list[str], cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / ".rr.yaml").write_text("logs: {}\n")
    code, out, err = await cli(*command)
    assert (code, out) == (1, "")
    assert one_error_line(err).startswith("rpc service not specified in the configuration. Tip: add rpc:")


@pytest.mark.parametrize("command", [["publish", "a", "b"], ["workers"], ["workers", "-i"], ["reset"]])
async def test_a_server_that_is_not_there_is_named(command: list[str], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".rr.yaml").write_text("rpc: {listen: 'unix://absent.sock'}\n")
    code, _, err = await cli(*command)
    assert code == 1
    assert one_error_line(err) == "cannot connect to unix://absent.sock: No such file or directory"


@pytest.mark.parametrize("command", [["publish", "a", "b"], ["workers"], ["reset"]])
async def test_a_server_that_speaks_something_else_is_an_error(
    command: list[str], cli: Cli, tmp_path: Path
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "rpc.sock"):
        (tmp_path / ".rr.yaml").write_text("rpc: {listen: 'unix://rpc.sock'}\n")
        code, _, err = await cli(*command)
    assert code == 1
    assert "not an RPC frame" in one_error_line(err)


# workers


async def test_workers_shows_a_table_for_each_plugin_that_has_workers(running: Running, cli: Cli) -> None:
    running.websockets.described = [worker(101), worker(102, execs=0, status_text="working")]
    assert await cli("workers") == (
        0,
        """\
Workers of [websockets]:
+-----------------------------------------------------------+
| PID | Status  | Execs     | Memory | CPU% | Created       |
|-----+---------+-----------+--------+------+---------------|
| 101 | ready   | 1,234,567 | 31 MB  | 0.46 | 5 minutes ago |
| 102 | working | 0         | 31 MB  | 0.46 | 5 minutes ago |
+-----------------------------------------------------------+
""",
        "",
    )


async def test_workers_of_named_plugins_only(running: Running, cli: Cli) -> None:
    running.websockets.described = [worker(101)]
    running.http.described = [worker(201)]
    code, out, _ = await cli("workers", "http")
    assert code == 0 and "Workers of [http]:" in out and "201" in out and "101" not in out


async def test_workers_of_a_plugin_that_is_none_are_an_error(running: Running, cli: Cli) -> None:
    """Point 22: nothing and exit code 0 looked as if it had no workers."""
    code, out, err = await cli("workers", "http", "nope")
    assert (code, out) == (1, "")
    assert one_error_line(err) == "no plugin 'nope' has workers, accepted: http, websockets"


async def test_workers_interactive_repeats_until_a_signal(running: Running, tmp_path: Path) -> None:
    running.websockets.described = [worker(101)]

    async def end_by(number: int) -> None:
        process = await start("workers", "-i", cwd=tmp_path)
        assert process.stdout and process.stderr
        seen = 0
        while seen < 2:
            seen += b"Workers of" in await process.stdout.readline()
        process.send_signal(number)
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"") and b"\x1b" not in out

    await asyncio.gather(*map(end_by, (signal.SIGINT, signal.SIGTERM)))


async def test_workers_ends_quietly_when_nobody_reads_any_more(running: Running, tmp_path: Path) -> None:
    running.websockets.described = [worker(101)]
    reader, writer = os.pipe()
    os.close(reader)
    process = await start("workers", "-i", cwd=tmp_path, stdout=writer)
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_an_answer_that_is_no_list_of_workers_is_an_error(cli: Cli, tmp_path: Path) -> None:
    from rr_py_ws.adapters.rpc import Registry, RPCListener
    from rr_py_ws.config import Limits
    from rr_py_ws.wire.goridge import Flag

    answers = [b'["websockets"]', b'{"workers": [{"pid": "\\u001b[2J"}]}', b'["a"]', b'{"x": 1}', b"7"]

    def decode(_codec: Flag, body: bytes) -> bytes:
        return body

    def encode(_codec: Flag, answer: bytes) -> bytes:
        return answer

    registry = Registry()
    for method in ("informer.List", "informer.Workers"):
        registry.add(method, decode, lambda _: answers.pop(0), encode)
    server = RPCListener(registry, f"unix://{tmp_path}/rpc.sock", limits=Limits())
    await server.start()
    (tmp_path / ".rr.yaml").write_text("rpc: {listen: 'unix://rpc.sock'}\n")
    errors = [(await cli("workers")), (await cli("workers", "a")), (await cli("workers"))]
    await server.stop(1.0)
    assert [(result.code, one_error_line(result.err)) for result in errors] == [
        (1, "informer.Workers: the answer for websockets is not understood"),
        (1, "informer.Workers: the answer for a is not understood"),
        (1, "informer.List: the answer is not understood"),
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (31_400_000, "31 MB"), (4_200_000_000, "4.2 GB")],
)
def test_memory_is_shown_in_decimal_units(count: int, text: str) -> None:
    assert decimal_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (0.9, "now"),
        (1, "1 second ago"),
        (59.9, "59 seconds ago"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (86400 * 29, "29 days ago"),
        (86400 * 65, "2 months ago"),
        (86400 * 365, "1 year ago"),
    ],
)
def test_age_is_shown_in_the_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


@given(st.integers(0, 2**63))
def test_any_size_is_short(count: int) -> None:
    assert len(decimal_size(count)) <= 7


# reset


async def test_reset_replaces_the_workers_of_every_plugin(running: Running, cli: Cli) -> None:
    code, out, err = await cli("reset")
    assert (code, out) == (0, "")
    assert sorted(err.splitlines()) == [
        "plugin reset: [http]",
        "plugin reset: [websockets]",
        "resetting plugin: [http]",
        "resetting plugin: [websockets]",
    ]
    assert (running.websockets.resets, running.http.resets) == (1, 1)


async def test_reset_of_a_named_plugin_silently(running: Running, cli: Cli) -> None:
    assert await cli("-s", "reset", "http") == (0, "", "")
    assert (running.websockets.resets, running.http.resets) == (0, 1)


async def test_a_failed_reset_is_reported_and_the_others_are_done(running: Running, cli: Cli) -> None:
    """RoadRunner drops the error and exits with 0; a deployment script would go on with the old code."""
    running.websockets.broken = True
    code, _, err = await cli("reset", "-s")
    assert code == 1 and running.http.resets == 1
    assert one_error_line(err) == (
        "plugin not reset: [websockets]: resetter_rpc_reset:"
        " resetter_plugin_reset_by_name: php: not found on this machine"
    )


async def test_reset_of_an_unknown_plugin_is_an_error(running: Running, cli: Cli) -> None:
    code, _, err = await cli("reset", "jobs", "-s")
    assert code == 1 and "no such plugin: jobs" in one_error_line(err)
