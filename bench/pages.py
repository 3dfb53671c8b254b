"""Pages that PHP makes, and files: our port, and nginx with php-fpm where both are installed.

PHP answers `hello`, in as many workers. Its own CPU time is another line: with us PHP is started once, and in
php-fpm for each request.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.generator import HOST
from bench.http import Requests
from bench.measure import Effort, Line, Scenario, Start
from bench.servers import Server, free_port, php_client, scratch, start_ours

_WORKERS = 2
_CONNECTIONS = (1, 8, 64)
_PER_SECOND = 1000
_FILE = 10 * 1024
_REQUEST = (
    b"GET /%s HTTP/1.1\r\nHost: app.test\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    b"Cookie: sid=abcdef0123456789\r\n\r\n"
)
_WORKER = """<?php
require '{client}/autoload.php';
RRPyWs\\Worker::create()->serve(
    connect: fn () => true,
    join: fn () => true,
    page: fn () => new RRPyWs\\Response(200, ['Content-Type' => 'text/plain'], 'hello'),
);
"""
_PAGE = "<?php header('Content-Type: text/plain'); header('Content-Length: 5'); echo 'hello';"
_NGINX = """
daemon off; worker_processes {workers}; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off; keepalive_requests 1000000; types {{ text/css css; }}
    client_body_temp_path {directory}/body; fastcgi_temp_path {directory}/fastcgi;
    proxy_temp_path {directory}/proxy; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen {host}:{port};
        root {directory}/public;
        location / {{ try_files $uri @php; }}
        location @php {{
            fastcgi_pass {host}:{fpm}; include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {directory}/page.php;
        }}
    }}
}}
"""
_FPM = """
[global]
error_log = {directory}/fpm.log
[www]
listen = {host}:{fpm}
pm = static
pm.max_children = {workers}
"""


class _Cost(NamedTuple):
    """What a request costs: microseconds of CPU time of the server and of PHP; requests in a second."""

    server: float
    php: float
    rate: float


class _Ours:
    """Our server, whose children are PHP's."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.port = server.ws_port

    def cpu(self) -> tuple[int, int]:
        own = self._server.own_cpu()
        return own, self._server.cpu() - own


class _Nginx:
    """nginx, and php-fpm behind it."""

    def __init__(self, nginx: Server, fpm: Server) -> None:
        self._nginx, self._fpm = nginx, fpm
        self.port = nginx.ws_port

    def cpu(self) -> tuple[int, int]:
        return self._nginx.cpu(), self._fpm.cpu()


async def pages(_: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """A page and a file, each over few and many connections."""
    with scratch() as directory, ExitStack() as running:
        sites: list[_Ours | _Nginx] = [running.enter_context(_ours(directory))]
        if (fpm := _find_fpm()) and shutil.which("nginx"):
            sites.append(running.enter_context(_nginx(directory, fpm)))
        else:
            print("nginx or php-fpm is not there: measuring pages of ours only.", file=sys.stderr)
        for what, path, most in (("page", b"hello", 250.0), ("10 KB file", b"file.css", 150.0)):
            for connections in _CONNECTIONS:
                request = _REQUEST % path
                server = Line(f"{what}, {connections} connections; nginx", "us", most=most)
                php, rate = Line("- of PHP; php-fpm", "us"), Line("- requests", "/s")
                for number in range(effort.rounds + 1):
                    costs = [await _cost(site, request, connections, effort.seconds) for site in sites]
                    if number:  # the first ones are dearer
                        server.add([cost.server for cost in costs])
                        php.add([cost.php for cost in costs])
                        rate.add([cost.rate for cost in costs])
                yield server
                if path == b"hello":
                    yield php
                yield rate


async def _cost(site: _Ours | _Nginx, request: bytes, connections: int, seconds: float) -> _Cost:
    count = max(int(seconds * _PER_SECOND), connections)
    before, began = site.cpu(), time.monotonic()
    await Requests(request, count).send(site.port, connections)
    after, ended = site.cpu(), time.monotonic()
    server, php = (end - begin for begin, end in zip(before, after, strict=True))
    return _Cost(server / 1e3 / count, php / 1e3 / count, count / (ended - began))


@contextmanager
def _ours(directory: Path) -> Iterator[_Ours]:
    public = directory / "public"
    public.mkdir()
    (public / "file.css").write_bytes(b"x" * _FILE)
    worker = directory / "worker.php"
    worker.write_text(_WORKER.format(client=php_client()))
    pages = {
        "pool": {"num_workers": _WORKERS},
        "middleware": ["static"],
        "static": {"dir": str(public), "forbid": [".php"]},
    }
    with start_ours(directory, server={"command": f"php {worker}"}, http=pages) as server:
        yield _Ours(server)


@contextmanager
def _nginx(directory: Path, fpm: str) -> Iterator[_Nginx]:
    port, behind = free_port(), free_port()
    names = {"host": HOST, "port": port, "fpm": behind, "workers": _WORKERS}
    (directory / "page.php").write_text(_PAGE)
    for name, text in (("nginx.conf", _NGINX), ("fpm.conf", _FPM)):
        (directory / name).write_text(text.format(directory=directory, **names))
    php: list[str | Path] = [fpm, "--nodaemonize", "--fpm-config", directory / "fpm.conf"]
    web: list[str | Path] = ["nginx", "-c", directory / "nginx.conf"]
    if os.geteuid() == 0:  # both would change to another account, which may not read the directory
        php.append("--allow-to-run-as-root")
        (directory / "nginx.conf").write_text("user root;" + (directory / "nginx.conf").read_text())
        with (directory / "fpm.conf").open("a") as config:
            config.write("user = root\n")
    with (
        Server("php-fpm", php, behind, behind, directory / "php.log") as workers,
        Server("nginx", web, port, port, directory / "web.log") as server,
    ):
        yield _Nginx(server, workers)


def _find_fpm() -> str | None:
    """Debian's has the version in its name."""
    found = (path for place in ("/usr/sbin", "/usr/local/sbin") for path in Path(place).glob("php-fpm*"))
    return next(map(str, sorted(found, reverse=True)), None)


SCENARIOS: dict[str, Scenario] = {"pages": pages}
