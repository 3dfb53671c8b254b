"""The fixtures of the PHP pool: its workers are what the PHP authorizer asks."""

from __future__ import annotations

from adapters.php.conftest import gate, log, pytest_asyncio_loop_factories, start

__all__ = ["gate", "log", "pytest_asyncio_loop_factories", "start"]
