"""What a start needs of files, accounts and programs: looked at once, before the event loop runs.

`serve` and `check` both go by it, so that the two never disagree. And whatever a file, a directory service or
a terminal makes one wait for, here a signal still ends the process, and no client waits with it.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rr_py_ws import config, logs
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.http import server_context
from rr_py_ws.adapters.net.accounts import acting_as, find_account
from rr_py_ws.adapters.net.listen import bound_address, listen, remove_socket_file
from rr_py_ws.adapters.php.process import find_program
from rr_py_ws.address import Address, TCPAddress, UnixAddress, parse_dsn, parse_host_port
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ports import Broker
from rr_py_ws.errors import ConfigError, WorkerStartError, all_of
from rr_py_ws.masking import command_line

_PHP_OPTIONS = ("-d", "--define", "-c", "--php-ini", "-z", "--zend-extension", "-f", "--file")
"""PHP's options whose value is the next argument."""
_PHP_CODE = ("-r", "--run", "-f", "--file", "-S", "--server", "-m", "-i")
"""Those with which no script follows, or not as an argument of its own."""
_PHP = re.compile(r"php[0-9.]*")
"""PHP itself, which takes the first argument for a script whatever it is called (`artisan`)."""
_LONGEST_SOCKET_PATH = 107
"""Bytes; the kernel's `sun_path` without its NUL."""


