"""The JavaScript client (`js-client/`) in Chromium and in Node.js, against the installed program.

What is tested is the file that `examples/chat/` serves; `npm test` sees to it that it is the current build.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.chromium import Chromium
from support.js_client import CLIENT, browse, make_site, offline, page, publish, shows, told
from support.process import Server, Servers, configuration
from support.waiting import DEADLINE


@pytest.fixture(scope="module")
def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with the page, the client, and WebSockets."""
    public = tmp_path_factory.mktemp("public")
    make_site(public)
    return servers.start(
        "topics_from_file.php", http={"middleware": ["static", "websockets"], "static": {"dir": str(public)}}
    )


@pytest.fixture(scope="module")
def chromium(site: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser that ends before the server does, which would wait for its idle connections."""
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


AGAIN = {"again": True, "count": 0}


def test_a_page_gets_what_php_publishes_until_it_leaves(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site, "news", "user.5")
    publish(site, "news", {"title": "Grüße"})
    publish(site, "elsewhere", "nothing")
    publish(site, "user.5", "text", 7)
    shows(tab, ("news", {"title": "Grüße"}), ("user.5", "text"), ("user.5", 7))
    tab.run("client.topic('news').leave()")
    tab.run(
        "void (window.loop = (async () => { for await (const one of client.topic('user.5')) return one; })())"
    )
    publish(site, "news", "left")
    publish(site, "user.5", "last")
    assert tab.run("loop") == "last"
    tab.wait("shown.length === 4")


def test_refused_topics_do_not_keep_the_others_out(chromium: Chromium, site: Server) -> None:
    (site.directory / "refused").write_text("private\nsecret\n")
    tab = browse(chromium, site)
    tab.run("for (let at = 0; at < 1000; at++) watch(`topic.${at}`)")
    tab.run("watch('private'), void watch('secret')")
    tab.wait("['private', 'secret'].every((name) => client.topic(name).state === 'refused')")
    tab.wait("told.filter(([, event]) => event === 'joined').length === 1000")
    publish(site, "topic.999", 1)
    shows(tab, ("topic.999", 1))
    refusal = {"reason": "refused with status 403", "temporary": False}
    assert tab.run("told.filter(([, event]) => event === 'refused').map((one) => one[2])") == [refusal] * 2


def test_a_join_that_becomes_refused_at_a_reconnect_is_told(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site, "papers", "orders")
    (site.directory / "refused").write_text("orders\n")
    tab.run("client.reconnect()")
    tab.wait("client.topic('orders').state === 'refused' && client.topic('papers').state === 'joined'")
    publish(site, "papers", 1)
    shows(tab, ("papers", 1))
    (site.directory / "refused").unlink()
    tab.run("client.reconnect()")
    tab.wait("client.topic('orders').state === 'joined'")


def test_restarts_of_the_server_are_survived_and_the_loss_told(
    servers: Servers, chromium: Chromium, site: Server, tmp_path: Path
) -> None:
    """Of a server that keeps no history, as RoadRunner; killed and stopped."""
    config = configuration("ok.php")
    server = servers.add(Server(tmp_path, config))
    tab = browse(chromium, site, "news", to=server.url, history=True)
    lost = [["news", "lost", {"reason": "off"}], ["news", "joined", AGAIN]]
    server.signal(signal.SIGKILL)
    server.wait()
    server.kill()
    tab.wait("told.some(([state, code]) => state === 'waiting' && code === 1006)")
    server = servers.add(Server(tmp_path, config))
    told(tab, *lost)
    server.end()
    tab.wait("told.some(([state, code]) => state === 'waiting' && code === 1001)")
    server = servers.add(Server(tmp_path, config))
    told(tab, *lost)
    publish(server, "news", 1)
    shows(tab, ("news", 1))


def test_a_page_that_was_offline_comes_back_with_the_network(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site, "news")
    offline(tab, True)
    tab.run("client.reconnect()")  # a connection that is there, the browser may keep
    tab.wait("client.state === 'waiting'")
    offline(tab, False)
    tab.wait("client.topic('news').state === 'joined'")
    publish(site, "news", 1)
    shows(tab, ("news", 1))


def test_a_page_comes_back_from_the_back_forward_cache_with_a_connection(
    chromium: Chromium, site: Server
) -> None:
    tab = browse(chromium, site, "news")
    tab.go(page(site, "other.html"))
    tab.run("history.back()")
    tab.wait("window.ready === true")
    assert ["pageshow", True] in tab.run("told")
    told(tab, ["news", "lost", {"reason": "off"}], ["news", "joined", AGAIN])
    assert ["waiting", "the page is left"] in tab.run("told")
    publish(site, "news", 1)
    shows(tab, ("news", 1))


def test_a_page_that_is_frozen_for_a_while_keeps_its_connection(chromium: Chromium, site: Server) -> None:
    """As a background tab may be: nothing of it runs; what came meanwhile is there when it goes on."""
    tab = browse(chromium, site, "news")
    tab.call("Page.setWebLifecycleState", state="frozen")
    publish(site, "news", 1, 2)
    tab.call("Page.setWebLifecycleState", state="active")
    shows(tab, ("news", 1), ("news", 2))
    assert not tab.run("told.some(([state]) => state === 'waiting')")


def test_a_token_is_got_anew_when_the_handshake_is_refused(chromium: Chromium, site: Server) -> None:
    """PHP sees the token in the query; the first one has expired."""
    tab = browse(chromium, site)
    tab.run(
        "client.close(), void start((token) => `/ws?token=${token}`,"
        " {token: async () => (window.tokens = (window.tokens ?? 0) + 1) > 1 ? 'fresh' : 'expired'})"
    )
    tab.run("void watch('news')")
    tab.wait("client.topic('news').state === 'joined'")
    assert tab.run("tokens") == 2


def test_a_worker_of_a_page_has_topics_of_its_own(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site)
    tab.run(
        "void (window.worker = new Worker(URL.createObjectURL(new Blob([`"
        "  import {connect} from '${location.origin}/rr-py-ws-client.js';"
        "  const topic = connect('${location.origin}/ws').topic('news');"
        "  topic.on('joined', () => postMessage('joined'));"
        "  topic.on('message', (message) => postMessage(message));"
        "`], {type: 'text/javascript'})), {type: 'module'}),"
        " worker.onmessage = ({data}) => shown.push(data))"
    )
    tab.wait("shown[0] === 'joined'")
    publish(site, "news", 1)
    tab.wait("shown[1] === 1")


NODE = """
import {connect} from CLIENT;
const client = connect(process.argv[2] + '/ws');
const topic = client.topic('news');
topic.on('joined', () => console.log('joined'));
for await (const message of topic) {
  console.log(JSON.stringify(message));
  if (message === 'end') client.close();
}
"""


def test_node_uses_it_and_ends_when_it_is_closed(site: Server, tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node, "Node.js is missing: apt-get install nodejs"
    version = int(subprocess.check_output([node, "--version"], text=True).lstrip("v").split(".")[0])
    if version < 20:
        pytest.skip("Node.js before 20 has no WebSocket")
    program = tmp_path / "program.mjs"
    (tmp_path / "client.mjs").write_bytes(CLIENT.read_bytes())
    program.write_text(NODE.replace("CLIENT", "'./client.mjs'"))
    flags = ["--experimental-websocket"] if version < 22 else []
    with subprocess.Popen(
        [node, "--no-warnings", *flags, program, site.url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "joined\n"
        publish(site, "news", {"id": 1}, "end")
        rest, _ = process.communicate(timeout=DEADLINE)
    assert (rest, process.returncode) == ('{"id":1}\n"end"\n', 0)


def test_a_token_may_be_a_subprotocol_beside_one_that_the_server_agrees_to(
    chromium: Chromium, site: Server
) -> None:
    """Chromium takes it for a failure when the server agrees to none; with `rr.json` payloads are values."""
    tab = browse(chromium, site)
    tab.run(
        "client.close(),"
        " void start('/ws', {token: async () => 'e30.A', protocols: (token) => ['rr.json', token]})"
    )
    tab.run("void watch('news')")
    tab.wait("client.topic('news').state === 'joined'")
    publish(site, "news", {"title": "Grüße"}, None, "text", ["news"], "7", 7)
    site.php("$broadcast->publish('news', 'no JSON');")
    messages = [{"title": "Grüße"}, None, "text", ["news"], "7", 7, "no JSON"]
    shows(tab, *(("news", message) for message in messages))
