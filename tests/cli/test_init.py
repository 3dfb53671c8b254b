"""`init`: what a file gets so that it runs beside a newer RoadRunner, on ports that are free."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest

from rr_py_ws.cli.entry import run
from rr_py_ws.config import load_config, read_config
from rr_py_ws.config.neighbour import missing_keys
from rr_py_ws.config.yaml_file import read_tree
from support.program import one_error_line

ROADRUNNER = """\
# RoadRunner 2025
version: "3"
rpc:
  listen: tcp://127.0.0.1:6001   # PHP asks here
http:
  address: 0.0.0.0:8080
  middleware: [ "gzip" ]
metrics: {address: "127.0.0.1:2112"}
status:
  address: 127.0.0.1:2114

jobs:
  consume: [ ]
# the end
"""
ADDED = """\

websockets:
  broker: default
  path: /ws
  authorize: none
  address: "127.0.0.1:A"
  rpc:
    listen: "tcp://127.0.0.1:B"
    forward: "tcp://127.0.0.1:6001"
  metrics:
    address: "127.0.0.1:C"
  status:
    address: "127.0.0.1:D"
broadcast:
  default:
    driver: memory
    config: {}
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def added(out: str) -> list[str]:
    """The lines of a diff that are new; there are none that are gone."""
    lines = out.splitlines()[2:]
    assert not [line for line in lines if line.startswith("-")]
    return [line[1:] for line in lines if line.startswith("+")]


def test_a_file_of_a_newer_roadrunner_gets_what_it_lacks(capfd: pytest.CaptureFixture[str]) -> None:
    file = Path(".rr.yaml")
    file.write_text(ROADRUNNER)
    assert run(["init"]) == 0
    out, err = capfd.readouterr()
    assert file.read_text() == ROADRUNNER and err == "not written: --write does it\n"
    ports = re.findall(r'127\.0\.0\.1:(\d+)"$', "\n".join(added(out)), re.MULTILINE)
    own = [port for port in ports if port != "6001"]
    assert len(set(own)) == 4 and not {"2112", "2114"} & set(own)
    wanted = ADDED
    for letter, port in zip("ABCD", own, strict=True):
        wanted = wanted.replace(f":{letter}", f":{port}")
    assert added(out) == wanted.splitlines()
    assert run(["init", "--write", "-s"]) == 0
    shown, err = capfd.readouterr()
    assert shown == out and err == ""
    assert file.read_text() == ROADRUNNER.replace("# the end\n", wanted + "# the end\n")
    assert run(["init"]) == 0
    assert capfd.readouterr().out == f"{file.absolute()}: nothing to add\n"