@dataclass(slots=True)
class Preparation:
    """What the server is made of.

    Attributes:
        brokers: one for each section of `broadcast` that is served.
        https: certificate and key of `http.ssl`; None without TLS.
        problems: what keeps the server from starting; then the rest may be incomplete.
        unset: see `Config`.
    """

    brokers: dict[str, Broker] = field(default_factory=dict)
    https: ssl.SSLContext | None = None
    problems: list[ConfigError] = field(default_factory=list)
    unset: Mapping[str, str] = field(default_factory=dict)

    def expect_no_problem(self) -> None:
        """Refuse to start.

        Raises:
            ConfigError: the problems.
        """
        if self.problems:
            raise all_of(self.problems)

    def add(self, errors: Iterable[ConfigError]) -> None:
        """Add errors to the problems, one for each key, and none that follows from what is known."""
        for error in errors:
            known = {problem.key for problem in self.problems}
            if error.key not in known and not config.follows_from(error, self.problems):
                self.problems.append(config.with_cause(error, self.unset))

    def has_problem(self, start: str) -> bool:
        """Whether there is a problem with a key that begins so."""
        return any(problem.key.startswith(start) for problem in self.problems)

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Add the errors of the block to the problems."""
        try:
            yield
        except ConfigError as error:
            self.add(error.errors)


def prepare(loaded: config.Config, errors: Iterable[ConfigError] = ()) -> Preparation:
    """Try everything that a start takes but the addresses.

    Args:
        loaded: the configuration.
        errors: what was wrong in it, and is left out.
    """
    prepared = Preparation(problems=list(errors), unset=loaded.unset)
    prepared.add(list(config.problems(loaded)))
    # Of files that are known to be wrong nothing is tried: to open a pipe waits for somebody who writes.
    for name, section in loaded.served_brokers.items():
        if not prepared.has_problem(f"{section.key}.tls."):
            with prepared.trying():
                prepared.brokers[name] = _broker(loaded, name, section)
    if (tls := loaded.tls) is not None and not prepared.has_problem("http.ssl."):
        with prepared.trying():
            prepared.https = server_context(tls)
    if loaded.starts_workers and loaded.server is not None and loaded.server.command:
        with prepared.trying():
            _find_programs(loaded.server)
    if loaded.serves_pages and loaded.server and loaded.http and loaded.http.pool.command:
        with prepared.trying():
            command = loaded.http.pool.command
            _find_programs(loaded.server.model_copy(update={"command": command}), "http.pool.command")
    with prepared.trying():
        logs.try_outputs(loaded.logs)
    for key, text in _addresses(loaded):
        with prepared.trying():
            _look_at_socket_file(loaded, key, text)
    prepared.add(_shared_addresses(loaded))
    for problem in prepared.problems:
        problem.place = problem.place or config.place_of(loaded.places, problem.key)
    prepared.problems.sort(key=lambda problem: problem.place.order if problem.place else ("", 0))
    return prepared


def try_addresses(loaded: config.Config) -> list[ConfigError]:
    """Listen on all addresses together for a moment; a server that runs already is in the way.

    Returns:
        What cannot be listened on, and why; without what `prepare` finds.
    """
    problems = []
    held: list[socket.socket] = []
    known = {problem.key for problem in _shared_addresses(loaded)}
    for key, text in _addresses(loaded):
        try:
            if key not in known:
                held += asyncio.run(listen(_parse(text), key))
        except ConfigError as error:
            error.place = config.place_of(loaded.places, key)
            problems.append(error)
    for listening in held:
        address = bound_address(listening)
        if isinstance(address, UnixAddress):
            remove_socket_file(address.path, Path(address.path).stat())
        listening.close()
    return problems


def _addresses(loaded: config.Config) -> Iterator[tuple[str, str]]:
    """Key and address, `host:port` or a DSN, of everything that the server listens on."""
    own = loaded.websockets
    if own and own.address:
        yield "websockets.address", own.address
    elif own and loaded.http and loaded.http.address:
        yield "http.address", loaded.http.address
    if loaded.tls:
        yield "http.ssl.address", loaded.tls.address
    if loaded.rpc_listen:
        extension = own and own.rpc and own.rpc.listen
        yield "websockets.rpc.listen" if extension else "rpc.listen", loaded.rpc_listen
    if address := loaded.metrics_address:
        yield "websockets.metrics.address" if own and own.metrics else "metrics.address", address
    if address := loaded.status_address:
        yield "websockets.status.address" if own and own.status else "status.address", address
    if loaded.starts_workers and loaded.server and loaded.server.relay != "pipes":
        yield "server.relay", loaded.server.relay


def _parse(text: str) -> Address:
    return parse_dsn(text) if "://" in text else parse_host_port(text)


def _shared_addresses(loaded: config.Config) -> Iterator[ConfigError]:
    """Find addresses that cannot be listened on because another key of the file has them."""
    before: list[tuple[str, Address]] = []
    for key, text in _addresses(loaded):
        address = _parse(text)
        if other := next((name for name, known in before if _overlap(known, address)), ""):
            yield ConfigError(key, f"cannot listen on {text}: {other} has this address, too")
        before.append((key, address))


def _overlap(one: Address, other: Address) -> bool:
    """Whether two addresses are surely one for the system; names are not looked up."""
    if not isinstance(one, TCPAddress) or not isinstance(other, TCPAddress):
        return one == other
    if one.port != other.port or not one.port:
        return False
    hosts = {one.host or "0.0.0.0", other.host or "0.0.0.0"}
    if len(hosts) == 1 or "::" in hosts:
        return True
    return "0.0.0.0" in hosts and not any(":" in host for host in hosts)


def find_advice(prepared: Preparation) -> list[config.Finding]:
    """Ask Redis whether it lets us in, and what it lacks for histories."""
    from rr_py_ws.adapters.brokers.redis import RedisBroker

    brokers = [broker for broker in prepared.brokers.values() if isinstance(broker, RedisBroker)]

    async def ask() -> list[list[str]]:
        return await asyncio.gather(*(broker.give_advice() for broker in brokers))

    found = [text for texts in asyncio.run(ask()) for text in texts] if brokers else []
    return [config.Finding("broadcast", "warning", text) for text in dict.fromkeys(found)]


def _broker(loaded: config.Config, name: str, section: config.BrokerSection) -> Broker:
    rules, budget = HistoryRules(loaded.settings.history), loaded.settings.limits.history_memory
    if section.driver == "redis":
        from rr_py_ws.adapters.brokers.redis import RedisBroker

        options = config.redis_options(name, section)
        return RedisBroker(name, options, section.key, rules=rules, budget=budget)
    return MemoryBroker(rules, budget, name)


def _find_programs(server: config.Server, key: str = "server.command") -> None:
    command, user = server.command, server.user
    if server.on_init is not None:  # which may install what is missing
        if not server.on_init.exit_on_error or not server.on_init.command:
            return
        key, command, user = "server.on_init", server.on_init.command, server.on_init.user
    if problem := _program_problem(command, user):
        raise ConfigError(key, f"cannot start {command_line(command)!r}: {problem}")


def _program_problem(command: Sequence[str], user: str) -> str:
    """Say why a program cannot be started by an account; nothing when that cannot be told."""
    try:
        program = find_program(command, user)[1]
    except WorkerStartError as error:
        return str(error)
    script = _php_script(command)
    if script and (problem := config.missing(Path.cwd(), script)):
        return f"{script!r} {problem}"
    account = find_account(user) if user else None
    with acting_as(account) if account else nullcontext():
        if not os.access(program, os.X_OK, effective_ids=True):
            return f"{user} (key user) may not execute {program!r}"
        if script and not os.access(script, os.R_OK, effective_ids=True):
            return f"{user or 'this account'} may not read {script!r}"
    return ""


def _php_script(command: Sequence[str]) -> str:
    """Return the script that PHP would run; nothing when that cannot be told from the command."""
    program, *arguments = command
    if not Path(program).name.startswith("php"):
        return ""
    is_php = _PHP.fullmatch(Path(program).name)
    before = program
    for argument in arguments:
        if not argument.startswith("-") and before not in _PHP_OPTIONS:
            return argument if is_php or argument.endswith(".php") else ""
        if argument in _PHP_CODE:
            return ""
        before = argument
    return ""


def _look_at_socket_file(loaded: config.Config, key: str, text: str) -> None:
    """See whether a socket file can be made; the directory of the relay may be made by `on_init`."""
    if "://" not in text or not isinstance(address := parse_dsn(text), UnixAddress):
        return
    path = Path(os.path.realpath(address.path))
    problem = ""
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        problem = f"the path is longer than {_LONGEST_SOCKET_PATH} bytes"
    elif key == "server.relay" and loaded.server and loaded.server.on_init:
        pass
    elif not os.path.isdir(path.parent):  # noqa: PTH112  never raises, whatever the path is
        problem = f"there is no directory {Path(address.path).parent}"
    elif not os.path.exists(path):  # noqa: PTH110  the same
        if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            problem = f"this account may not make files in {path.parent}"
    elif not path.is_socket():  # a socket may be one of systemd's, which is not made here
        problem = "the file exists and is not a socket"
    if problem:
        raise ConfigError(key, f"cannot listen on {text}: {problem}")
