"""Server processes that are linked by a real Redis, and what their clients see of its failures."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from e2e.client import Client, Connect
from support.drop_in import DROP_IN
from support.php import StartPHP
from support.ports import free_port
from support.process import Server, Servers, configuration, start_failure
from support.redis_servers import RedisServer, redis_server
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import push, reply


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """They end with the test: they would not stop looking for their Redis, whoever has its port next."""
    with ExitStack() as stack:
        yield Servers(stack, tmp_path_factory.mktemp)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def by_redis(redis: RedisServer, **options: Any) -> dict[str, Any]:
    """The section of an application; Redis is found dead soon."""
    config = {"addrs": [redis.address], "read_timeout": "500ms", **options}
    return {"default": {"driver": "redis", "config": config}}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that no test breaks; tests leave no key in it."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def pair(healthy: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two processes on one Redis."""
    with ExitStack() as stack:
        servers = Servers(stack, tmp_path_factory.mktemp)
        one, other = (servers.start(broadcast=by_redis(healthy)) for _ in range(2))
        yield one, other


def is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready?plugin=broadcast", timeout=DEADLINE) as response:
            return bool(response.status == 200)
    except HTTPError as error:
        assert error.code == 503
        return False


def test_a_message_reaches_the_clients_of_every_process_once(
    pair: tuple[Server, Server], connect: Connect
) -> None:
    browsers = [connect(server) for server in pair]
    for browser in browsers:
        browser.join("news", "other")
    for number, server in enumerate(pair):
        server.php(f"$broadcast->publish(['news', 'other'], 'from {number}');")
        server.php(f"$broadcast->publishAsync('news', 'later from {number}');")
    for browser in browsers:
        for number in range(2):
            browser.expect(push("news", f"from {number}"), push("other", f"from {number}"))
            browser.expect(push("news", f"later from {number}"))


def test_d9_the_order_of_a_publisher_is_kept_across_processes(
    pair: tuple[Server, Server], connect: Connect, php: StartPHP
) -> None:
    """One PHP process, one message after another, over several topics; another publishes meanwhile."""
    browsers = [connect(server) for server in pair]
    for browser in browsers:
        browser.join("a", "b", "c", "noise")
    noise = php(pair[1], "fgets(STDIN); foreach (range(1, 500) as $n) $broadcast->publish('noise', 'x');")
    assert noise.process.stdin
    noise.process.stdin.write("\n")
    noise.process.stdin.flush()
    pair[0].php("foreach (range(0, 499) as $n) $broadcast->publish('abc'[$n % 3], (string) $n);")
    for browser in browsers:
        received = [json.loads(browser.receive()) for _ in range(1000)]
        assert [message["payload"] for message in received if message["topic"] != "noise"] == [
            str(number) for number in range(500)
        ]


def test_php8_11_an_application_that_publishes_to_redis_itself_reaches_browsers(
    pair: tuple[Server, Server], healthy: RedisServer, connect: Connect
) -> None:
    """Channels have no prefix, payloads are raw: so do Go nodes, redis-cli and PHP with a Redis client."""
    server = pair[0]
    browser = connect(server)
    browser.join("shop")
    published = subprocess.run(
        ["redis-cli", "-p", str(healthy.port), "PUBLISH", "shop", "from redis-cli"],
        capture_output=True,
        check=True,
    )
    assert published.stdout == b"1\n"
    browser.expect(push("shop", "from redis-cli"))
    server.php(
        f"$redis = stream_socket_client('tcp://{healthy.address}');"
        'fwrite($redis, "*3\\r\\n$7\\r\\nPUBLISH\\r\\n$4\\r\\nshop\\r\\n$8\\r\\nfrom PHP\\r\\n");'
        "fgets($redis);"
    )
    browser.expect(push("shop", "from PHP"))


