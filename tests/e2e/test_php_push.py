"""The PHP client beyond RoadRunner: `Push`, failures, and what a worker says beside yes."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from e2e.client import Client, Connect
from support.php import REPOSITORY, StartPHP
from support.process import Server, Servers, configuration
from support.program import environment
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import push, reply

HISTORY = [
    {"topics": ["news*", "hidden"], "size": 100, "ttl": "5m"},
    {"topics": "short", "size": 2, "ttl": "5m"},
]
PUSH = "$push = RRPyWs\\Push::create(timeout: 20.0);"
"""With a time-out for slow machines."""


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.start("identities.php", websockets={"history": HISTORY})


@pytest.fixture(scope="module")
def open_server(servers: Servers) -> Server:
    """It asks nobody."""
    return servers.start(websockets={"history": HISTORY})


def run_php(server: Server, code: str) -> Any:
    """Run PHP code that has a `$push`; returns what it prints, as JSON."""
    return json.loads(server.php(PUSH + code))


def joined(client: Client, topic: str, wish: Any) -> dict[str, Any]:
    """Join a topic with a wish; return the answer about its history."""
    client.command("join", [topic], history={topic: wish})
    answer = json.loads(client.receive())
    assert (answer["topic"], answer["payload"]) == ("@join", [topic])
    return dict(answer["history"][topic])


# Push


def test_a_client_that_names_the_position_of_a_push_gets_what_came_after_it(
    open_server: Server, connect: Connect
) -> None:
    first, last = run_php(
        open_server,
        "$first = $push->publish('news', 'one')->position;"
        "$broadcast->publish('news', ['two', 'three']);"
        "echo json_encode([$first, $push->publish('news', \"4\\xFF\")->position]);",
    )
    browser = connect(open_server)
    assert joined(browser, "news", first) == {"pos": first, "recovered": True, "count": 3}
    got = [json.loads(browser.receive()) for _ in range(3)]
    assert [one["payload"] for one in got] == ["two", "three", "4\ufffd"]
    assert got[-1]["pos"] == last


def test_who_is_excluded_does_not_get_it(open_server: Server, connect: Connect) -> None:
    sender, other = connect(open_server), connect(open_server)
    for client, name in ((sender, "tab-1"), (other, "tab-2")):
        client.command("join", ["news.chat"], me=name)
        client.receive()
    code = "$push->publish('news.chat', 'said', exclude: 'tab-1'); $push->publish('news.chat', 'to all');"
    open_server.php(PUSH + code)
    other.expect(push("news.chat", "said"), push("news.chat", "to all"))
    sender.expect(push("news.chat", "to all"))
    history = run_php(open_server, "echo json_encode($push->history('news.chat')->messages);")
    assert [(one["payload"], one["exclude"]) for one in history] == [("said", ["tab-1"]), ("to all", [])]


def test_a_key_is_taken_once(open_server: Server, connect: Connect) -> None:
    browser = connect(open_server)
    browser.join("news.keys", "plain")
    first, again = run_php(
        open_server,
        "$first = $push->publish(['news.keys', 'plain'], ['a', 'b'], idempotencyKey: 'k');"
        "$again = $push->publish(['news.keys', 'plain'], ['a', 'b'], idempotencyKey: 'k');"
        "$push->publish('plain', 'end');"
        "echo json_encode([$first, $again]);",
    )
    assert not first["duplicate"] and again["duplicate"]
    assert [one["position"] for one in first["published"]] == [one["position"] for one in again["published"]]
    assert [bool(one["position"]) for one in first["published"]] == [True, False, True, False]
    pushes = [push(topic, message) for message in "ab" for topic in ("news.keys", "plain")]
    browser.expect(*pushes, push("plain", "end"))


def test_the_fake_answers_as_the_server_does(open_server: Server) -> None:
    """But for positions, which are opaque, and times."""
    code = """
    function story(RRPyWs\\PushInterface $push, string $topic): array {
        $read = function (mixed ...$query) use ($push, $topic) {
            $history = $push->history($topic, ...$query);
            return [array_column($history->messages, 'payload'), array_column($history->messages, 'exclude'),
                $history->complete, $history->reason, count($history)];
        };
        $at = [$read()];
        $first = $push->publish($topic, ['one', 'two'], exclude: ['me', 'you']);
        $push->publish($topic, 'unseen', skipHistory: true);
        $second = $push->publish($topic, 'three', idempotencyKey: 'k');
        $again = $push->publish($topic, 'other', idempotencyKey: 'k');
        $skipped = $push->publish($topic, ['x', 'y'], idempotencyKey: 's', skipHistory: true);
        $at[] = [$again->position === $second->position];
        $at[] = [$again->duplicate, $second->duplicate, $first->duplicate];
        $at[] = [$skipped->position, $push->publish($topic, ['x', 'y'], idempotencyKey: 's')->duplicate];
        array_push($at, $read(), $read(limit: 2), $read(limit: 2, reverse: true), $read(limit: 3));
        array_push($at, $read(since: $first->position), $read(since: $second->position));
        array_push($at, $read(since: $first->published[0]->position, limit: 1), $read(since: 'elsewhere.1'));
        $at[] = $push->clearHistory($topic) === $second->position;
        array_push($at, $read(), $read(since: $second->position), $read(since: $first->position));
        $push->publish($topic, 'four');
        array_push($at, $read(), $read(since: $second->position));
        $at[] = $read(since: $first->position, reverse: true);
        return $at;
    }
    echo json_encode([story($push, 'news.story'), story(new RRPyWs\\Testing\\FakePush(), 'news.story')]);
    """
    real, fake = run_php(open_server, code)
    assert real == fake
    assert real[4] == [["one", "two", "three"], [["me", "you"], ["me", "you"], []], True, "", 3]


def test_what_only_a_server_answers(open_server: Server) -> None:
    answers = run_php(
        open_server,
        """
        $push->publish('short', ['one', 'two', 'three']);
        $first = $push->publish('short', 'four')->position;
        $push->publish('short', ['five', 'six', 'seven']);
        $trimmed = $push->history('short', since: $first);
        $ahead = $push->history('short', since: preg_replace('/\\.\\d+/', '.99', $first));
        $off = $push->history('plain');
        $many = [];
        $age = time() - $trimmed->messages[1]->timeMs / 1000;
        foreach ([$trimmed, $ahead, $off] as $page) {
            $payloads = array_column($page->messages, 'payload');
            $many[] = [$payloads, $page->position !== null, $page->complete, $page->reason];
        }
        echo json_encode([$many, $push->publish('plain', 'x')->position, $push->clearHistory('plain'),
            $age]);
        """,
    )
    assert answers[0] == [
        [["six", "seven"], True, False, "trimmed"],
        [[], True, False, "ahead"],
        [[], False, False, "off"],
    ]
    assert answers[1:3] == [None, None]
    assert abs(answers[3]) < DEADLINE


def test_everything_is_read_page_by_page(servers: Servers) -> None:
    server = servers.start(websockets={"history": HISTORY, "limits": {"recovery_messages": 7}})
    found = run_php(
        server,
        """
        for ($n = 0; $n < 30; $n++) {
            $push->publish('news', "$n");
        }
        $since = null;
        $found = [];
        do {
            $page = $push->history('news', since: $since);
            $found[] = count($page);
            foreach ($page as $message) {
                $since = $message->position;
            }
        } while (count($page) > 0 && $since !== $page->position);
        echo json_encode($found);
        """,
    )
    assert found == [7, 7, 7, 7, 2]


def test_the_examples_of_a_push_and_a_history(open_server: Server) -> None:
    def example(*arguments: str) -> str:
        result = subprocess.run(
            ["php", *arguments],
            cwd=REPOSITORY / "examples",
            env=environment(RR_RPC=open_server.rpc),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=True,
        )
        assert result.stderr == ""
        return result.stdout

    first = example("push.php", "news.example", "hello", "key")
    assert example("push.php", "news.example", "hello", "key") == f"{first.strip()} (published before)\n"
    second = example("push.php", "news.example", "world").strip()
    lines = [line.split("\t") for line in example("history.php", "news.example").splitlines()]
    assert [(position, text) for position, _, text in lines] == [(first.strip(), "hello"), (second, "world")]
    assert example("history.php", "news.example", first.strip()).endswith("\tworld\n")
    assert example("push.php", "plain", "hello") == "no history\n"


# Connections


def test_calls_lose_no_handle(open_server: Server) -> None:
    """Neither here nor there; nor do objects for one call each, or calls that fail. PHPUnit makes 10,000."""
    before = open_server.descriptors()
    found = run_php(
        open_server,
        """
        $rpc = new RRPyWs\\Goridge\\Rpc(RRPyWs\\Goridge\\Address::ofRpc(null), 20.0, 20.0);
        $push = new RRPyWs\\Push($rpc);
        $broadcast = new RRPyWs\\Broadcast($rpc);
        $push->publish('plain', 'x');
        $nobody = RRPyWs\\Push::create('unix:///nowhere', failure: 'silent');
        $nobody->publish('plain', 'x');
        $handles = fn () => count(scandir('/proc/self/fd'));
        [$files, $memory] = [$handles(), memory_get_usage()];
        for ($n = 0; $n < 300; $n++) {
            $push->publish('plain', 'x');
            $broadcast->publish('plain', 'x');
        }
        $most = $handles();
        for ($n = 0; $n < 200; $n++) {
            RRPyWs\\Push::create(timeout: 20.0)->publish('plain', 'x');
            $nobody->publish('plain', 'x');
        }
        echo json_encode([$files === $most, $files === $handles(), memory_get_usage() - $memory]);
        """,
    )
    assert found[:2] == [True, True]
    assert found[2] < 100_000
    eventually_sync(lambda: open_server.descriptors() <= before, "no more descriptors")


def test_processes_that_came_from_a_fork_do_not_share_the_connection(
    open_server: Server, connect: Connect
) -> None:
    browser = connect(open_server)
    browser.join("forks")
    open_server.php(
        PUSH
        + """
        $push->publish('forks', 'before');
        $children = [];
        for ($child = 0; $child < 4; $child++) {
            $pid = pcntl_fork();
            $children[] = $pid;
            if ($pid === 0) {
                for ($n = 0; $n < 50; $n++) {
                    $push->publish('forks', "$child.$n");
                }
                exit(0);
            }
        }
        for ($n = 0; $n < 50; $n++) {
            $push->publish('forks', "parent.$n");
        }
        foreach ($children as $pid) {
            pcntl_waitpid($pid, $status);
            $status === 0 || throw new Exception("status $status");
        }
        $push->publish('forks', 'after');
        """
    )
    got = [json.loads(browser.receive())["payload"] for _ in range(252)]
    assert (got[0], got[-1]) == ("before", "after")
    for process in ("parent", "0", "1", "2", "3"):
        numbers = [int(text.partition(".")[2]) for text in got if text.startswith(f"{process}.")]
        assert numbers == list(range(50))


def test_a_restart_of_the_server_is_survived(
    servers: Servers, connect: Connect, php: StartPHP, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = configuration(websockets={"history": HISTORY})
    server = servers.add(Server(tmp_path_factory.mktemp("server"), config))
    publisher = php(
        server,
        "$push = RRPyWs\\Push::create(timeout: 20.0, failure: 'silent');"
        "while (($line = fgets(STDIN)) !== false) {"
        "    $result = $push->publish('news', trim($line));"
        "    echo $result->failure ? $result->failure::class : 'ok', \"\\n\";"
        "}",
    )
    assert publisher.ask("before") == "ok"
    server.end()
    assert publisher.ask("while it is away") == "RRPyWs\\Exception\\TransportException"
    server = servers.add(Server(tmp_path_factory.mktemp("server"), config))
    browser = connect(server)
    browser.join("news")
    assert publisher.ask("again") == "ok"
    browser.expect(push("news", "again"))


# What a worker says beside yes


def test_a_client_is_in_the_topics_that_the_server_joins_for_it(server: Server, connect: Connect) -> None:
    browser = connect(server, "/ws?who=ann")
    browser.command("join", [])  # answered when the others are joined
    browser.receive()
    server.php("$broadcast->publish(['user.42', 'all', 'user.43'], 'hello');")
    browser.expect(push("user.42", "hello"), push("all", "hello"))


def test_a_client_may_join_what_was_allowed_and_php_is_asked_about_the_rest(
    server: Server, connect: Connect
) -> None:
    browser = connect(server, "/ws?who=ann")
    browser.join("news.2", "chat")
    browser.join("asked")
    browser.is_refused("chat.5")
    browser.is_refused("news.2", "secret")
    stranger = connect(server, "/ws?who=nobody")
    stranger.is_refused("news.2")


def test_a_client_whose_time_is_over_is_closed(server: Server, connect: Connect) -> None:
    assert connect(server, "/ws?who=brief").close_code() == 4001


def test_an_answer_that_is_wrong_refuses_the_client(server: Server, connect: Connect) -> None:
    with pytest.raises(Exception, match="HTTP 400"):
        connect(server, "/ws?who=broken")
    server.log.wait_for("expire")


def test_a_client_that_may_not_see_the_history_is_joined_without_it(server: Server, connect: Connect) -> None:
    server.php("$broadcast->publish(['hidden', 'news.1'], 'before');")
    browser = connect(server)
    browser.command("join", ["hidden", "news.1"], history=True, id=1)
    answer = json.loads(browser.receive())["history"]
    assert answer["hidden"] == {"recovered": False, "reason": "off", "count": 0}
    assert answer["news.1"]["recovered"]
    assert joined(browser, "hidden", {"last": 5}) == {"recovered": False, "reason": "off", "count": 0}
    server.php("$broadcast->publish('hidden', 'after');")
    assert json.loads(browser.receive())["payload"] == "after"


def test_the_example_says_who_clients_are(servers: Servers, connect: Connect) -> None:
    server = servers.start("ok.php", server={"command": "php examples/identity.php"})
    ann, bob = connect(server, "/ws?token=token-of-ann"), connect(server, "/ws?token=token-of-bob")
    ann.join("news.sport", "user.1")
    ann.join("support")
    for topic in ("secret", "user.2"):
        ann.command("join", [topic])
        ann.expect(reply("#join", [topic]))
    server.php("$broadcast->publish('user.1', 'for Ann');")
    ann.expect(push("user.1", "for Ann"))
    assert bob.close_code() == 4001
    with pytest.raises(Exception, match="HTTP 403"):
        connect(server)
