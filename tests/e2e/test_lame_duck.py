"""Point 9: a stopping server whose port stays open until load balancers know that it stops."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from e2e.client import Connect
from support.blocking import BlockingClient
from support.ports import free_port
from support.process import Server, Servers, configuration
from support.tls import client_context, make_certificate
from support.waiting import DEADLINE
from support.ws_peer import push

LONG: dict[str, Any] = {"websockets": {"drain": {"delay": "1h"}}, "endure": {"grace_period": "2h"}}
"""A test looks at the delay without a hurry; a second signal ends it."""


@pytest.fixture
def http() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def readiness(server: Server) -> int:
    """The status of the page that load balancers ask."""
    address = server.config["status"]["address"]
    try:
        with urlopen(f"http://{address}/ready?plugin=websockets&plugin=broadcast", timeout=DEADLINE) as page:
            return int(page.status)
    except HTTPError as error:
        error.close()
        return error.code


def begin_to_stop(server: Server) -> None:
    server.signal(signal.SIGTERM)
    server.log.wait_for("not ready any more, still serving")


@pytest.mark.parametrize("inherited", [False, True], ids=["bound", "inherited"])
def test_newcomers_are_served_while_readiness_says_no(
    servers: Servers, connect: Connect, http: socket.socket, tmp_path: Path, inherited: bool
) -> None:
    """With TLS, too; and the second signal does not wait for the end of the delay."""
    certificate = make_certificate(tmp_path)
    tls = free_port()
    ssl = {"address": f"127.0.0.1:{tls}", "cert": str(certificate), "key": str(certificate)}
    port = http.getsockname()[1] if inherited else free_port()
    config = configuration(
        "ok.php",
        status={"address": f"127.0.0.1:{free_port()}"},
        http={"address": f"127.0.0.1:{port}", "ssl": ssl},
        **LONG,
    )
    server = servers.add(Server(tmp_path, config, sockets={"http": http} if inherited else None))
    assert readiness(server) == 200
    begin_to_stop(server)
    assert readiness(server) == 503
    newcomer = connect(server)
    newcomer.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    newcomer.expect(push("news", "hello"))
    secure = BlockingClient(("127.0.0.1", tls), tls=client_context(certificate))
    secure.upgrade()
    secure.close()
    server.signal(signal.SIGTERM)
    assert server.wait() == 1
    assert server.out.having("exit forced")


def test_after_the_delay_the_server_stops_as_ever(servers: Servers, connect: Connect, tmp_path: Path) -> None:
    """The service manager hears of the stop when the delay begins."""
    sections: dict[str, Any] = {"websockets": {"drain": {"delay": "200ms"}}}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(tmp_path / "notify"))
        service_manager.settimeout(DEADLINE)
        server = Server(
            tmp_path, configuration(None, **sections), env={"NOTIFY_SOCKET": str(tmp_path / "notify")}
        )
        servers.add(server)
        assert service_manager.recv(100) == b"READY=1"
        browser = connect(server)
        browser.join("news")
        begin_to_stop(server)
        assert service_manager.recv(100) == b"STOPPING=1"
        assert browser.close_code() == 1001
        assert server.wait() == 0
    assert server.log.having("stopped in time")


def test_a_server_that_never_was_ready_does_not_wait(servers: Servers) -> None:
    """No load balancer has sent anybody to it."""
    server = servers.start("ok.php", wait=False, server={"on_init": {"command": "sleep 3600"}}, **LONG)
    server.log.wait_for("server was started")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not server.log.having("still serving")
