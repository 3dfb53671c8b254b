"""A server with an idle and a busy worker; prints their process ids and waits to be killed."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from support.php_pool import ask, make_pool, pids
from support.waiting import eventually


async def main(relay: str) -> None:
    pool = make_pool(workers=2, server={"relay": relay})
    await pool.start()
    busy = asyncio.ensure_future(ask(pool, "do=sleep&ms=600000"))
    await eventually(lambda: any(state.status_text == "working" for state in pool.states()))
    sys.stdout.write(" ".join(map(str, pids(pool))) + "\n")
    sys.stdout.flush()
    await busy


uvloop.run(main(sys.argv[1]))
