"""What a server loads: not what only other configurations need, which would take half of its start."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from support.program import start

PLAIN = """
version: "2.7"
rpc: {listen: "tcp://127.0.0.1:0"}
http: {address: "127.0.0.1:0"}
websockets: {broker: default, authorize: none}
broadcast: {default: {driver: memory, config: {}}}
"""
FOR = {
    "metrics": ["prometheus_client", "rr_py_ws.adapters.ops", "starlette", "uvicorn"],
    "pages": ["python_multipart", "rr_py_ws.adapters.http.php", "rr_py_ws.adapters.http.middleware"],
    "forward": ["rr_py_ws.adapters.http.gateway", "rr_py_ws.adapters.rpc.forward"],
    "workers": ["psutil", "rr_py_ws.adapters.php.pool"],
    "redis": ["hiredis", "rr_py_ws.adapters.brokers.redis"],
    "reload": ["watchfiles"],
    "several processes": ["rr_py_ws.adapters.link", "rr_py_ws.server.supervisor", "rr_py_ws.wire.link"],
    "protobuf calls": ["google.protobuf"],
    "other commands": ["rich", "rr_py_ws.adapters.rpc.client", "websockets.asyncio"],
}


async def loaded_by(config: str, directory: Path) -> set[str]:
    """The modules that a server has loaded when it is ready."""
    (directory / ".rr.yaml").write_text(config)
    server = await start("serve", cwd=directory, PYTHONPROFILEIMPORTTIME="1")
    assert server.stdout is not None
    assert b"server started" in await server.stdout.readline()
    server.terminate()
    _, err = await server.communicate()
    return set(re.findall(r"^import time:.*\| +(\S+)$", err.decode(), re.MULTILINE))


async def test_a_plain_server_loads_nothing_that_others_need(tmp_path: Path) -> None:
    loaded = await loaded_by(PLAIN, tmp_path)
    assert "rr_py_ws.server.core_role" in loaded
    assert {name: found for name, modules in FOR.items() if (found := loaded.intersection(modules))} == {}


async def test_a_server_with_a_section_for_them_does(tmp_path: Path) -> None:
    loaded = await loaded_by(f'{PLAIN}metrics: {{address: "127.0.0.1:0"}}\n', tmp_path)
    assert loaded.issuperset(FOR["metrics"])


def test_the_names_are_those_of_modules() -> None:
    assert [module for modules in FOR.values() for module in modules if find_spec(module) is None] == []
