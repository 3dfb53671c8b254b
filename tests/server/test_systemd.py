"""Which inherited socket is for which listener; processes that really inherit them are in `e2e`."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import ExitStack
from pathlib import Path

import pytest

from rr_py_ws.config import Endure, load_config
from rr_py_ws.errors import ConfigError
from rr_py_ws.server import systemd
from rr_py_ws.server.systemd import LISTENERS, InheritedSockets, notify

Listen = Callable[..., socket.socket]


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as stack:

        def listen(host: str = "127.0.0.1", *, dual_stack: bool = False) -> socket.socket:
            family = socket.AF_UNIX if host.startswith(("/", "\0")) else socket.AF_INET
            if dual_stack:
                family = socket.AF_INET6
            sock = stack.enter_context(socket.socket(family))
            if dual_stack:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(host if family is socket.AF_UNIX else (host, 0))
            sock.listen()
            return sock

        yield listen


def port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


# Which is for whom


@pytest.mark.parametrize(
    ("bound", "address"),
    [
        ("127.0.0.1", "127.0.0.1:{}"),
        ("127.0.0.1", "tcp://127.0.0.1:{}"),
        ("127.0.0.1", "localhost:{}"),
        ("0.0.0.0", ":{}"),
        ("0.0.0.0", "tcp://:{}"),
        ("0.0.0.0", "0.0.0.0:{}"),
        ("0.0.0.0", "[::]:{}"),
    ],
)
def test_a_socket_is_for_the_listener_at_its_address(listen: Listen, bound: str, address: str) -> None:
    sock = listen(bound)
    sockets = InheritedSockets([("", sock)])
    assert sockets.take("rpc", address.format(port(sock))) == [sock]
    assert sockets.take("rpc", address.format(port(sock))) == []


@pytest.mark.parametrize(
    ("bound", "address"),
    [
        ("127.0.0.1", "127.0.0.1:1"),
        ("127.0.0.1", "127.0.0.2:{}"),
        ("127.0.0.1", ":{}"),
        ("127.0.0.1", "unix://127.0.0.1:{}"),
        ("127.0.0.1", "no-such-host.invalid:{}"),
        ("127.0.0.1", "a..b:{}"),
        ("127.0.0.1", "nonsense"),
        ("0.0.0.0", "127.0.0.1:{}"),
    ],
)
def test_a_socket_elsewhere_is_not(listen: Listen, bound: str, address: str) -> None:
    sock = listen(bound)
    assert InheritedSockets([("", sock)]).take("rpc", address.format(port(sock))) == []


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_what_systemd_listens_on_for_a_bare_port_is_for_all_addresses(listen: Listen) -> None:
    sock = listen("::", dual_stack=True)
    assert InheritedSockets([("", sock)]).take("http", f":{port(sock)}") == [sock]


def test_a_unix_socket_is_for_the_listener_at_its_path(
    listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = listen(f"{tmp_path}/rpc.sock")
    monkeypatch.chdir(tmp_path)
    for address in (f"unix://{tmp_path}/rpc.sock", "unix://rpc.sock"):
        assert InheritedSockets([("", sock)]).take("rpc", address) == [sock]
    for address in (f"unix://{tmp_path}/other.sock", f"tcp://{tmp_path}/rpc.sock", "127.0.0.1:80"):
        assert InheritedSockets([("", sock)]).take("rpc", address) == []


def test_an_abstract_unix_socket_has_no_path(listen: Listen) -> None:
    sock = listen(f"\0test-{os.getpid()}")
    assert InheritedSockets([("", sock)]).take("rpc", "unix:///nowhere") == []


def test_a_name_goes_before_the_address(listen: Listen) -> None:
    """Of several with one name all are used; a name that says nothing is as good as none."""
    first, second, other, unnamed = (listen() for _ in range(4))
    named = [("http", first), ("https", other), ("http", second), ("app.socket", unnamed)]
    sockets = InheritedSockets(named)
    assert sockets.take("http", f"127.0.0.1:{port(unnamed)}") == [first, second]
    assert sockets.take("http", f"127.0.0.1:{port(other)}") == []
    assert sockets.take("https", "127.0.0.1:1") == [other]
    assert sockets.take("rpc", f"127.0.0.1:{port(unnamed)}") == [unnamed]
    sockets.expect_none_left()


def test_a_socket_that_nobody_would_serve_is_an_error(listen: Listen) -> None:
    sock = listen()
    sockets = InheritedSockets([("app.socket", sock)])
    with pytest.raises(
        ConfigError,
        match=rf"^LISTEN_FDS: the inherited socket 'app.socket' at 127.0.0.1 port {port(sock)} is at",
    ):
        sockets.expect_none_left()
    sockets.close()
    assert sock.fileno() < 0


def test_only_rpc_is_served_on_unix_sockets(listen: Listen, tmp_path: Path) -> None:
    sockets = InheritedSockets([("http", listen(f"{tmp_path}/http.sock"))])
    with pytest.raises(ConfigError, match="is a unix socket, http takes TCP only"):
        sockets.take("http", "127.0.0.1:80")


# What the environment says


def environ(**more: str) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "PATH": "/bin"} | more


def test_sockets_are_taken_out_of_the_environment(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    original = listen()
    address = f"127.0.0.1:{port(original)}"
    monkeypatch.setattr(systemd, "_FIRST", descriptor := original.detach())
    os.set_inheritable(descriptor, True)
    variables = environ(LISTEN_FDS="1", LISTEN_FDNAMES="app.socket", LISTEN_PIDFDID="17")
    [sock] = InheritedSockets.take_over(variables).take("http", address)
    with sock:
        assert variables == {"PATH": "/bin"}
        assert sock.fileno() == descriptor
        assert not sock.get_inheritable()


def test_without_variables_there_are_none() -> None:
    InheritedSockets.take_over({}).expect_none_left()


@pytest.mark.parametrize("pid", ["1", "", "x"])
def test_sockets_of_another_process_are_left_alone(pid: str) -> None:
    variables = environ(LISTEN_PID=pid, LISTEN_FDS="1")
    InheritedSockets.take_over(variables).expect_none_left()
    assert variables == {"PATH": "/bin"}


@pytest.mark.parametrize("count", ["", "-1", "x", "1e3", "٣", "100000"])
def test_a_number_that_is_none_is_an_error(count: str) -> None:
    with pytest.raises(ConfigError, match=r"^LISTEN_FDS: found"):
        InheritedSockets.take_over(environ(LISTEN_FDS=count))


def test_what_is_no_listening_socket_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def adopt(descriptor: int) -> None:
        monkeypatch.setattr(systemd, "_FIRST", descriptor)
        InheritedSockets.take_over(environ(LISTEN_FDS="1"))

    with (tmp_path / "file").open("w") as file, pytest.raises(ConfigError, match="is not a socket"):
        adopt(file.fileno())
    with pytest.raises(ConfigError, match="is not a socket: Bad file descriptor"):
        adopt(1 << 20)  # open it is not
    for sock in (socket.socket(), socket.socket(type=socket.SOCK_DGRAM)):
        with pytest.raises(ConfigError, match="is not a listening socket"):
            adopt(sock.detach())


# Telling how we are


@pytest.mark.parametrize("place", ["path", "abstract"])
def test_who_started_us_is_told(place: str, tmp_path: Path) -> None:
    name = f"@test-{os.getpid()}" if place == "abstract" else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(name.replace("@", "\0"))
        notify("READY=1", {"NOTIFY_SOCKET": name})
        assert service_manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("path", ["", "/no/such/socket", "relative", "vsock:2:1"])
def test_when_nobody_listens_that_is_no_matter(path: str) -> None:
    notify("READY=1", {"NOTIFY_SOCKET": path})


# The documentation


def units() -> dict[str, ConfigParser]:
    """The unit files of `docs/operations.md`, by their names."""
    found = {}
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for name, text in re.findall(r"^```ini\n# (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        found[name] = ConfigParser(strict=False)
        found[name].optionxform = str  # type: ignore[assignment,method-assign]
        found[name].read_string(text)
    return found


def test_the_documented_service_is_waited_for_and_has_time_to_stop() -> None:
    service = units()["rr-py-ws.service"]["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].split()[1:] == ["serve", "-c", ".rr.yaml"]
    assert int(service["TimeoutStopSec"]) > Endure().grace_period


def test_the_documented_sockets_are_those_of_the_documented_configuration(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "configuration.md").read_text()
    file = tmp_path / ".rr.yaml"
    file.write_text(re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0])
    config = load_config(str(file), environ={})
    assert config.http and config.rpc_listen
    text = (root / "docs" / "operations.md").read_text()
    streams = re.findall(r"^# (\S+)\nListenStream=(\S+)$", text, re.MULTILINE)
    assert streams == [
        ("http.address", config.http.address),
        ("rpc.listen", config.rpc_listen.removeprefix("tcp://")),
    ]
    assert units()["rr-py-ws.socket"].sections() == ["Socket", "Install"]


def test_the_documented_names_are_those_that_exist() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    [names] = re.findall(r"`FileDescriptorName=`: (.*?);", text, re.DOTALL)
    assert re.findall(r"`(\w+)`", names) == list(LISTENERS)
