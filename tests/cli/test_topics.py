"""`publish --key` and `history` against a server with a history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.rpc import RPCListener
from rr_py_ws.config import HistoryRule, Limits
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.node import Node
from support.program import Cli, one_error_line
from support.rpc_peer import node_registry


@pytest.fixture(autouse=True)
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    rules = HistoryRules([HistoryRule(topics=("news",), size=3, ttl=60.0)])
    node = Node({"default": MemoryBroker(rules)}, "default", asyncio.get_running_loop().call_soon)
    await node.start()
    server = RPCListener(node_registry(node), "tcp://127.0.0.1:0", limits=Limits())
    await server.start()
    (tmp_path / ".rr.yaml").write_text(
        f"rpc: {{listen: '{server.address}'}}\nbroadcast: {{default: {{driver: memory}}}}\n"
    )
    yield node
    await server.stop(1.0)
    await node.close()


async def test_what_is_published_under_a_key_is_published_once(cli: Cli) -> None:
    assert await cli("publish", "news", "1", "--key", "a") == (0, "published 1 message to news\n", "")
    assert await cli("publish", "news", "2", "--key", "a") == (0, "already published to news\n", "")
    code, out, err = await cli("history", "news")
    assert (code, err) == (0, "")
    [line] = out.splitlines()
    assert line.endswith("\t1")


async def test_a_key_that_is_empty_is_an_error(cli: Cli) -> None:
    """It is that of a script whose variable is not set, and each run would publish."""
    code, out, err = await cli("publish", "news", "1", "--key", "")
    assert (code, out) == (1, "")
    assert "'--key'" in one_error_line(err)


@pytest.mark.parametrize("more", [["2"], ["--async"]])
async def test_a_key_is_for_one_message(cli: Cli, more: list[str]) -> None:
    code, out, err = await cli("publish", "news", "1", *more, "--key", "a")
    assert (code, out) == (1, "")
    assert "'--key'" in one_error_line(err)


async def test_history_shows_position_time_and_payload(cli: Cli) -> None:
    await cli("publish", "news", "1", "2\t\x1b[2J", "3", "4")
    code, out, err = await cli("history", "news")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err, [row[2] for row in rows]) == (0, "", [r"2\t\x1b[2J", "3", "4"])
    assert all(row[1].endswith("+00:00") for row in rows)
    _, out, _ = await cli("history", "news", "--since", rows[0][0])
    assert [line.split("\t")[2] for line in out.splitlines()] == ["3", "4"]
    _, out, err = await cli("history", "news", "--reverse", "--limit", "1")
    assert ([line.split("\t")[2] for line in out.splitlines()], err) == (["4"], "")
    assert await cli("history", "news", "--clear") == (0, "", "")
    assert await cli("history", "news") == (0, "", "")
    code, _, err = await cli("history", "news", "--since", rows[0][0])
    assert (code, err) == (0, "messages after the position are not kept any more\n")


@pytest.mark.parametrize("more", [[], ["--clear"]])
async def test_a_topic_without_history_is_an_error(cli: Cli, more: list[str]) -> None:
    code, _, err = await cli("history", "chat", *more)
    assert code == 1
    assert one_error_line(err) == "the topic chat has no history, see websockets.history"


async def test_a_position_of_another_history_is_an_error(cli: Cli) -> None:
    code, _, err = await cli("history", "news", "--since", "nonsense")
    assert code == 1
    assert one_error_line(err) == "the position is not one of the history of news as it is now"


async def test_a_limit_that_no_server_can_be_told_is_an_error(cli: Cli) -> None:
    code, out, err = await cli("history", "news", "--limit", "1" + "0" * 30)
    assert (code, out) == (1, "")
    assert "'--limit'" in one_error_line(err)
