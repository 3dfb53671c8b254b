"""A whole server beside RoadRunner: PHP with one RPC address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.config import load_config
from rr_py_ws.errors import RPCError
from rr_py_ws.server.app import App
from rr_py_ws.server.preparation import prepare
from rr_py_ws.wire.goridge import Flag
from support.roadrunner_rpc import RoadRunner, echo, plugins

FILE = """
rpc: {{listen: "{roadrunner}"}}
websockets:
  broker: main
  authorize: none
  address: 127.0.0.1:0
  rpc: {{listen: "unix://{directory}/ours.sock", forward: "{roadrunner}"}}
broadcast: {{main: {{driver: memory}}}}
logs: {{mode: none}}
"""


@pytest.fixture
async def roadrunner() -> AsyncIterator[RoadRunner]:
    roadrunner = RoadRunner(plugins("http", "jobs"))
    await roadrunner.start()
    yield roadrunner
    await roadrunner.stop()


@pytest.fixture
async def app(roadrunner: RoadRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".rr.yaml").write_text(FILE.format(roadrunner=roadrunner.address, directory=tmp_path))
    loaded = load_config(".rr.yaml", environ={})
    app = App(loaded, prepare(loaded))
    await app.start()
    return app


async def test_one_address_has_the_services_of_both(app: App, roadrunner: RoadRunner, tmp_path: Path) -> None:
    async with await RPCClient.connect(f"unix://{tmp_path}/ours.sock") as rpc:
        await rpc.publish([("", ["news"], b"hello")])
        assert await rpc.call_json("informer.List", True) == ["websockets", "http", "jobs"]
        with pytest.raises(RPCError, match=r"^of roadrunner: \[1\]$"):
            await rpc.call_json("jobs.Push", [1])
        roadrunner.answer = echo
        assert await rpc.call_json("kv.Get", {"storage": "local"}) == {"storage": "local"}
        assert b'"broker":"main"' in await rpc.call("rpc.Config", b"", Flag.RAW)
    assert await app.stop(5.0)
    assert roadrunner.links == []


async def test_a_stop_waits_for_what_roadrunner_still_does(
    app: App, roadrunner: RoadRunner, tmp_path: Path
) -> None:
    roadrunner.answer = lambda frame: None
    async with await RPCClient.connect(f"unix://{tmp_path}/ours.sock") as rpc:
        call = asyncio.create_task(rpc.call_json("jobs.Push", "late"))
        [frame] = await roadrunner.calls(1)
        stop = asyncio.create_task(app.stop(20.0))
        await asyncio.sleep(0)
        roadrunner.send(echo(frame))
        assert await call == "late"
        assert await stop
