"""Real Redis servers for tests: alone, with replica and sentinels, a cluster; and what stands before them."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import hiredis

from rr_py_ws.adapters.brokers.redis.names import slot_of
from support.ports import free_port
from support.waiting import DEADLINE, callbacks_of_accepted, eventually_sync


class RedisServer:
    """One process. It keeps nothing on disk.

    Args:
        directory: for its log and its socket.
        arguments: more settings.
        sentinel: lines of the configuration of a sentinel; without, it is a server.

    Attributes:
        command: what is started.
    """

    def __init__(self, directory: Path, *arguments: str, sentinel: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        program = ["redis-server", "--save", "", "--appendonly", "no"]
        if sentinel:
            config = directory / f"{self.port}.conf"
            config.write_text("\n".join(sentinel))
            program = ["redis-sentinel", str(config)]
        self.command = [*program, "--port", str(self.port), "--bind", "127.0.0.1", *arguments]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        return self._directory / f"{self.port}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command, cwd=self._directory, stdout=log, stderr=log)
        eventually_sync(self._answers, f"start of {self.command}")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE):
            return True

    def ask(self, *command: str | int) -> Any:
        """Send a command over a connection of its own; return the reply, which may be an error.

        Raises:
            OSError: The server does not answer: it is down, closes its connections because it gets another
                role, or reads what its master has sent it.
        """
        with self.session() as ask:
            return ask(*command)

    @contextmanager
    def session(self) -> Iterator[Callable[..., Any]]:
        """A connection for several commands."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            reader = hiredis.Reader(encoding="utf-8")

            def ask(*command: str | int) -> Any:
                connection.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]
                while (reply := reader.gets()) is False:
                    data = connection.recv(65536)
                    if not data:
                        raise ConnectionError(f"{command}: closed")
                    reader.feed(data)
                if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("LOADING"):
                    raise ConnectionError(str(reply))
                return reply

            yield ask

    def clients(self, kind: str) -> int:
        """How many connections there are of a type: normal (without the one that asks), pubsub."""
        return str(self.ask("CLIENT", "LIST", "TYPE", kind)).count("name=rr-py-ws")

    def channels(self) -> list[str]:
        """What anybody is subscribed to, but for sentinels."""
        return sorted(name for name in self.ask("PUBSUB", "CHANNELS") if not name.startswith("__sentinel__"))

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is; the kernel goes on taking bytes for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


@contextmanager
def redis_server(directory: Path, *arguments: str) -> Iterator[RedisServer]:
    """A server that runs."""
    server = RedisServer(directory, *arguments)
    try:
        server.start()
        yield server
    finally:
        server.close()


