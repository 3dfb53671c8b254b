"""The PHP workers of a server, for configurations that have anything for them to do.

There are two pools: those that answer requests for pages are others than those that decide, so that a slow
page never delays a handshake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rr_py_ws import config
from rr_py_ws.adapters.auth.php import PHPAuthorizer
from rr_py_ws.adapters.net.listen import expect_free
from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.pool import WorkerPool
from rr_py_ws.adapters.php.process import run_on_init
from rr_py_ws.adapters.php.relay import SharedRelay
from rr_py_ws.address import parse_dsn
from rr_py_ws.metrics import Labelled, MetricSource


class Workers:
    """Both pools, and what they share.

    Args:
        loaded: the configuration, with `starts_workers`.
        rpc_address: returns where workers publish.

    Attributes:
        deciding: decide who may connect and join; None when nobody asks PHP.
        pages: answer all other requests; None when nobody asks them.
        authorizer: asks `deciding`; None without it.
    """

    def __init__(self, loaded: config.Config, rpc_address: Callable[[], str]) -> None:
        assert loaded.server is not None  # `prepare`
        section = loaded.settings
        self._server = server = loaded.server
        self._rpc_address = rpc_address
        self._path = section.path
        self._budget = OutputBudget(section.limits.worker_output_lines)
        self._relay = SharedRelay(server, self._budget)
        self.deciding: WorkerPool | None = None
        self.pages: WorkerPool | None = None
        self.authorizer: PHPAuthorizer | None = None
        if loaded.asks_php:
            self.deciding = WorkerPool(self._factory(server, section.limits.worker_answer), section.pool)
            self.authorizer = PHPAuthorizer(
                self.deciding, section.authorize_timeout, allow_commas=section.allow_commas
            )
        if loaded.serves_pages:
            assert loaded.http is not None
            pool = loaded.http.pool
            if pool.command:
                server = server.model_copy(update={"command": pool.command})
            self.pages = WorkerPool(self._factory(server, section.limits.page_answer), pool)

    @property
    def pools(self) -> dict[str, WorkerPool]:
        """Plugin name -> its workers."""
        found = {"websockets": self.deciding, "http": self.pages}
        return {name: pool for name, pool in found.items() if pool is not None}

    def metric_sources(self) -> Iterator[MetricSource]:
        """Yield the parts that have something to tell."""
        yield self._budget
        for name, pool in self.pools.items():
            yield Labelled(pool, "pool", name)

    async def start(self) -> None:
        """Run `on_init`, then start the workers.

        Raises:
            RRWSError: something cannot start.
        """
        server = self._server
        if server.on_init is not None:
            if server.relay != "pipes":
                await expect_free(parse_dsn(server.relay), "server.relay")
            await run_on_init(server.on_init, self._budget)
        for pool in self.pools.values():
            await pool.start()

    def reload(self, section: config.WebSockets) -> None:
        """Take other limits."""
        self._budget.lines = section.limits.worker_output_lines
        if self.authorizer is not None:
            self.authorizer.reload(section.authorize_timeout, allow_commas=section.allow_commas)
        if self.deciding is not None:
            self.deciding.limit_answers(section.limits.worker_answer)
        if self.pages is not None:
            self.pages.limit_answers(section.limits.page_answer)

    def _factory(self, server: config.Server, max_answer: int) -> WorkerFactory:
        return WorkerFactory(
            server,
            rpc_address=self._rpc_address,
            broadcast_path=self._path,
            budget=self._budget,
            max_answer=max_answer,
            relay=self._relay,
        )
