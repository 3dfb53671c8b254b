"""The keys about proxies, in a whole server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rr_py_ws.config import load_config
from rr_py_ws.server.app import App
from rr_py_ws.server.preparation import prepare
from support.http_site import parse
from support.ports import free_port
from support.ws_peer import Client, request

FILE = """
http: {{address: "127.0.0.1:{port}", middleware: [proxy_ip_parser], trusted_subnets: [127.0.0.1]}}
websockets:
  broker: main
  authorize: none
  client_address_header: X-Real-IP
  limits: {{max_connections_per_address: 2}}
broadcast: {{main: {{driver: memory}}}}
logs: {{mode: none}}
"""


async def test_the_header_of_the_file_is_read_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Point 3: five forged addresses got past a limit of two."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    (tmp_path / ".rr.yaml").write_text(FILE.format(port=port))
    loaded = load_config(".rr.yaml", environ={})
    app = App(loaded, prepare(loaded))
    await app.start()
    clients = []
    try:
        statuses = []
        for number in range(5):
            client = await Client.connect(("127.0.0.1", port))
            clients.append(client)
            forged = f"203.0.113.{number}"
            headers = (f"X-Forwarded-For: {forged}", f"Forwarded: for={forged}", "X-Real-IP: 198.51.100.1")
            await client.send(request("/ws", *headers))
            statuses.append(parse(await client.head())[0])
        assert statuses == [101, 101, 429, 429, 429]
    finally:
        for client in clients:
            client.close()
        await asyncio.wait_for(app.stop(5.0), 10.0)
