"""Proxies in front of a server: programs of Debian, run in a directory of a test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import DEADLINE

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where Debian has programs; not everybody's PATH has those of the system."""


def nginx(directory: Path, text: str) -> list[str]:
    (directory / "app.conf").write_text(text)
    (directory / "nginx.conf").write_text(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;\n"
        "events { worker_connections 64; }\n"
        "http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;"
        " uwsgi_temp_path uwsgi; scgi_temp_path scgi; include app.conf; }\n"
    )
    return ["nginx", "-p", str(directory), "-e", "stderr", "-c", "nginx.conf"]


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[None]:
    environment = {"PATH": PATH, "HOME": str(directory)}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE)
        print((directory / "log").read_text())  # noqa: T201  # shown when the test has failed
