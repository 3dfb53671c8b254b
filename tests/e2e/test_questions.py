"""What PHP is asked for each request of a list, however the request comes."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from e2e.questions import BEHIND_A_PROXY, OURS, PAIRS, RAW_FORMS, Pair
from support.blocking import BlockingClient
from support.ports import free_port
from support.process import Server, Servers
from support.proxies import PATH, nginx, running
from support.waiting import eventually_sync

NGINX = """
underscores_in_headers on; ignore_invalid_headers off;
proxy_buffer_size 256k; proxy_buffers 4 256k; proxy_busy_buffers_size 512k;
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://{server}; proxy_http_version 1.1;
    proxy_set_header Host $http_host; proxy_set_header Connection "";
  }}
}}
"""


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.start("ok.php", http={"pool": {"num_workers": 1, "command": "php workers/questions.php"}})


@pytest.fixture(scope="module")
def other(servers: Servers) -> Server:
    """A server with the keys that change questions."""
    http = {
        "pool": {"num_workers": 1, "command": "php workers/questions.php"},
        "raw_body": True,
        "trusted_subnets": ["127.0.0.0/8"],
        "middleware": ["websockets", "proxy_ip_parser"],
    }
    return servers.start("ok.php", http=http)


def answered(client: BlockingClient, to_head: bool) -> tuple[dict[str, Any], bytes]:
    """Read an answer: the question that PHP was asked."""
    head = client.head().decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n"), head
    if not to_head:
        assert client.exactly(2) == b"ok"
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n"))}
    context = json.loads(base64.b64decode(fields["x-context"]))
    for name in OURS:
        context["headers"].pop(name, None)
    _hide_names(context["uploads"])
    return context, base64.b64decode(fields["x-body"])


def _hide_names(tree: Any) -> None:
    """Leave of the names of temporary files only whether there is one."""
    for entry in tree.values() if isinstance(tree, dict) else tree or ():
        if isinstance(entry, dict) and "tmpName" in entry:
            entry["tmpName"] = bool(entry["tmpName"])
        elif isinstance(entry, dict | list):
            _hide_names(entry)


def check(pair: Pair, found: tuple[dict[str, Any], bytes]) -> None:
    context, body = found
    assert context == pair.context()
    assert (body if isinstance(pair.sent, bytes) else json.loads(body)) == pair.sent


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_a_request_and_its_question(server: Server, pair: Pair) -> None:
    client = BlockingClient(server.address)
    client.send(pair.encode(last=True))
    check(pair, answered(client, pair.method == "HEAD"))
    assert client.rest() == b""
    client.close()


def replay(address: tuple[str, int], pairs: Sequence[Pair], chunked: int = 0) -> None:
    """Send them one after the other on one connection."""
    client = BlockingClient(address)
    for pair in pairs:
        client.send(pair.encode(chunked))
        check(pair, answered(client, pair.method == "HEAD"))
    client.close()


LASTING = [pair for pair in PAIRS if pair.version == "HTTP/1.1"]


@pytest.mark.parametrize("chunked", [0, 1, 7, 4096])
def test_all_of_them_on_one_connection(server: Server, chunked: int) -> None:
    replay(server.address, LASTING, chunked)


def test_all_of_them_at_once_on_one_connection(server: Server) -> None:
    """Pipelined: each request begins where the body before it ends."""
    client = BlockingClient(server.address)
    client.send(b"".join(pair.encode(number % 3) for number, pair in enumerate(LASTING)))
    for pair in LASTING:
        check(pair, answered(client, pair.method == "HEAD"))
    client.close()


@pytest.mark.parametrize("chunked", [0, 1])
def test_keys_that_change_questions(other: Server, chunked: int) -> None:
    replay(other.address, BEHIND_A_PROXY + RAW_FORMS, chunked)


@pytest.mark.skipif(not shutil.which("nginx", path=PATH), reason="no nginx here")
@pytest.mark.parametrize("chunked", [0, 7])
def test_through_nginx(server: Server, other: Server, tmp_path: Path, chunked: int) -> None:
    for number, (behind, pairs) in enumerate(((server, PAIRS), (other, RAW_FORMS))):
        port, directory = free_port(), tmp_path / str(number)
        directory.mkdir()
        text = NGINX.format(port=port, server="{}:{}".format(*behind.address))
        with running(nginx(directory, text), directory):
            eventually_sync(lambda port=port: _is_there(port))  # type: ignore[misc]
            replay(("127.0.0.1", port), [pair for pair in pairs if not pair.direct], chunked)


def _is_there(port: int) -> bool:
    try:
        BlockingClient(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