def test_what_it_writes_can_be_served(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(ROADRUNNER)
    assert run(["init", "--write"]) == 0
    capfd.readouterr()
    assert run(["check", "--json"]) == 0
    findings = json.loads(capfd.readouterr().out)["findings"]
    assert not [finding for finding in findings if "unknown" in finding["text"]]


def test_without_a_file_a_small_one_is_made_that_can_be_served(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "-c", "new.yaml"]) == 0
    assert not Path("new.yaml").exists()
    assert "--- /dev/null\n" in capfd.readouterr().out
    assert run(["init", "-c", "new.yaml", "--write"]) == 0
    capfd.readouterr()
    config = load_config("new.yaml", environ={})
    assert config.websockets and config.websockets.address and config.rpc_listen
    assert not config.rpc_is_open
    assert run(["check", "-c", "new.yaml", "--bind"]) == 0
    assert run(["init", "-c", "new.yaml"]) == 0
    assert "nothing to add" in capfd.readouterr().out
    umask = os.umask(0)
    os.umask(umask)
    assert Path("new.yaml").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_of_comments_is_filled(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text("# mine\n")
    assert run(["init", "--write"]) == 0
    assert Path(".rr.yaml").read_text().startswith('# mine\nversion: "3"\n')


def test_a_file_of_roadrunner_2_keeps_what_it_says_of_websockets(capfd: pytest.CaptureFixture[str]) -> None:
    text = (
        "rpc: {}\nserver: {command: php worker.php}\nhttp: {address: ':80', middleware: [websockets]}\n"
        "websockets: {broker: main, path: /live}\nbroadcast: {main: {driver: memory}}\n"
    )
    Path(".rr.yaml").write_text(text)
    assert run(["init", "--write"]) == 0
    capfd.readouterr()
    config, _ = read_config(".rr.yaml", environ={})
    assert config.websockets and (config.websockets.broker, config.websockets.path) == ("main", "/live")
    assert config.websockets.authorize == "php"
    tree = read_tree(Path(".rr.yaml"))
    assert tree["websockets"]["http"] == {"forward": "http://127.0.0.1:80"}
    assert tree["websockets"]["rpc"]["forward"] == "tcp://127.0.0.1:6001"
    assert list(config.broadcast) == ["main"]


def test_a_port_that_somebody_has_is_not_chosen(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text("http: {address: ':80'}\nkv: {a: {addr: 'localhost:8082'}}\n")
    assert run(["init"]) == 0
    [first] = re.findall(r'^\+  address: "127.0.0.1:(\d+)"$', capfd.readouterr().out, re.MULTILINE)
    with socket.create_server(("127.0.0.1", int(first))):
        assert run(["init"]) == 0
    [second] = re.findall(r'^\+  address: "127.0.0.1:(\d+)"$', capfd.readouterr().out, re.MULTILINE)
    assert "8082" not in (first, second) and int(second) > int(first)


@pytest.mark.parametrize(
    ("address", "forward"),
    [
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0:${PORT}", "http://127.0.0.1:${PORT}"),
        ("[::]:8080", "http://127.0.0.1:8080"),
        ("app:8080", "http://app:8080"),
        ("${HTTP_ADDRESS}", "http://${HTTP_ADDRESS}"),
        ("${HOST}:8080", "http://${HOST}:8080"),
        ("${HTTP_ADDRESS:-0.0.0.0:8080}", "http://${HTTP_ADDRESS:-0.0.0.0:8080}"),
        ("127.0.0.1:${PORT:-8080}", "http://127.0.0.1:${PORT:-8080}"),
        (":${PORT:-8080}", "http://127.0.0.1:${PORT:-8080}"),
    ],
)
def test_roadrunner_is_reached_at_the_address_of_the_file(address: str, forward: str) -> None:
    keys = missing_keys({"http": {"address": address, "middleware": ["websockets"]}}, lambda port: port)
    assert keys["websockets"]["http"] == {"forward": forward}


@pytest.mark.parametrize(
    ("address", "forward"),
    [
        ("tcp://:6001", "tcp://127.0.0.1:6001"),
        ("tcp://0.0.0.0:6001", "tcp://127.0.0.1:6001"),
        ("${RPC}", "${RPC}"),
    ],
)
def test_and_its_rpc(address: str, forward: str) -> None:
    keys = missing_keys({"rpc": {"listen": address}}, lambda port: port)
    assert keys["websockets"]["rpc"] == {"listen": "tcp://127.0.0.1:6002", "forward": forward}


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("unix:///run/app/rr.sock", "unix:///run/app/rr-py-ws.sock"),
        ("unix:///rr.sock", "unix:///rr-py-ws.sock"),
        ("unix://rr.sock", "unix://rr-py-ws.sock"),
    ],
)
def test_rpc_that_only_a_directory_opens_is_not_given_a_port(address: str, listen: str) -> None:
    keys = missing_keys({"rpc": {"listen": address}}, lambda port: port)
    assert keys["websockets"]["rpc"] == {"listen": listen, "forward": address}


NOTHING_OPENED = [
    # The pages of a newer RoadRunner are where they are, and nobody has asked for them here.
    "server: {command: php app.php}\nhttp: {address: '127.0.0.1:8080', middleware: [gzip]}\n",
    "server: {command: php app.php}\nhttp: {address: '127.0.0.1:8080'}\nwebsockets: {path: /live}\n",
    # Ports of the file, which everybody may reach, for WebSockets and RPC of our own.
    "http: {address: ':80', middleware: [websockets]}\nrpc: {}\n"
    "websockets: {address: ':8081', rpc: {listen: 'tcp://:6002'}}\n",
    "http: {address: ':80', middleware: [websockets]}\nrpc: {}\n"
    "base: &base {address: ':8081', rpc: {listen: 'tcp://:6002'}}\nwebsockets: {<<: *base}\n",
]


