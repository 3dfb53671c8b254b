"""WebSockets: the handler of upgrade requests, and the connections after them."""

from rr_py_ws.adapters.ws.handler import WebSocketHandler

__all__ = ["WebSocketHandler"]
