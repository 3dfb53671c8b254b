"""RPC service `status`: health and readiness of a plugin."""

from __future__ import annotations

from collections.abc import Mapping

from rr_py_ws.adapters.rpc.registry import Handler
from rr_py_ws.core.ports import Probe
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.values import decode_argument, encode_result

_YES, _NO = 200, 503


class Status:
    """Service `status` (roadrunner-server/status rpc.go @v2.15.3). Each answer is a map with one key, `Code`.

    Args:
        probes: plugin name -> whom to ask.
    """

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"Status": self.status, "Ready": self.ready}

    def status(self, codec: Flag, body: bytes) -> bytes:
        """Tell whether the plugin that the argument names works.

        Raises:
            RPCError: there is no such plugin.
        """
        return _answer(codec, self._probe(codec, body, "status").healthy())

    def ready(self, codec: Flag, body: bytes) -> bytes:
        """Tell whether the plugin that the argument names can be used now.

        Raises:
            RPCError: there is no such plugin.
        """
        return _answer(codec, self._probe(codec, body, "ready").ready())

    def _probe(self, codec: Flag, body: bytes, question: str) -> Probe:
        name = decode_argument(codec, body, str)
        probe = self._probes.get(name)
        if probe is None:
            raise RPCError(f"checker_rpc_{question}:\n\tchecker_plugin_{question}: no such plugin: {name}")
        return probe


def _answer(codec: Flag, yes: bool) -> bytes:
    return encode_result(codec, {"Code": _YES if yes else _NO})
