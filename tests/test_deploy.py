"""The files in `deploy/` agree with each other, with the program, and with what is said about them."""

from __future__ import annotations

import configparser
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.cli.entry import run
from rr_py_ws.config import Config, load_config
from rr_py_ws.config.yaml_file import read_tree
from rr_py_ws.config.yaml_values import read_first_document

DEPLOY = Path(__file__).parents[1] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
PROXIES = ("nginx.conf", "haproxy.cfg", "Caddyfile", "traefik.yaml")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of an application with the shared file."""
    shutil.copy(DEPLOY / "rr.yaml", tmp_path)
    (tmp_path / "app.php").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(app: Path) -> Config:
    return load_config(app / "rr.yaml", environ={})


def checked(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    run(["check", "--json", "-c", "rr.yaml"])
    report: dict[str, Any] = json.loads(capfd.readouterr().out)
    return report


def test_the_shared_file_is_clean(app: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = checked(capfd)
    assert (report["errors"], report["warnings"]) == (0, 0), report
    used = {finding["section"] for finding in report["findings"] if finding["kind"] == "used"}
    assert used == {"rpc", "server", "websockets", "broadcast", "logs", "metrics", "status", "endure"}


def test_the_line_that_may_be_switched_on_is_right_too(app: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (app / "rr.yaml").read_text()
    switched, count = re.subn(r"^( *)# (http: \{)", r"\1\2", text, flags=re.MULTILINE)
    assert count == 1
    (app / "rr.yaml").write_text(switched)
    report = checked(capfd)
    assert (report["errors"], report["warnings"]) == (0, 0), report


def test_roadrunner_ignores_what_is_ours(config: Config) -> None:
    """Sections and keys of RoadRunner 2025, and those that it has had before and has no more."""
    assert set(config.tree) - {"websockets", "broadcast"} == {
        *("version", "rpc", "server", "http", "metrics", "status", "endure", "service")
    }
    assert config.tree["version"] == "3"  # a text: RoadRunner refuses a number


def test_roadrunner_gives_the_service_time_to_stop(config: Config) -> None:
    service = config.tree["service"]["rr-py-ws"]
    assert service["command"] == "rr-py-ws serve -c rr.yaml"
    assert service["remain_after_exit"] and service["timeout_stop_sec"] >= config.endure.grace_period


def addresses(config: Config) -> dict[str, int]:
    """Every address of the shared file, by its port."""
    text = json.dumps(config.tree)
    ports = re.findall(r'127\.0\.0\.1:(\d+)"', text)
    assert len(set(ports)) == 8 and len(ports) == 9  # RoadRunner's RPC is named where calls go on
    return {port: int(port) for port in ports}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_port_is_one_of_the_shared_file(config: Config, file: Path) -> None:
    named = re.findall(r"(?:127\.0\.0\.1|0\.0\.0\.0|rr-py-ws|roadrunner):(\d+)", file.read_text())
    assert set(named) <= addresses(config).keys()


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_sends_the_path_to_us_and_the_rest_to_roadrunner(config: Config, name: str) -> None:
    assert config.websockets and config.websockets.address and config.http
    text = (DEPLOY / name).read_text()
    assert config.websockets.address in text and config.tree["http"]["address"] in text
    assert re.search(rf"[ `]{config.websockets.path}[ `]", text)
    if "ready" in text:
        assert config.websockets.health_path in text
    ping = config.websockets.ping
    for seconds in re.findall(r"(?:proxy_read_timeout|proxy_send_timeout|timeout tunnel) (\d+)s", text):
        assert int(seconds) > ping.interval + ping.timeout


def test_traefik_has_a_service_for_each_router() -> None:
    tree = read_tree(DEPLOY / "traefik.yaml")["http"]
    wanted = {router["service"] for router in tree["routers"].values()}
    assert wanted == set(tree["services"])
    priorities = {name: router["priority"] for name, router in tree["routers"].items()}
    assert priorities["websockets"] > priorities["app"]


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / name)
    return parser


def test_the_units_agree_with_the_file(config: Config) -> None:
    assert config.websockets and config.rpc_listen
    service, text = unit("rr-py-ws.service"), (DEPLOY / "systemd/rr-py-ws.socket").read_text()
    assert service["Service"]["Type"] == "notify"
    assert service["Service"]["ExecStart"].endswith("/rr-py-ws serve -c rr.yaml")
    assert int(service["Service"]["TimeoutStopSec"]) > config.endure.grace_period
    assert service["Unit"]["Requires"] == "rr-py-ws.socket"
    sockets = re.findall(r"^ListenStream=(.*)$", text, re.MULTILINE)
    assert sockets == [config.websockets.address, config.rpc_listen.removeprefix("tcp://")]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in ("rr-py-ws.service", "rr-py-ws.socket"):
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/local/bin/rr-py-ws", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "rr-py-ws" not in done.stderr, done.stderr


def test_compose_starts_what_is_there(config: Config) -> None:
    services = read_first_document((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"roadrunner", "rr-py-ws", "proxy"}
    ours = services["rr-py-ws"]
    assert (DEPLOY / ours["build"]["context"] / ours["build"]["dockerfile"]).is_file()
    command = ours["command"]
    overrides = [value for flag, value in itertools.pairwise(command) if flag == "-o"]
    there = load_config(config.path, overrides=overrides, environ={})
    assert there.websockets and there.websockets.address == "0.0.0.0:8081"
    assert (there.rpc_listen, there.rpc_forward) == ("tcp://0.0.0.0:6002", "tcp://roadrunner:6001")
    assert "rpc.listen=tcp://0.0.0.0:6001" in services["roadrunner"]["command"]
    # The proxy has an address of the containers' network, for both.
    assert "http.trusted_subnets=172.16.0.0/12" in overrides
    assert "http.trusted_subnets=172.16.0.0/12" in services["roadrunner"]["command"]
    assert int(ours["stop_grace_period"].removesuffix("s")) > config.endure.grace_period
    assert config.status_address in ours["healthcheck"]["test"][-1]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]


def test_the_readme_names_every_file() -> None:
    text = (DEPLOY / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (DEPLOY / link).exists(), link
    for file in FILES:
        assert file.name == "README.md" or f"]({file.relative_to(DEPLOY).parts[0]})" in text, file
