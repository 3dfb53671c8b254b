"""The server without its native part."""

from __future__ import annotations

from pathlib import Path

from support.process import Server, Servers, configuration


def test_a_server_without_the_native_part_says_so(servers: Servers, tmp_path: Path) -> None:
    server = servers.add(Server(tmp_path, configuration(), env={"RR_PY_WS_PURE": "1"}))
    server.out.wait_for("it runs without its native part, slower: RR_PY_WS_PURE is set")
