"""PHP workers: processes that answer who may connect and join.

::

    if server.on_init:
        await run_on_init(server.on_init)
    factory = WorkerFactory(server, rpc_address=lambda: rpc.address, broadcast_path=websockets.path)
    pool = WorkerPool(factory, websockets.pool)
    await pool.start()
    authorizer = PHPAuthorizer(pool, websockets.authorize_timeout)
    ...
    await pool.stop()
"""

from __future__ import annotations

from rr_py_ws.adapters.php.authorizer import PHPAuthorizer
from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.on_init import run_on_init
from rr_py_ws.adapters.php.pool import WorkerPool

__all__ = ["PHPAuthorizer", "WorkerFactory", "WorkerPool", "run_on_init"]