@pytest.mark.parametrize("text", NOTHING_OPENED)
def test_nothing_is_opened_that_the_file_does_not_ask_for(text: str) -> None:
    Path(".rr.yaml").write_text(text)
    assert run(["init", "--write"]) == 0
    config, _ = read_config(".rr.yaml", environ={})
    assert config.websockets and not config.websockets.http.forward and not config.serves_pages
    if ":6002" in text:
        assert Path(".rr.yaml").read_text() == text
    else:
        assert str(config.websockets.address).startswith("127.0.0.1:")


def test_secrets_beside_the_new_lines_are_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    text = "http: {address: ':80'}\nkv:\n  a: {config: {password: HIDDEN}}\n  b:\n    token: HIDDEN\n"
    Path(".rr.yaml").write_text(text)
    assert run(["init", "--write"]) == 0
    assert "HIDDEN" not in capfd.readouterr().out
    assert Path(".rr.yaml").read_text().startswith(text)


def test_ports_of_variables_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".rr.yaml").write_text("kv: {a: {addr: 'h:${KV:-8081}'}, b: {port: 8082, other: $OTHER}}\n")
    monkeypatch.setenv("OTHER", "h:8083")
    assert run(["init", "--write"]) == 0
    config, _ = read_config(".rr.yaml", environ={})
    assert config.websockets and int(str(config.websockets.address).rpartition(":")[2]) > 8083


def test_a_relay_that_roadrunner_listens_on_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    text = "server: {command: php app.php, relay: 'tcp://127.0.0.1:6010'}\n"
    Path(".rr.yaml").write_text(text)
    assert run(["init", "--write"]) == 1
    assert "server.relay: found" in one_error_line(capfd.readouterr().err)
    assert Path(".rr.yaml").read_text() == text


def test_rights_links_and_the_byte_order_mark_stay() -> None:
    real = Path("real.yaml")
    real.write_bytes(b"\xef\xbb\xbfhttp: {address: ':80'}\r\n")
    real.chmod(0o640)
    Path(".rr.yaml").symlink_to(real)
    assert run(["init", "--write"]) == 0
    assert Path(".rr.yaml").is_symlink() and real.stat().st_mode & 0o777 == 0o640
    content = real.read_bytes()
    assert content.startswith(b"\xef\xbb\xbfhttp: {address: ':80'}\r\n\r\nwebsockets:\r\n")
    assert sorted(path.name for path in Path().iterdir()) == [".rr.yaml", "real.yaml"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rr.json", b"{}", "is JSON, which is not edited here"),
        (".rr.yaml", "http: {}".encode("utf-16"), "is UTF-16"),
        (".rr.yaml", b"\xff", "is neither UTF-8 nor UTF-16"),
        (".rr.yaml", b"http: [", ".rr.yaml:1: "),
        (".rr.yaml", b"- http\n", "accepted: a map of sections"),
        (".rr.yaml", b"websockets: 5\n", ".rr.yaml:1: websockets is no map"),
        (".rr.yaml", b"x: &x {a: 1}\nwebsockets: *x\n", ".rr.yaml:2: websockets is an alias (*x)"),
        (".rr.yaml", b"include: more.yaml\n", "websockets is in an included file"),
        (".rr.yaml", b"include: lost.yaml\n", "lost.yaml: cannot be read"),
        (".rr.yaml", b"http: {address: ':80', workers: {command: php}}\n", "is a file of RoadRunner 1"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_one_line(
    capfd: pytest.CaptureFixture[str], name: str, content: bytes, problem: str
) -> None:
    Path("more.yaml").write_text("websockets: {path: /ws}\n")
    Path(name).write_bytes(content)
    assert run(["init", "--write", "-c", name]) == 1
    out, err = capfd.readouterr()
    assert out == "" and problem in one_error_line(err)
    assert Path(name).read_bytes() == content


def test_a_file_that_cannot_be_written_is_said(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".rr.yaml").write_text(ROADRUNNER)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(["init", "--write"]) == 1
    assert one_error_line(capfd.readouterr().err).endswith(
        ".rr.yaml: cannot be written: No space left on device"
    )
    assert Path(".rr.yaml").read_text() == ROADRUNNER
    assert [path.name for path in Path().iterdir()] == [".rr.yaml"]


def test_what_a_file_holds_cannot_control_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text("# \x9b31m\nhttp: {address: ':80'}\n")
    assert run(["init"]) in (0, 1)
    out, err = capfd.readouterr()
    assert "\x9b" not in out + err
