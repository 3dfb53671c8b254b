"""The installed program, watched from outside; details are in `tests/test_monitoring.py`."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.request import urlopen

from e2e.client import Connect
from support.ports import free_port
from support.process import Servers, configuration, start_failure
from support.waiting import DEADLINE
from support.ws_peer import push


def get(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE) as response:
        return str(response.read().decode())


def test_a_server_that_is_watched_still_stops_at_a_signal(servers: Servers, connect: Connect) -> None:
    metrics, status = free_port(), free_port()
    server = servers.start(
        "ok.php",
        metrics={"address": f"127.0.0.1:{metrics}"},
        status={"address": f"127.0.0.1:{status}"},
    )
    browser = connect(server)
    browser.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    browser.expect(push("news", "hello"))
    assert 'rr_ws_delivered_messages_total{broker="default"} 1.0\n' in get(metrics, "/metrics")
    assert get(status, "/ready?plugin=websockets") == "Service: websockets: Status: 200\n"
    assert server.call("status.Ready", '"websockets"') == '{"Code":200}'
    server.end()


def test_an_address_in_use_is_one_line_that_names_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        error = start_failure(tmp_path, configuration(metrics={"address": address}))
    assert error == (
        f"metrics.address: cannot listen on {address}:"
        " it is in use by another process (a server still running?), or by a socket of systemd"
    )
