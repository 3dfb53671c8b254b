"""WebSocket listener: HTTP handshakes, connections, keep-alive."""

from rr_py_ws.adapters.ws.server import WebSocketServer
from rr_py_ws.adapters.ws.settings import Settings

__all__ = ["Settings", "WebSocketServer"]
