"""`server.on_init`: one command that runs before the workers."""

from __future__ import annotations

import os
import subprocess

from rr_py_ws.adapters.php.process import Command, Process
from rr_py_ws.config import OnInit
from rr_py_ws.errors import WorkerStartError
from rr_py_ws.logs import get_logger

log = get_logger("server")


async def run_on_init(config: OnInit) -> None:
    """Run the command and wait for its end; it is killed after `exec_timeout`, or when this is cancelled.

    What it prints is logged. A failure is logged and does no harm, as in RoadRunner. The server's own
    environment wins over `env`.
    """
    env = {name.upper(): value for name, value in config.env.items()} | dict(os.environ)
    command = Command(config.command, env, config.user)
    try:
        process = Process.start(command, stdin=subprocess.DEVNULL, stdout=None)
    except WorkerStartError as error:
        log.error("server.on_init cannot be run", command=config.command, reason=error)
        return
    try:
        code = await process.wait(config.exec_timeout)
        if code is None:
            log.error("server.on_init took too long and is killed", exec_timeout=config.exec_timeout)
        elif code != 0:
            log.error("server.on_init failed", command=config.command, reason=process.describe_end())
    finally:
        process.kill()
        await process.wait()
        process.output.close()
