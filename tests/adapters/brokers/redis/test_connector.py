"""TLS, ACL users, databases, unix sockets: everything before the first command of ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rr_py_ws.config import RedisTLS
from rr_py_ws.errors import BrokerError, ConfigError
from support.broker_node import Node
from support.ports import free_port
from support.redis_nodes import Start, make_broker
from support.redis_servers import RedisServer


async def works(node: Node) -> None:
    assert node.broker.ready
    await node.subscribe("a")
    await node.publish("a", b"1")
    assert await node.receive_all() == [("a", b"1")]


async def why_not(node: Node) -> str:
    """Why there is no connection."""
    with pytest.raises(BrokerError) as caught:
        node.send("a", b"1")
    return str(caught.value)


class Certificates:
    """An authority, a server's certificate for the name `redis.test`, and one for a client."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        self._openssl(f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca")
        for name, subject in (("server", "redis.test"), ("client", "node")):
            (directory / "san").write_text(f"subjectAltName=DNS:{subject}")
            self._openssl(f"req {key} -keyout {name}.key -out {name}.csr -subj /CN={subject}")
            sign = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile san"
            self._openssl(f"x509 -req -in {name}.csr {sign} -out {name}.pem")

    def _openssl(self, arguments: str) -> None:
        command = ["openssl", *arguments.split()]
        subprocess.run(command, cwd=self._directory, check=True, capture_output=True)

    def __getitem__(self, name: str) -> str:
        return str(self._directory / name)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that speaks TLS only, and takes clients with and without a certificate."""
    server = RedisServer(
        tmp_path_factory.mktemp("secure"),
        *("--port", "0", "--tls-auth-clients", "optional"),
        *("--tls-cert-file", certificates["server.pem"], "--tls-key-file", certificates["server.key"]),
        *("--tls-ca-cert-file", certificates["ca.pem"]),
    )
    server.command += ["--tls-port", str(server.port)]
    with closing(server):
        server.start()
        yield server


class TestTLS:
    async def test_with_an_authority_and_a_name(
        self, secure: RedisServer, certificates: Certificates, start: Start
    ) -> None:
        tls = RedisTLS(ca=certificates["ca.pem"], server_name="redis.test")
        await works(await start(secure.address, tls=tls))

    async def test_with_a_certificate_of_our_own(
        self, secure: RedisServer, certificates: Certificates, start: Start
    ) -> None:
        tls = RedisTLS(
            ca=certificates["ca.pem"],
            cert=certificates["client.pem"],
            key=certificates["client.key"],
            server_name="redis.test",
        )
        await works(await start(secure.address, tls=tls))

    async def test_a_certificate_for_another_name_is_not_accepted(
        self, secure: RedisServer, certificates: Certificates, start: Start
    ) -> None:
        node = await start(secure.address, tls=RedisTLS(ca=certificates["ca.pem"]))
        assert "its certificate is not accepted: IP address mismatch" in await why_not(node)

    async def test_an_unknown_authority_is_not_accepted(self, secure: RedisServer, start: Start) -> None:
        node = await start(secure.address, tls=RedisTLS(server_name="redis.test"))
        assert "its certificate is not accepted: self-signed certificate in" in await why_not(node)

    async def test_a_server_without_tls(self, redis: RedisServer, start: Start) -> None:
        node = await start(redis.address, tls=RedisTLS(), dial_timeout=0.2)
        assert f"redis at {redis.address}: no connection with TLS within 0.2 s" in await why_not(node)

    async def test_a_server_with_tls_for_a_section_without(self, secure: RedisServer, start: Start) -> None:
        node = await start(secure.address)
        assert "connection lost before the answer" in await why_not(node)

    def test_files_that_cannot_be_used_are_named(self, certificates: Certificates) -> None:
        text = certificates["san"]
        with pytest.raises(ConfigError, match=r"^broadcast\.default\.config\.tls\.ca: cannot use '.*/san': "):
            make_broker("a:1", tls=RedisTLS(ca=text))
        with pytest.raises(
            ConfigError, match=r"^broadcast\.default\.config\.tls\.cert: cannot use '.*/san' with"
        ):
            make_broker("a:1", tls=RedisTLS(cert=text, key=text))


class TestLogin:
    async def test_an_acl_user_with_no_more_rights_than_needed(self, own: RedisServer, start: Start) -> None:
        rights = ("on", ">p", "resetchannels", "&*", "+publish", "+subscribe", "+unsubscribe")
        own.ask("ACL", "SETUSER", "app", *rights)
        await works(await start(own.address, username="app", password="p"))

    async def test_a_password_without_a_user_is_that_of_the_default_user(
        self, own: RedisServer, start: Start
    ) -> None:
        own.ask("CONFIG", "SET", "requirepass", "secret")
        await works(await start(own.address, password="secret"))

    async def test_a_user_without_a_password_is_ignored_as_by_roadrunner(
        self, own: RedisServer, start: Start
    ) -> None:
        await works(await start(own.address, username="nobody"))

    async def test_an_unknown_user(self, own: RedisServer, start: Start) -> None:
        assert "WRONGPASS" in await why_not(await start(own.address, username="nobody", password="p"))


class TestDatabase:
    async def test_is_selected_and_channels_are_the_same_in_all(self, own: RedisServer, start: Start) -> None:
        node, other = await start(own.address, db=3), await start(own.address)
        assert own.ask("CLIENT", "LIST").count(" db=3 ") == 2
        await other.subscribe("a")
        await node.publish("a", b"1")
        assert await other.wait_received(1) == [("a", b"1")]

    async def test_that_does_not_exist(self, own: RedisServer, start: Start) -> None:
        assert "ERR DB index is out of range" in await why_not(await start(own.address, db=99))


class TestUnixSocket:
    async def test_that_does_not_exist(self, tmp_path: Path, start: Start) -> None:
        path = tmp_path / "redis.sock"
        assert f"redis at {path}: No such file or directory" in await why_not(await start(str(path)))


async def test_the_connections_have_a_name(own: RedisServer, start: Start) -> None:
    await start(own.address)
    assert own.ask("CLIENT", "LIST").count(" name=rr-py-ws ") == 2


async def test_ipv6(own: RedisServer, start: Start) -> None:
    node = await start(f"[::1]:{free_port()}")
    assert "redis at [::1]:" in await why_not(node)
