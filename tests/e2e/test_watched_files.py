"""The section `reload`: real PHP workers are others when a file of their program changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.php import REPOSITORY
from support.process import Servers
from support.waiting import eventually_sync

WORKER = REPOSITORY / "tests" / "e2e" / "workers" / "ok.php"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A directory with the worker in it."""
    directory = tmp_path / "src"
    directory.mkdir()
    source = WORKER.read_text().replace("__DIR__", f"'{WORKER.parent}'")
    (directory / "worker.php").write_text(source)
    shutil.copymode(WORKER, directory / "worker.php")
    return directory


def test_workers_are_replaced_when_a_file_changes(servers: Servers, program: Path) -> None:
    services = {"websockets": {"dirs": [str(program)], "recursive": True}, "jobs": {"dirs": ["gone"]}}
    server = servers.start(
        "ok.php",
        server={"command": f"php {program / 'worker.php'}"},
        websockets={"pool": {"num_workers": 2}},
        reload={"services": services},
    )

    def pids() -> set[int]:
        workers = json.loads(server.call("informer.Workers", '"websockets"'))["workers"]
        return {worker["pid"] for worker in workers}

    before = pids()
    assert len(before) == 2
    server.log.wait_for("files are watched")
    (program / "model.php").write_text("<?php")
    server.log.wait_for("files have changed, workers were replaced")
    eventually_sync(lambda: len(pids()) == 2 and not pids() & before, "other workers")

    # A mistake leaves the workers that there are.
    server.tolerated.append("but the old workers stay")
    now, source = pids(), (program / "worker.php").read_text()
    (program / "worker.php").write_text("<?php this is no PHP")
    line = server.log.wait_for("files have changed, but the old workers stay")
    assert json.loads(line)["pool"] == "websockets"
    eventually_sync(lambda: pids() == now, "those that could not be started to be gone")
    since = len(server.log)
    (program / "worker.php").write_text(source)
    server.log.wait_for("files have changed, workers were replaced", since=since)
    eventually_sync(lambda: not pids() & now, "the old workers to have ended")