def test_d10_d14_d15_what_is_stored_under_a_topics_name_stays_and_changes_nothing(
    pair: tuple[Server, Server], healthy: RedisServer, connect: Connect
) -> None:
    """Ids that a Go node left behind, a string of the application: RoadRunner lost messages, or crashed."""
    healthy.ask("SADD", "news", "id of a dead node", "another")
    healthy.ask("SET", "text", "the application's")
    browsers = [connect(server) for server in pair for _ in range(5)]
    for browser in browsers:
        browser.join("news", "text")
    pair[0].php("foreach (range(0, 19) as $n) $broadcast->publish(['news', 'text'], (string) $n);")
    for browser in browsers:
        for number in range(20):
            browser.expect(push("news", str(number)), push("text", str(number)))
        browser.leave("news", "text")
    eventually_sync(lambda: healthy.channels() == [], "UNSUBSCRIBE")
    assert healthy.ask("SCARD", "news") == 2
    assert healthy.ask("GET", "text") == "the application's"
    assert healthy.ask("DBSIZE") == 2
    healthy.ask("FLUSHDB")


def test_d27_d28_redis_is_asked_for_nothing_but_channels(
    pair: tuple[Server, Server], healthy: RedisServer, connect: Connect
) -> None:
    healthy.ask("CONFIG", "RESETSTAT")
    for server in pair:
        connect(server).join("news", "other")
    pair[0].php("foreach (range(1, 10) as $n) $broadcast->publish('news', 'x');")
    calls = {
        line.split(":")[0].removeprefix("cmdstat_")
        for line in healthy.ask("INFO", "commandstats").splitlines()
        if line.startswith("cmdstat_")
    }
    calls -= {"config|resetstat", "info", "pubsub|channels"}  # those are the test's own
    assert {"publish", "subscribe"} <= calls
    assert calls <= {"publish", "subscribe", "unsubscribe", "ping", "hello", "client|setname"}


def test_a_process_that_is_killed_leaves_the_others_alone(
    servers: Servers, redis: RedisServer, connect: Connect
) -> None:
    victim, other = (servers.start(broadcast=by_redis(redis)) for _ in range(2))
    connect(victim).join("news")
    browser = connect(other)
    browser.join("news")
    victim.signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    eventually_sync(lambda: redis.clients("pubsub") == 1, "the end of its connections")
    other.php("$broadcast->publish('news', 'still here');")
    browser.expect(push("news", "still here"))


def test_redis_killed_and_started_again(servers: Servers, redis: RedisServer, connect: Connect) -> None:
    """Clients stay, publishers are told at once, readiness is red, and nobody keeps a hole in silence.

    Point 9.7: who has used an id is told of the gap, others are closed and begin anew.
    """
    status = free_port()
    server = servers.start(broadcast=by_redis(redis), status={"address": f"127.0.0.1:{status}"})
    plain, curious = connect(server), connect(server)
    plain.join("news")
    curious.command("join", ["news", "other"], id=1)
    assert json.loads(curious.receive())["topic"] == "@join"
    assert is_ready(status)
    redis.kill()
    eventually_sync(lambda: not is_ready(status), "a red readiness")
    told = server.php(
        "try { $broadcast->publish('news', 'lost'); } catch (Throwable $error) { echo $error->getMessage(); }"
    )
    assert "redis is not available: " in told
    redis.start()
    gap = json.loads(curious.receive())
    assert (gap["topic"], sorted(gap["payload"]), gap["id"]) == ("#gap", ["news", "other"], "")
    eventually_sync(lambda: is_ready(status), "a green readiness")
    assert plain.close_code() == 1012
    again = connect(server)
    again.join("news")
    server.php("$broadcast->publish('news', 'back');")
    again.expect(push("news", "back"))
    curious.expect(push("news", "back"))
    server.log.wait_for("messages may have been missed")


def test_redis_that_stands_still_is_left_behind(
    servers: Servers, redis: RedisServer, connect: Connect
) -> None:
    server = servers.start(broadcast=by_redis(redis, pool_timeout="200ms"))
    browser = connect(server)
    browser.join("news")
    redis.freeze()
    told = server.php(
        "try { $broadcast->publish('news', 'lost'); } catch (Throwable $error) { echo $error->getMessage(); }"
    )
    assert told.endswith("redis connection lost before the answer")
    server.log.wait_for("redis connection lost before the answer: no answer for 0.5 s")
    browser.command("join", ["other"], id="x")
    refused = json.loads(browser.receive())
    assert (refused["topic"], refused["id"]) == ("#join", "x")
    assert "redis has not confirmed within 0.2 s" in refused["reason"]
    server.log.wait_for('"msg":"redis connection lost"', count=2)  # the reason of a line may say so too
    redis.thaw()
    browser.expect('{"topic":"#gap","payload":["news"],"id":""}')
    eventually_sync(lambda: _publishes(server), "a publish that is answered")
    assert _receive_but_lost(browser) == push("news", "back")


