"""Certificates that are renewed while the server runs."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

from support.ports import free_port
from support.process import Server, Servers
from support.tls import client_context, make_certificate
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import reply


@dataclass
class Site:
    """A server with TLS, and the certificates that it may have; `live` has the one that it has."""

    server: Server
    port: int
    live: Path
    pems: list[Path]

    def renew(self, number: int, *names: str) -> None:
        """Have links lead to the files of a certificate, as certbot does: each is swapped in one step."""
        for name in names or ("cert.pem", "key.pem"):
            (self.live / "new").symlink_to(self.pems[number])
            (self.live / "new").rename(self.live / name)

    def connect(self, number: int) -> connect_websocket:
        """Connect a client that trusts one certificate only.

        None with threads: one would write to the TLS connection while the other reads, which OpenSSL forbids.
        """
        return connect_websocket(
            f"wss://127.0.0.1:{self.port}/ws",
            ssl=client_context(self.pems[number]),
            server_hostname="localhost",
            proxy=None,
        )

    def certificate(self) -> bytes:
        """The certificate that a new client is shown."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        with context.wrap_socket(plain) as secured:
            return secured.getpeercert(binary_form=True) or b""

    def is_shown(self, number: int) -> bool:
        text = self.pems[number].with_suffix(".crt").read_text()
        return self.certificate() == ssl.PEM_cert_to_DER_cert(text)


@pytest.fixture
def site(servers: Servers, tmp_path: Path) -> Site:
    return start(servers, tmp_path)


def start(servers: Servers, tmp_path: Path, **websockets: Any) -> Site:
    pems = []
    for number in range(3):
        (directory := tmp_path / str(number)).mkdir()
        pems.append(make_certificate(directory))
    (live := tmp_path / "live").mkdir()
    for name in ("cert.pem", "key.pem"):
        (live / name).symlink_to(pems[0])
    port = free_port()
    ssl_section = {
        "address": f"127.0.0.1:{port}",
        "cert": str(live / "cert.pem"),
        "key": str(live / "key.pem"),
    }
    server = servers.start(http={"ssl": ssl_section}, websockets=websockets)
    return Site(server, port, live, pems)


async def join(client: ClientConnection, topic: str) -> None:
    await client.send(json.dumps({"command": "join", "topics": [topic]}))
    async with asyncio.timeout(DEADLINE):
        assert await client.recv() == reply("@join", [topic])


async def test_a_renewed_certificate_is_for_new_clients_and_the_old_ones_stay(site: Site) -> None:
    async with site.connect(0) as old:
        await join(old, "a")
        # One after the other: a moment later there is a pair that does not fit.
        site.server.tolerated.append("certificate not loaded again")
        site.renew(1, "cert.pem")
        site.server.log.wait_for("(the key is not that of the certificate)")
        assert site.is_shown(0)
        site.renew(1, "key.pem")
        site.server.log.wait_for("certificate loaded again, for new connections")
        assert site.is_shown(1)
        async with site.connect(1) as new:
            await join(new, "a")
        await join(old, "b")
    assert len(site.server.log.having("certificate not loaded again")) == 1


def test_sighup_loads_files_that_have_changed_and_files_that_the_file_names_now(site: Site) -> None:
    site.renew(1)
    site.server.signal(signal.SIGHUP)
    site.server.log.wait_for("configuration read again, nothing is different")
    site.server.log.wait_for("certificate loaded again, for new connections")
    assert site.is_shown(1)

    config = json.loads(json.dumps(site.server.config))
    config["http"]["ssl"] |= {"cert": str(site.pems[2]), "key": str(site.pems[2])}
    path = site.server.directory / ".rr.yaml"
    path.write_text(json.dumps(config))
    site.server.signal(signal.SIGHUP)
    site.server.log.wait_for("changed, counts from now on", count=2)
    site.server.log.wait_for("certificate loaded again, for new connections", count=2)
    assert site.is_shown(2)

    site.server.tolerated.append("configuration not read again")
    config["http"]["ssl"]["key"] = str(site.pems[0])
    config["websockets"]["path"] = "/other"
    path.write_text(json.dumps(config))
    site.server.signal(signal.SIGHUP)
    line = site.server.log.wait_for("configuration not read again, the old one counts")
    assert "the key is not that of the certificate" in line
    assert site.is_shown(2)


def test_processes_that_are_started_again_have_the_renewed_certificate(
    servers: Servers, tmp_path: Path
) -> None:
    """They are forks of a process that has read the old one."""
    site = start(servers, tmp_path, processes=2)
    site.renew(1)
    site.server.log.wait_for("certificate loaded again, for new connections")
    eventually_sync(lambda: all(site.is_shown(1) for _ in range(10)), "all have loaded it")
    assert len(site.server.log.having("certificate loaded again")) == 1
    site.server.tolerated.append("a listener process ended")
    started = len(site.server.log.having("websocket listener was started"))
    _, *listeners = sorted(psutil.Process(site.server.process.pid).children(), key=lambda one: one.pid)
    for listener in listeners:
        listener.kill()
    site.server.log.wait_for("websocket listener was started", count=2 * started)
    assert all(site.is_shown(1) for _ in range(10))
