"""PHP workers: processes that answer who may connect and join."""

from __future__ import annotations

from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.pool import WorkerPool
from rr_py_ws.adapters.php.process import run_on_init

__all__ = ["OutputBudget", "WorkerFactory", "WorkerPool", "run_on_init"]
