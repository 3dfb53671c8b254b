from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import psutil
import pytest

from rr_py_ws.adapters.auth import PHPAuthorizer
from rr_py_ws.devtools.pages import Pages
from rr_py_ws.devtools.worker import decide, main, serve
from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.goridge import Flag, FrameDecoder
from rr_py_ws.wire.worker import Message, encode_message
from support.goridge_frames import FRAMES
from support.php_pool import children, grant, make_pool, request
from support.ports import free_port

COMMAND = f"{sys.executable} -m rr_py_ws.devtools.worker"
ROOT = Path(__file__).parents[2]
NO_PAGES = Pages(lambda topic: False)


def status(*denied: str, **attributes: object) -> int:
    """What the worker decides about a request with these attributes."""
    question = {
        "attributes": {f"ws:{name}": v for name, v in attributes.items()},
        "method": "GET",
        "uri": "/",
    }
    answer = decide(Message(json.dumps(question).encode()), denied, NO_PAGES)
    return int(json.loads(answer.context)["status"])


def test_everybody_may_connect() -> None:
    assert status("*", joinServer=True) == 200


def test_every_topic_may_be_joined_unless_it_is_denied() -> None:
    assert status(joinTopics="private-1,chat") == 200
    assert status("private-*", joinTopics="chat,news") == 200
    assert status("private-*", joinTopics="chat,private-1") == 403
    assert status("private-*", "news", joinTopics="news") == 403
    assert status("private-*", joinTopics="Private-1") == 200


def test_what_is_not_a_question_about_websockets_is_not_found() -> None:
    assert status() == 404


def conversation(*frames: bytes) -> list[bytes]:
    """Let the worker answer these frames."""
    incoming = iter([*frames, b""])
    written: list[bytes] = []
    serve(lambda: next(incoming), written.append, ["private-*"], NO_PAGES)
    return written


def test_answers_the_handshake_as_php_workers_do_and_stops_on_command() -> None:
    question = encode_message(Message(b'{"attributes":{"ws:joinServer":true}}'))
    greeting, answer = conversation(FRAMES["pid_to_worker"][0], question, FRAMES["stop_worker"][0], question)
    decoder = FrameDecoder()
    decoder.receive_data(greeting)
    frame = decoder.next_frame()
    assert frame is not None
    assert (frame.flags, frame.options) == (Flag.CONTROL, ())
    assert answer == encode_message(Message(b'{"status": 200, "headers": {}}'))


def test_takes_frames_in_any_chunks() -> None:
    question = encode_message(Message(b'{"attributes":{"ws:joinServer":true}}'))
    data = FRAMES["pid_to_worker"][0] + question + question
    assert len(conversation(*(data[i : i + 1] for i in range(len(data))))) == 3


@pytest.mark.parametrize(
    "context", [b"", b"{}", b"[]", b"null", b'{"attributes":null}', b'{"attributes":[]}', b"\xff"]
)
def test_answers_what_it_cannot_read_with_an_error(context: bytes) -> None:
    (answer,) = conversation(encode_message(Message(context, b"x")))
    assert answer[1] == Flag.ERROR


def test_a_wrong_frame_ends_it() -> None:
    with pytest.raises(WorkerError):
        conversation(FRAMES["pong"][0])


async def test_serves_a_pool_over_each_relay(tmp_path: Path) -> None:
    for relay in ("pipes", f"unix://{tmp_path}/relay.sock", f"tcp://127.0.0.1:{free_port()}"):
        pool = make_pool(f"{COMMAND} --deny-topics private-*", workers=2, server={"relay": relay})
        await pool.start()
        authorizer = PHPAuthorizer(pool, 8.0)
        assert (await authorizer.connect(request())).allowed
        assert (await authorizer.join(grant(), ["chat"])).allowed
        assert (await authorizer.join(grant(), ["chat", "private-1"])).status == 403
        await pool.stop()
    assert children() == []


def test_a_relay_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RR_RELAY", "unix:///nowhere/relay.sock")
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("rr_py_ws.devtools.worker: unix:///nowhere/relay.sock: ")


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "/nowhere"])
async def test_the_example_worker_runs_with_and_without_php(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`examples/chat/worker` is PHP where there is PHP, and the bundled worker where there is none."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{path}")
    pool = make_pool("examples/chat/worker")
    await pool.start()
    command = " ".join(psutil.Process(pool.states()[0].pid).cmdline())
    assert ("php" if path == "/usr/bin:/bin" else "rr_py_ws.devtools.worker") in command
    authorizer = PHPAuthorizer(pool, 8.0)
    assert (await authorizer.connect(request())).allowed
    assert (await authorizer.join(grant(), ["chat.lobby", "news"])).allowed
    assert not (await authorizer.join(grant(), ["chat.staff"])).allowed
    await asyncio.wait_for(pool.stop(), 20)
