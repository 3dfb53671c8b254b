"""How PHP workers are started, and how many there are: `server`, and the section `pool` of a plugin."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BeforeValidator, Field

from rr_py_ws import masking
from rr_py_ws.config import addresses, values
from rr_py_ws.config.section import Count, Duration, Environment, Flag, RRSection, Text, decoded

Command = Annotated[tuple[str, ...], BeforeValidator(values.command)]
"""Program and arguments; built by hand it may be one text, as in a file."""


def cpu_count() -> int:
    """Return the number of processors that this process may run on, as Go counts them."""
    # A container may be bound to some of the machine's processors.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnInit(RRSection):
    """`server.on_init`: one command that runs before the workers.

    Attributes:
        exit_on_error: whether its failure ends the start; RoadRunner has it from 2023.3 on.
    """

    command: Command = ()
    exec_timeout: Duration = 60.0
    env: Environment = Field(default_factory=dict)
    user: Text = ""
    exit_on_error: Flag = False


class Server(RRSection):
    """`server`: how a PHP worker is started."""

    command: Command = ()
    user: Text = ""
    group: Text = ""
    env: Environment = Field(default_factory=dict)
    relay: Annotated[str, decoded(addresses.relay)] = "pipes"
    relay_timeout: Duration = 60.0
    on_init: OnInit | None = None

    @property
    def command_line(self) -> str:
        """The command as one text, for people, without its secrets."""
        return masking.command_line(self.command)


class Supervisor(RRSection):
    """`supervisor` of a pool: limits of a worker's life; 0 is no limit.

    Attributes:
        watch_tick: seconds between two looks at the workers.
        ttl: age in seconds at which a worker is replaced.
        idle_ttl: idle seconds after which a worker is replaced.
        exec_ttl: seconds of one request, after which the worker is killed.
        max_worker_memory: MiB over which a worker is replaced.
    """

    watch_tick: Duration = 1.0
    ttl: Duration = 0.0
    idle_ttl: Duration = 0.0
    exec_ttl: Duration = 0.0
    max_worker_memory: Count = 0


class Pool(RRSection):
    """`websockets.pool`: the workers that decide who may connect and join; `http.pool` has the same keys.

    Attributes:
        max_jobs: answers of a worker before it is replaced; 0 is no limit.
        allocate_timeout: seconds that a worker may take to start, and a request may wait for a free worker.
        destroy_timeout: seconds that the workers may take to stop.
        debug: a fresh worker for each request.
    """

    num_workers: Count = Field(default_factory=cpu_count)
    max_jobs: Count = 0
    allocate_timeout: Duration = 60.0
    destroy_timeout: Duration = 60.0
    debug: Flag = False
    supervisor: Supervisor | None = None