def _receive_but_lost(browser: Client) -> str:
    """The next frame; a Redis that goes on publishes what it was given before it stood still.

    That is no message from before the gap: it comes to the new subscription, and so after `#gap`.
    """
    frame = browser.receive()
    return browser.receive() if frame == push("news", "lost") else frame


def _publishes(server: Server) -> bool:
    code = "try { $broadcast->publish('news', 'back'); echo 'ok'; } catch (Throwable) { }"
    return server.php(code) == "ok"


def test_redis_that_is_down_at_the_start(servers: Servers, redis: RedisServer, connect: Connect) -> None:
    redis.kill()
    server = servers.start(broadcast=by_redis(redis, pool_timeout="20s"))
    assert f"redis at {redis.address}: Connection refused" in server.log.wait_for("redis not available")
    browser = connect(server)
    browser.command("join", ["news"])
    redis.start()
    browser.expect(reply("@join", ["news"]))
    eventually_sync(lambda: _publishes(server), "a publish that is answered")
    browser.expect(push("news", "back"))


def test_with_on_start_fail_a_redis_that_is_down_is_one_line(tmp_path: Path, redis: RedisServer) -> None:
    redis.kill()
    error = start_failure(tmp_path, configuration(broadcast=by_redis(redis, on_start="fail")))
    assert error == f"broadcast.default: redis at {redis.address}: Connection refused"


def test_several_sections_and_messages_that_name_one(
    servers: Servers, redis: RedisServer, connect: Connect
) -> None:
    """The default is in memory; what names the section `cluster` passes through Redis."""
    sections = {
        "default": {"driver": "memory", "config": {}},
        "cluster": {"driver": "redis", "config": {"addrs": redis.address}},
    }
    one, other = (servers.start(broadcast=sections, websockets={"select_broker": True}) for _ in range(2))
    browser = connect(other)
    browser.command("join", ["news"], broker="cluster")
    browser.expect(reply("@join", ["news"]))
    publish = '{"messages":[{"broker":"%s","topics":["news"],"payload":"aGk="}]}'
    one.call("websockets.Publish", publish % "default")
    one.call("websockets.Publish", publish % "cluster")
    browser.expect(push("news", "hi"))


def test_the_file_of_a_typical_application_is_served_as_it_is(
    tmp_path: Path, servers: Servers, redis: RedisServer, connect: Connect
) -> None:
    """Only its ports are others here, by flags: somebody may have them."""
    redis.ask("CONFIG", "SET", "requirepass", "secret")
    config = configuration()
    worker = Path(__file__).parent / "workers" / "ok.php"
    (tmp_path / "app.php").write_text(f"<?php require '{worker}';")
    openssl = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=a"
    command = [*openssl.split(), "-keyout", "server.key", "-out", "server.crt"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / ".rr.yaml").write_text(DROP_IN)
    addresses = {
        "rpc.listen": config["rpc"]["listen"],
        "http.address": config["http"]["address"],
        "http.ssl.address": f"127.0.0.1:{free_port()}",
        "status.address": f"127.0.0.1:{free_port()}",
        "metrics.address": f"127.0.0.1:{free_port()}",
    }
    flags = [part for key, value in addresses.items() for part in ("-o", f"{key}={value}")]
    env = {"REDIS_ADDR": redis.address, "REDIS_PASSWORD": "secret"}
    server = servers.add(Server(tmp_path, config, *flags, env=env, file=tmp_path / ".rr.yaml"))
    browser = connect(server, origin="https://www.example.com")
    browser.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    browser.expect(push("news", "hello"))
