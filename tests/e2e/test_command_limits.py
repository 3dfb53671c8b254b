"""What one client may ask for, as the configuration says, with PHP that would allow it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from e2e.client import Client, Connect, OpenRaw
from support.process import Server, Servers
from support.ws_peer import PING, PONG, command, frame, push, reply

LIMITS = {"max_topics": 3, "max_topics_per_command": 2, "max_topic_length": 10, "max_joins_waiting": 1}


@pytest.fixture(scope="module", params=[1, 3], ids=["one process", "several processes"])
def server(servers: Servers, request: pytest.FixtureRequest) -> Server:
    return servers.start("obedient.php", websockets={"limits": LIMITS, "processes": request.param})


def answer(browser: Client, command: str, *topics: str) -> tuple[str, str]:
    """Kind and reason of the answer to a command with an id."""
    browser.command(command, topics, id=1)
    told: dict[str, Any] = json.loads(browser.receive())
    assert told["payload"] == list(topics)
    return told["topic"], told.get("reason", "")


def pid_of_sleeper(server: Server, since: int) -> int:
    message = json.loads(server.log.wait_for("sleeping: ", since=since))["msg"]
    return int(message.removeprefix("sleeping: "))


def test_a_command_over_a_limit_is_refused_as_a_whole_and_php_is_not_asked(
    server: Server, connect: Connect
) -> None:
    browser = connect(server)
    assert answer(browser, "join", "do.403") == ("#join", "refused with status 403")
    assert answer(browser, "join", "do.403", "a", "b") == ("#join", "more than 2 topics in a command")
    assert answer(browser, "join", "do.403", "12345678901") == ("#join", "a topic of more than 10 bytes")
    browser.join("a", "b")
    assert answer(browser, "join", "do.403", "c") == ("#join", "more than 3 topics")
    browser.join("c", "a")
    assert answer(browser, "leave", "a", "b", "c") == ("#leave", "more than 2 topics in a command")
    browser.leave("a", "b")
    browser.join("d", "e")
    server.php("$broadcast->publish(['do.403', 'a', 'b', '12345678901', 'c'], 'hello');")
    browser.expect(push("c", "hello"))
    assert "see websockets.limits" in server.log.wait_for("more than 3 topics")


def test_a_join_that_php_is_slow_to_answer_holds_up_nothing_but_the_commands_behind_it(
    server: Server, raw: OpenRaw, connect: Connect
) -> None:
    """Its client's pings are answered and its other topics delivered; there is one question at a time."""
    browser, other = raw(server), connect(server)
    browser.upgrade()
    browser.join("news")
    since = len(server.log)
    browser.command("join", ["do.sleep"])
    browser.command("join", ["do.exit"])
    browser.send(command("leave", ["news"]) + frame(PING, "there?"))
    assert browser.frame() == (PONG, b"there?")
    sleeper = pid_of_sleeper(server, since)
    server.php("$broadcast->publish('news', 'meanwhile');")
    browser.expect(push("news", "meanwhile"))
    refused = ("#join", "too many joins wait for an answer, try again later")
    # Each of several processes has its part of the limit, and the kernel chooses the one for a client.
    elsewhere = [("#join", "refused with status 403")] * (server.config["websockets"]["processes"] > 1)
    assert answer(other, "join", "do.403") in (refused, *elsewhere)
    assert answer(other, "leave", "a") == ("@leave", "")
    assert server.log.having("PHP gave no answer", since) == []
    os.kill(sleeper, signal.SIGKILL)
    browser.expect(reply("#join", ["do.sleep"]), reply("#join", ["do.exit"]), reply("@leave", ["news"]))
    other.join("a")
