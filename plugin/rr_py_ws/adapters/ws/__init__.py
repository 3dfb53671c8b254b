"""WebSocket listener: HTTP handshakes, connections, keep-alive."""

from rr_py_ws.adapters.ws.server import Settings, WebSocketServer

__all__ = ["Settings", "WebSocketServer"]
