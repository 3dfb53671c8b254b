"""Who may connect and join: the authorizers that can stand behind the port `Authorizer`."""

from __future__ import annotations

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.auth.php import PHPAuthorizer

__all__ = ["AllowAll", "PHPAuthorizer"]