_ARGUMENT = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Monitor:
    """What clients ask a server, from now on."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
        self._socket.sendall(b"MONITOR\r\n")
        self._buffer = b""
        while b"+OK\r\n" not in self._buffer:
            self._buffer += self._socket.recv(65536)
        self._buffer = b""

    def close(self) -> None:
        self._socket.close()

    def commands(self, *names: str) -> list[list[str]]:
        """All commands so far; with names, only these."""
        mark = f"mark {random.random()}"
        self._server.ask("ECHO", mark)
        while mark.encode() not in self._buffer:
            data = self._socket.recv(1 << 20)
            assert data
            self._buffer += data
        lines = self._buffer.decode().splitlines()
        asked = [found for line in lines if (found := _ARGUMENT.findall(line)) and found[0] != "ECHO"]
        return [command for command in asked if not names or command[0] in names]


class Sentinels:
    """A master called `main`, a replica, and sentinels that fail over within two seconds."""

    def __init__(self, stack: ExitStack, directory: Path, *arguments: str, password: str = "") -> None:
        self.servers = [
            RedisServer(directory, "--repl-diskless-sync-delay", "0", *arguments) for _ in range(2)
        ]
        for server in self.servers:
            stack.callback(server.close)
            server.start()
        self.servers[1].ask("REPLICAOF", "127.0.0.1", self.servers[0].port)
        eventually_sync(
            lambda: "slave0:ip=127.0.0.1" in self.servers[0].ask("INFO", "replication"), "the replica"
        )
        self.sentinels = [
            RedisServer(
                directory,
                sentinel=(
                    f"sentinel monitor main 127.0.0.1 {self.servers[0].port} 2",
                    f"sentinel down-after-milliseconds main {patience}",
                    "sentinel failover-timeout main 2000",
                ),
            )
            for patience in (500, 800, 800)  # alike, they may all want to lead, and wait for long
        ]
        for sentinel in self.sentinels:
            stack.callback(sentinel.close)
            sentinel.start()
        eventually_sync(lambda: all(map(self._sees_all, self.sentinels)), "sentinels that see each other")

    def _sees_all(self, sentinel: RedisServer) -> bool:
        fields = sentinel.ask("SENTINEL", "MASTER", "main")
        known = dict(zip(fields[::2], fields[1::2], strict=True))
        return (known["num-slaves"], known["num-other-sentinels"]) == ("1", "2")

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(sentinel.address for sentinel in self.sentinels)

    @property
    def master(self) -> RedisServer:
        """The one that the sentinels name."""
        port = int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])
        return next(server for server in self.servers if server.port == port)


class Cluster:
    """Three masters, three replicas; a node is taken for dead after a second."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.nodes: list[RedisServer] = []
        for number in range(6):
            place = directory / str(number)
            place.mkdir()
            node = RedisServer(
                place,
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
                *("--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", "0"),
            )
            self.nodes.append(node)
            stack.callback(node.close)
            node.start()
        made = subprocess.run(
            ["redis-cli", "--cluster", "create", *self.addresses, "--cluster-replicas", "1", "--cluster-yes"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout
        eventually_sync(lambda: all(self._is_whole(node) for node in self.nodes), "a cluster that is whole")

    def _is_whole(self, node: RedisServer) -> bool:
        info = node.ask("CLUSTER", "INFO")
        lines = node.ask("CLUSTER", "NODES").splitlines()
        replicas = sum("slave" in line.split()[2] for line in lines)
        return "cluster_state:ok" in info and (len(lines), replicas) == (6, 3)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(node.address for node in self.nodes)

    @property
    def alive(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.runs]

    def move(self, channel: str, to: RedisServer) -> None:
        """Give a channel's slot to another master."""
        slot, identity = slot_of(channel.encode()), to.ask("CLUSTER", "MYID")
        old = self.owner(channel, to).ask("CLUSTER", "MYID")
        # A node that imports a slot takes a new epoch with it. Without that, gossip of the old master may
        # take the slot back on the new one alone, and both say for a while that the other has it.
        assert to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", old) == "OK"
        for node in (to, *self.masters):
            assert node.ask("CLUSTER", "SETSLOT", slot, "NODE", identity) == "OK"

    @property
    def masters(self) -> list[RedisServer]:
        return [node for node in self.alive if "role:master" in node.ask("INFO", "replication")]

    def owner(self, channel: str, asked: RedisServer | None = None) -> RedisServer:
        """The master of a channel's slot, as one of the nodes says."""
        owner = self.find_owner(channel, asked)
        assert owner is not None, f"nobody has the slot of {channel}"
        return owner

    def find_owner(self, channel: str, asked: RedisServer | None = None) -> RedisServer | None:
        """The same; None while nobody has it."""
        slot = slot_of(channel.encode())
        for first, last, (_, port, *_), *_ in (asked or self.alive[0]).ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        return None


async def end_of(server: asyncio.Server, writers: Iterable[asyncio.StreamWriter]) -> None:
    """Take no more connections, and reset all that there are."""
    server.close()
    await callbacks_of_accepted()
    for writer in writers:
        writer.transport.abort()


class Proxy:
    """Stands between a broker and its server, and can fail as networks do.

    Attributes:
        address: where to connect.
        connections: how many were made so far.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.connections = 0
        self._swallowed = b""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._open.set()
        await end_of(self._server, self._writers)

    def divide(self) -> None:
        """Pass nothing on, as a network does in which a cable is pulled; nobody gets a reset."""
        self._open.clear()

    def lead_to(self, port: int) -> None:
        """Lead to another server from now on, as a name does that is given to it."""
        self._port = port
        self.cut()

    def swallow(self, sign: bytes) -> None:
        """Drop what servers send in one piece that holds this; nothing when it is empty."""
        self._swallowed = sign

    def heal(self) -> None:
        """Go on; what was sent meanwhile is passed on."""
        self._open.set()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._open.wait()
            to = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.add(to[1])
            with suppress(ConnectionError):
                await asyncio.gather(self._pass(reader, to[1]), self._pass(to[0], writer))
        except OSError:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                if self._swallowed and self._swallowed in data:
                    continue
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def resp(value: object) -> bytes:
    """A reply in Redis' protocol."""
    match value:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case str():
            return resp(value.encode())
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case list():
            return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    raise TypeError(value)


class ScriptedRedis:
    """A server that answers what the test says, and else like one that knows pub/sub only.

    Attributes:
        address: where to connect.
        says: command, or command and subcommand -> what is answered.
        asked: the commands so far.
    """

    def __init__(self) -> None:
        self.says: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._writers: dict[asyncio.StreamWriter, set[bytes]] = {}

    async def __aenter__(self) -> ScriptedRedis:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_of(self._server, self._writers)

    def close(self) -> None:
        """Reset all connections and take no more."""
        self._server.close()
        self.cut()

    @property
    def all_slots(self) -> bytes:
        """What the only master of a cluster answers to CLUSTER SLOTS."""
        host, port = self.address.split(":")
        return resp([[0, 16383, [host, int(port)]]])

    @property
    def channels(self) -> set[bytes]:
        """What anybody is subscribed to."""
        return set().union(*self._writers.values())

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def push(self, data: bytes) -> None:
        """Say something unasked to all that are subscribed."""
        for writer, channels in self._writers.items():
            if channels:
                writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = set()
        commands = hiredis.Reader()
        try:
            while data := await reader.read(65536):
                commands.feed(data)
                while command := commands.gets():
                    self._answer(writer, command)
        except ConnectionError:
            pass
        finally:
            del self._writers[writer]
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, command: list[bytes]) -> None:
        name, *arguments = command
        self.asked.append(name.decode())
        for words in (1, 2):
            answer = self.says.get(b" ".join(command[:words]).decode(errors="replace"))
            if answer is not None:
                writer.write(answer)
                return
        channels = self._writers[writer]
        if name.endswith(b"SUBSCRIBE"):
            for channel in arguments:
                (channels.discard if b"UN" in name else channels.add)(channel)
                writer.write(resp([name.lower(), channel, len(channels)]))
        elif name.endswith(b"PUBLISH"):
            kind = b"smessage" if name.startswith(b"S") else b"message"
            for listener, topics in self._writers.items():
                if arguments[0] in topics:
                    listener.write(resp([kind, *arguments]))
            writer.write(resp(1))
        else:
            pong = resp(["pong", ""]) if channels else b"+PONG\r\n"
            known = {
                b"PING": pong,
                b"HELLO": resp(["role", "master", "mode", "standalone"]),
                b"CLUSTER": resp([]) if arguments == [b"SLOTS"] else resp("cluster_state:ok"),
            }
            writer.write(known.get(name, b"+OK\r\n"))
