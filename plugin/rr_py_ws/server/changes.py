"""What becomes of each key of the file that has changed when the file is read again (SIGHUP).

The last column of the tables in docs/configuration.md says the same of every key.
"""

from __future__ import annotations

from typing import Literal

from rr_py_ws.config import Config

Effect = Literal["now", "new", "restart"]
"""It counts now, for connections, requests and workers that begin from now on, or after a restart."""

_NOW_LIMITS = (
    "max_connections max_connections_per_address max_handshakes handshakes_per_second handshake_wait "
    "max_head_size max_headers head_timeout keep_alive page_timeout max_refusal_size refusal_memory "
    "max_rpc_connections rpc_memory rpc_frame_timeout max_monitoring_connections page_memory "
    "worker_output_lines"
)
_NEW_LIMITS = (
    "max_message_size max_topics max_topics_per_command max_topic_length commands_per_second "
    "max_commands_waiting command_queue max_joins_waiting send_queue send_queue_grace send_queue_burst "
    "send_queue_policy recovery_messages recovery_topic_size recovery_size rpc_payload "
    "rpc_own_payload max_rpc_calls max_form max_form_fields page_answer worker_answer"
)
EFFECTS: dict[str, Effect] = {
    **{f"websockets.limits.{name}": "now" for name in _NOW_LIMITS.split()},
    **{f"websockets.limits.{name}": "new" for name in _NEW_LIMITS.split()},
    "websockets.limits": "restart",
    "websockets.allowed_origin": "new",
    "websockets.authorize_timeout": "new",
    "websockets.allow_commas": "now",
    "websockets.on_gap": "new",
    "websockets.ping": "now",
    "websockets.drain": "now",
    "websockets.compression": "new",
    "websockets.http.connect_timeout": "new",
    "websockets.http.response_timeout": "now",
    "websockets.http.max_tunnels": "now",
    "http.middleware": "new",
    "http.static": "new",
    "http.headers": "new",
    "http.max_request_size": "new",
    "http.internal_error_code": "now",
    "http.access_logs": "now",
    "http.raw_body": "new",
    "http.uploads": "new",
    "http.ssl.cert": "new",
    "http.ssl.key": "new",
    "http.ssl.root_ca": "new",
    "http.ssl.client_auth_type": "new",
    "http.ssl.redirect": "new",
    "logs.level": "now",
    "endure.grace_period": "now",
    "reload": "now",
}
"""Keys, and sections of which all others of their keys are; what is not here needs a restart."""


def effect_of(key: str) -> Effect:
    """Return when a key counts in a server that has everything for it; see `Changes`."""
    if key.startswith("logs.channels."):
        return "now" if key.endswith(".level") else "restart"
    while key and key not in EFFECTS:
        key = key.rpartition(".")[0]
    return EFFECTS.get(key, "restart")


class Changes:
    """Which keys can change in one running server.

    Args:
        running: what it was started with.
        serves_pages: whether there is anything that middleware could be put around.
    """

    def __init__(self, running: Config, *, serves_pages: bool) -> None:
        self._has_tls = running.tls is not None
        self._serves_pages = serves_pages

    def can_change(self, key: str, found: Config) -> bool:
        """Whether a key of a file that was read again counts without a restart."""
        if effect_of(key) == "restart":
            return False
        if key.startswith("http.ssl."):  # whether there is TLS at all decides about a listener
            return self._has_tls and found.tls is not None
        return self._serves_pages or not key.startswith("http.")
