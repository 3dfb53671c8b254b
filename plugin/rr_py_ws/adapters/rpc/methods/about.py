"""RPC service `rpc`: the version and the configuration of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rr_py_ws.adapters.rpc.registry import Handler
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.values import decode_argument, encode_result


class About:
    """Service `rpc`, as in RoadRunner 2.12 and newer.

    Args:
        version: what `rpc.Version` answers.
        config: returns the configuration as JSON, without secrets.
    """

    def __init__(self, version: str, config: Callable[[], bytes]) -> None:
        self._version = version
        self._config = config

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"Version": self.version, "Config": self.config}

    def version(self, codec: Flag, body: bytes) -> bytes:
        """Answer the version, a string; the argument, a bool, is not used."""
        decode_argument(codec, body, bool)
        return encode_result(codec, self._version)

    def config(self, codec: Flag, body: bytes) -> bytes:
        """Answer the configuration as bytes: base64 text in JSON; the argument, a bool, is not used."""
        decode_argument(codec, body, bool)
        return encode_result(codec, self._config())
